"""Requests that are no keys: tables, status, the map. Few at a time, so each is kept on its own."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from zkv import errors, limits
from zkv.core.cluster import messages as m
from zkv.core.cluster.group import ChangeCoordinators, CoordinatorInfo, NotLeading
from zkv.core.cluster.shardmap import MapSnapshot, Name, Partitioner
from zkv.core.message import Message
from zkv.core.raft.ready import Rng
from zkv.core.routing.atlas import Atlas
from zkv.core.routing.ledger import Ledger
from zkv.core.routing.operations import Bytes, Request, key_bytes
from zkv.core.routing.parts import NEVER
from zkv.core.routing.peers import Peers
from zkv.core.routing.retry import LAST_MS, pause_ms
from zkv.core.shard.commands import EFFECT_DONE, EFFECT_NONE
from zkv.errors import Effect, InvalidRequest, NoSuchTable, ProtocolError, Timeout, Unavailable, ZkvError
from zkv.ids import NodeId

T_co = TypeVar("T_co", covariant=True)
Figures = dict[str, object]
Send = Callable[[str, Message], None]

ATTEMPT_MS: Final = 1_000  # a coordinator that has not answered for so long is asked again, or another is
STATUS_MS: Final = 1_000  # who has not given its figures by then counts as silent
CONNECTING_MS: Final = 500  # a connection that was not there by then is not waited for
_LOOK_AGAIN_MS: Final = 20
_HOPS_AT_ONCE: Final = 3
_NOWHERE: Final = "nowhere:0"
_NAME: msgspec.msgpack.Decoder[str] = msgspec.msgpack.Decoder(Name)
_ACTIONS: Final = ("drain", "undrain", "remove", "replace", "set")
_PARTITIONERS: Final = {"hash": Partitioner.HASH, "range": Partitioner.RANGE}
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


TableOrder = m.CreateTable | m.DropTable | m.SplitTable | m.TuneSplits
Order = TableOrder | m.ChangeNode | m.CancelOperator | m.ChangeTuning | m.PlanRequest | ChangeCoordinators


class AdminRequest(Request[T_co]):
    """`order`: what a coordinator is told (its id is set on sending); None: answered from the map or by everybody."""

    __slots__ = ("everybody", "order")

    def __init__(self, order: Order | None = None, *, everybody: bool = False) -> None:
        super().__init__()
        self.order = order
        self.everybody = everybody


def create_table(
    name: str,
    nonce: int,
    *,
    partitioner: str = "hash",
    replicas: int = 3,
    shards: int | None = None,
    splits: tuple[Bytes, ...] = (),
) -> AdminRequest[None]:
    """Make a table; done when this client's map shows it. `nonce`: by chance, the same on each retry."""
    if partitioner not in _PARTITIONERS:
        raise InvalidRequest(f'partitioner is "hash" or "range", not {partitioner!r}')
    if type(replicas) is not int or not 1 <= replicas <= limits.REPLICAS_MAX:
        raise InvalidRequest(f"replicas is a number from 1 to {limits.REPLICAS_MAX}, not {replicas!r}")
    if shards is not None and (type(shards) is not int or not 1 <= shards <= limits.SHARDS_PER_TABLE_MAX):
        raise InvalidRequest(f"shards is a number from 1 to {limits.SHARDS_PER_TABLE_MAX}, not {shards!r}")
    points = tuple([key_bytes(split) for split in splits])
    order = m.CreateTable(0, nonce, _table_name(name), _PARTITIONERS[partitioner], replicas, shards or 0, points)
    return AdminRequest(order)


def drop_table(name: str) -> AdminRequest[None]:
    """Drop a table and its rows; done when this client's map no longer shows it."""
    return AdminRequest(m.DropTable(0, _table_name(name)))


def split_table(name: str, at: Bytes) -> AdminRequest[None]:
    """Split the shard of a range table that has the key `at`, where the new one begins; done when the map shows it.

    Where a shard begins there already, nothing is to be done.
    """
    return AdminRequest(m.SplitTable(0, _table_name(name), key_bytes(at)))


