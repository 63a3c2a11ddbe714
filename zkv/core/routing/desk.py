"""Requests that are no keys on their way: who is asked, when again, and what came of it. Few, so each is kept alone."""

from collections.abc import Callable
from typing import Final

import msgspec

from zkv import errors
from zkv.core.cluster import messages as m
from zkv.core.cluster.group import NotLeading
from zkv.core.message import Message
from zkv.core.raft.ready import Rng
from zkv.core.routing.admin import AdminRequest, Figures, Order
from zkv.core.routing.atlas import Atlas
from zkv.core.routing.ledger import Ledger
from zkv.core.routing.parts import NEVER
from zkv.core.routing.peers import Peers
from zkv.core.routing.retry import LAST_MS, pause_ms
from zkv.core.shard.commands import EFFECT_DONE, EFFECT_NONE
from zkv.errors import Effect, NoSuchTable, ProtocolError, Timeout, Unavailable, ZkvError

Send = Callable[[str, Message], None]

ATTEMPT_MS: Final = 1_000  # a coordinator that has not answered for so long is asked again, or another is
STATUS_MS: Final = 1_000  # who has not given its figures by then counts as silent
CONNECTING_MS: Final = 500  # a connection that was not there by then is not waited for
_LOOK_AGAIN_MS: Final = 20
_HOPS_AT_ONCE: Final = 3
_EFFECTS: Final[dict[int, Effect]] = {EFFECT_NONE: "none", EFFECT_DONE: "done"}
_ERRORS: Final[dict[str, type[ZkvError]]] = {
    kind.__name__: kind
    for kind in (
        errors.Unavailable,
        errors.Timeout,
        errors.TooLarge,
        errors.NoSuchTable,
        errors.TableExists,
        errors.Overloaded,
        errors.ProtocolError,
        errors.InvalidRequest,
        errors.NotPossible,
    )
}
_figures: msgspec.msgpack.Decoder[Figures] = msgspec.msgpack.Decoder(Figures)


class _Call:
    """One admin request under way."""

    __slots__ = (
        "asked",
        "detail",
        "doubt",
        "figures",
        "hops",
        "next_ms",
        "request",
        "submitted_ms",
        "tries",
        "unheard",
        "version",
    )

    def __init__(self, request: AdminRequest[object], now_ms: int) -> None:
        self.request = request
        self.submitted_ms = now_ms
        self.next_ms = now_ms  # when to do something next
        self.tries = 0
        self.asked = ""  # the coordinator that the last attempt went to
        self.hops = 0  # how often who was asked did not lead
        self.detail = ""  # what the last refusal said
        self.doubt = False  # an attempt was sent and not answered
        self.version: int | None = None  # done; the map must reach this version
        self.figures: dict[str, Figures | None] = {}
        self.unheard: dict[int, str] = {}  # status requests without an answer, by their ids: the address