def tune_splits(size: int) -> AdminRequest[None]:
    """Shards of range tables with more bytes than `size` are split by themselves from now on; 0: none."""
    least = limits.SPLIT_BYTES_MIN
    if type(size) is not int or size < 0 or 0 < size < least:
        raise InvalidRequest(f"shards are split above {least} bytes or more, or not at all (0), not {size!r}")
    return AdminRequest(m.TuneSplits(0, size))


def change_node(
    node: str,
    action: str,
    *,
    heir: str = "",
    weight: float | None = None,
    zone: str | None = None,
    plan: int = 0,
) -> AdminRequest[None]:
    """Drain, undrain, remove, replace or set a node; done when the map says so, and what follows has only begun.

    `plan`: of a PlanAnswer: exactly that, or NotPossible if the cluster has changed since.
    """
    return AdminRequest(_node_change(node, action, heir, weight, zone, plan))


def plan_node(
    node: str, action: str, *, heir: str = "", weight: float | None = None, zone: str | None = None
) -> AdminRequest[m.PlanAnswer]:
    """What `change_node` would move; nothing is done."""
    return AdminRequest(m.PlanRequest(0, _node_change(node, action, heir, weight, zone, 0)))


def cancel_operator(operator: int) -> AdminRequest[None]:
    """Take back a plan that moves a replica."""
    return AdminRequest(m.CancelOperator(0, operator))


def add_coordinator(name: str, address: str, publish: str) -> AdminRequest[None]:
    """One coordinator more, which takes requests and broadcasts there; done when that is decided."""
    return AdminRequest(ChangeCoordinators(0, "add", CoordinatorInfo(NodeId(name), address, publish)))


def remove_coordinator(name: str) -> AdminRequest[None]:
    """One coordinator less; done when that is decided."""
    return AdminRequest(ChangeCoordinators(0, "remove", CoordinatorInfo(NodeId(name), _NOWHERE, _NOWHERE)))


def change_tuning(
    *,
    balance: bool | None = None,
    grace_s: float | None = None,
    moves_per_node: int | None = None,
    bytes_per_s: int | None = None,
) -> AdminRequest[None]:
    """How the cluster changes by itself from now on; None: as it is."""
    grace_ms = None if grace_s is None else round(grace_s * 1_000)
    if grace_ms is not None and not 0 <= grace_ms <= limits.GRACE_MS_MAX:
        raise InvalidRequest(f"a grace period is 0 to {limits.GRACE_MS_MAX // 1_000} s, not {grace_s}")
    if moves_per_node is not None and not 1 <= moves_per_node <= limits.MOVES_PER_NODE_MAX:
        raise InvalidRequest(f"moves per node: 1 to {limits.MOVES_PER_NODE_MAX}, not {moves_per_node}")
    least = limits.SNAPSHOT_RATE_BYTES_MIN
    if bytes_per_s is not None and bytes_per_s != 0 and bytes_per_s < least:
        raise InvalidRequest(f"a rate is 0 (as fast as it goes) or at least {least} bytes a second, not {bytes_per_s}")
    return AdminRequest(m.ChangeTuning(0, balance, grace_ms, moves_per_node, bytes_per_s))


def _node_change(node: str, action: str, heir: str, weight: float | None, zone: str | None, plan: int) -> m.ChangeNode:
    if action not in _ACTIONS:
        raise InvalidRequest(f"a node can be told to {', '.join(_ACTIONS)}, not {action!r}")
    return m.ChangeNode(0, NodeId(node), action, NodeId(heir), weight or 0.0, zone, plan)


def status() -> AdminRequest[dict[str, Figures | None]]:
    """The figures of every node and coordinator by its id; None for one that does not answer."""
    return AdminRequest(everybody=True)


def shard_map() -> AdminRequest[MapSnapshot]:
    """The map as this client holds it, once it has one."""
    return AdminRequest()


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
        elif kind is Unavailable and effect == "none":
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


def _table_name(name: str) -> str:
    try:
        return _NAME.decode(msgspec.msgpack.encode(name))
    except ValueError as error:
        most = limits.TABLE_NAME_CHARACTERS_MAX
        raise InvalidRequest(f"a table's name is 1 to {most} letters, digits, _ . or -, not {name!r}") from error