class Desk:
    """The admin requests of one client. The owner tells it of answers, of time, and of a changed map."""

    def __init__(self, atlas: Atlas, peers: Peers, ledger: Ledger, rng: Rng, send: Send) -> None:
        self._atlas, self._peers, self._ledger, self._rng, self._send = atlas, peers, ledger, rng, send
        self._calls: dict[int, _Call] = {}
        self._next_id = 1
        self._asked: dict[int, _Call] = {}  # by the id of each message that awaits an answer

    def submit(self, request: AdminRequest[object], now_ms: int) -> None:
        """Take a request; it ends by its deadline."""
        self._calls[self._new_id()] = _Call(request, now_ms)

    def next_ms(self) -> int:
        """When to tick at the latest."""
        moments = [min(call.next_ms, call.request.deadline_ms) for call in self._calls.values()]
        return min(moments, default=NEVER)

    def tick(self, now_ms: int) -> None:
        """Send what is due, end what is late, hand back what is done."""
        for number, call in list(self._calls.items()):
            if self._settled(call, now_ms):
                del self._calls[number]
                self._asked = {id_: other for id_, other in self._asked.items() if other is not call}
            elif now_ms >= call.next_ms and call.version is None:
                self._advance(call, now_ms)

    def map_changed(self, now_ms: int) -> None:
        """There is a map, or another one: go on with what waited for that."""
        for call in self._calls.values():
            if call.next_ms == NEVER and call.version is None:
                call.next_ms = now_ms
        self.tick(now_ms)

    def refuse_unsent(self, error: ZkvError) -> None:
        """No address can ever be used: end what was never sent. What may be under way is late by its deadline."""
        for call in list(self._calls.values()):
            if call.version is None and not call.doubt and not self._was_silent(call):
                self._end(call, error)

    def done(self, answer: m.AdminDone, address: str, now_ms: int) -> None:
        """A coordinator has done it: wait for the map."""
        call = self._asked.pop(answer.id, None)
        if call is not None:
            call.version = answer.version
            call.next_ms = NEVER
            self._atlas.version_seen(answer.version, address, now_ms)

    def refused(self, answer: m.AdminRefused, now_ms: int) -> None:
        """A coordinator has not done it."""
        call = self._asked.pop(answer.id, None)
        if call is None:
            return
        kind = _ERRORS.get(answer.error, Unavailable)
        effect = _EFFECTS.get(answer.effect, "unknown")
        if kind is NoSuchTable and call.doubt and isinstance(call.request.order, m.DropTable):
            call.version = 0  # an earlier attempt, whose answer was lost, has dropped it
        elif kind is Unavailable and effect != "done":
            call.doubt = call.doubt or effect == "unknown"  # who led has taken it, and may or may not have done it
            call.detail = answer.what
            call.next_ms = now_ms + pause_ms(call.tries, 0, self._rng)
            if call.next_ms + LAST_MS > call.request.deadline_ms and not call.doubt:
                call.next_ms = NEVER  # an attempt so near the deadline would only turn effect "none" into "unknown"
        else:
            error = kind(answer.what)
            error.effect = "unknown" if call.doubt and effect == "none" else effect
            self._end(call, error)

    def redirected(self, answer: NotLeading, now_ms: int) -> bool:
        """A coordinator has done nothing, for it does not lead. False: no request of these was meant."""
        call = self._asked.pop(answer.id, None)
        if call is None:
            return False
        call.detail = "no coordinator leads" if not answer.leader else ""
        # To who leads at once; where that is sent back again, or nobody leads, not in a hurry.
        call.hops += 1
        hurried = bool(answer.leader) and call.hops <= _HOPS_AT_ONCE
        call.next_ms = now_ms + (0 if hurried else pause_ms(call.hops, 0, self._rng))
        return True

    def planned(self, answer: m.PlanAnswer) -> None:
        """A coordinator has said what would move."""
        call = self._asked.get(answer.id)
        if call is not None:
            self._ledger.hand_back(call.request.token, answer)
            self._forget(call)

    def figured(self, answer: m.StatusAnswer, name: str) -> None:
        """Somebody's figures."""
        call = self._asked.pop(answer.id, None)
        if call is None or call.unheard.pop(answer.id, None) is None:
            return
        try:
            call.figures[name] = _figures.decode(answer.figures)
        except ValueError:
            call.figures[name] = None

    def _settled(self, call: _Call, now_ms: int) -> bool:
        request, shard_map = call.request, self._atlas.map
        if request.deadline_ms <= now_ms:
            self._ledger.hand_back(request.token, self._late(call, now_ms))
        elif shard_map is None:
            return False
        elif request.order is not None:
            if call.version is None or shard_map.version < call.version:
                return False
            self._ledger.hand_back(request.token, None)
        elif request.everybody:
            if call.tries == 0 or (call.unheard and now_ms < call.next_ms):
                return False
            self._ledger.hand_back(request.token, call.figures)
        else:
            self._ledger.hand_back(request.token, shard_map.snapshot())
        return True

    def _advance(self, call: _Call, now_ms: int) -> None:
        if self._atlas.map is None:
            call.next_ms = NEVER  # until `map_changed`
        elif call.request.everybody:
            self._ask_everybody(call, now_ms)
        elif call.request.order is not None:
            self._order(call, call.request.order, now_ms)

    def _order(self, call: _Call, order: Order, now_ms: int) -> None:
        coordinator = self._peers.coordinator()
        if coordinator is None:
            call.next_ms = now_ms + pause_ms(1, 0, self._rng)
            return
        if call.tries and self._was_silent(call):
            call.doubt = True
            self._peers.suspect(call.asked, now_ms)
            coordinator = self._peers.coordinator() or coordinator
        number = self._new_id()
        self._asked[number] = call
        self._send(coordinator.address, msgspec.structs.replace(order, id=number))
        call.asked = coordinator.address
        call.tries += 1
        call.next_ms = now_ms + ATTEMPT_MS

    def _ask_everybody(self, call: _Call, now_ms: int) -> None:
        shard_map = self._atlas.map
        assert shard_map is not None
        unready = any(not peer.connected for peer in self._peers.known.values())
        if unready and now_ms - call.submitted_ms < CONNECTING_MS:
            call.next_ms = now_ms + _LOOK_AGAIN_MS
            return
        call.tries = 1
        call.figures = dict.fromkeys(shard_map.nodes)
        for peer in self._peers.known.values():
            if peer.usable:
                number = self._new_id()
                self._asked[number] = call
                call.unheard[number] = peer.address
                self._send(peer.address, m.StatusRequest(number))
        call.next_ms = now_ms + STATUS_MS

    def _was_silent(self, call: _Call) -> bool:
        return any(other is call for other in self._asked.values())

    def _end(self, call: _Call, error: ZkvError) -> None:
        self._ledger.hand_back(call.request.token, error)
        self._forget(call)

    def _forget(self, call: _Call) -> None:
        self._calls = {number: other for number, other in self._calls.items() if other is not call}
        self._asked = {number: other for number, other in self._asked.items() if other is not call}

    def _late(self, call: _Call, now_ms: int) -> ZkvError:
        waited = f"{(now_ms - call.submitted_ms) / 1000:g} s"
        if call.version is not None:
            return Timeout(f"done, but the map did not show it within {waited}", effect="done")
        if call.doubt or self._was_silent(call):
            effect: Effect = "unknown" if call.request.order is not None else "none"
            because = f": {call.detail}" if call.detail else ""
            return Timeout(f"no answer from a coordinator within {waited}{because}", effect=effect)
        nobody = self._peers.silence() or call.detail or "no coordinator can be reached"
        if self._peers.all_faulty:
            return ProtocolError(nobody)
        return Unavailable(f"no success within {waited}: {nobody}")

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id
