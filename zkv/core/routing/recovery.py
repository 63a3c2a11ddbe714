"""What happens to parts as time passes and connections break: attempts given up, pauses ended, deadlines kept.

An attempt that is given up is only superseded: its parts go out again under the same numbers, and its own answer may
still come, and counts.
"""

from collections.abc import Iterable

from zkv.core.cluster import messages as m
from zkv.core.cluster import versions
from zkv.core.cluster.frames import Requests
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.routing.answers import Answering
from zkv.core.routing.flights import Flights, Pauses
from zkv.core.routing.ledger import Ledger
from zkv.core.routing.outbox import Outbox
from zkv.core.routing.parts import Attempt, Part
from zkv.core.routing.peers import Peers
from zkv.core.routing.places import Places
from zkv.core.routing.retry import late
from zkv.errors import ProtocolError, Timeout, Unavailable


class Recovery:
    """Gives up attempts, for a reason each; ends parts that are late; releases those that have paused."""

    def __init__(
        self,
        peers: Peers,
        places: Places,
        flights: Flights,
        pauses: Pauses,
        ledger: Ledger,
        answering: Answering,
        outbox: Outbox,
    ) -> None:
        self._peers, self._places, self._flights, self._pauses = peers, places, flights, pauses
        self._ledger, self._answering, self._outbox = ledger, answering, outbox

    def tick(self, now_ms: int) -> None:
        """Do what is due."""
        for attempt in self._flights.due(now_ms):
            self._alarm(attempt, now_ms)
        for part in self._pauses.due(now_ms):
            if not part.done and not self._is_late(part, now_ms):
                self._places.place(part, now_ms)
        if now_ms >= self._places.sweep_at:
            for part in self._places.expired(now_ms):
                self._is_late(part, now_ms)

    def next_ms(self) -> int:
        """When to tick at the latest."""
        return min(self._flights.next_ms(), self._pauses.next_ms(), self._places.sweep_at)

    def wake(self, now_ms: int) -> None:
        """There is news: try at once what paused for want of it."""
        for part in self._pauses.wake():
            if not part.done:
                self._places.place(part, now_ms)

    def connection_lost(self, address: str, now_ms: int) -> None:
        """No answer will come over it."""
        self._give_up_on({address}, f"the connection to {address} was lost", now_ms)

    def nodes_down(self, addresses: set[str], now_ms: int) -> None:
        """The map has just come to call the nodes at these addresses down."""
        for address in addresses:
            self._suspect(address, now_ms)
        self._give_up_on(addresses, "the map calls the node down", now_ms)

    def leaders_moved(self, shard_map: ShardMap, now_ms: int) -> None:
        """The map has changed: ask again where a later term has another leader, or the shard is gone."""
        for attempt in list(self._flights.attempts.values()):
            if not attempt.superseded and _leader_moved(attempt, shard_map):
                self._lost(attempt, "the shard's leader has changed", now_ms)

    def unsent(self, address: str, message: Requests, now_ms: int) -> None:
        """The message could not leave: these attempts have not been made."""
        for group in message.groups:
            attempt = self._flights.attempts.pop(group.id, None)
            live = attempt.live_parts() if attempt is not None else []
            for part in live:
                part.open -= 1
            self.strand(live, f"{address} takes no more", now_ms)

    def strand(self, parts: Iterable[Part], detail: str, now_ms: int) -> None:
        """These parts have nobody to go to at the moment."""
        for part in parts:
            part.detail, part.blame = detail, Unavailable
            self._answering.pause(part, now_ms)

    def _alarm(self, attempt: Attempt, now_ms: int) -> None:
        live = [part for part in attempt.live_parts() if not self._is_late(part, now_ms)]
        if not live:
            del self._flights.attempts[attempt.id]
        elif attempt.superseded or now_ms < attempt.timeout_ms:
            self._flights.arm(attempt, live)
        else:
            self._suspect(attempt.address, now_ms)
            self._lost(attempt, f"no answer from {attempt.address} in {now_ms - attempt.sent_ms} ms", now_ms)

    def _suspect(self, address: str, now_ms: int) -> None:
        if self._peers.suspect(address, now_ms):
            self._outbox.tell(address, m.Hello(0, versions.PROTOCOL_VERSION, 0))  # any answer clears it

    def _give_up_on(self, addresses: set[str], detail: str, now_ms: int) -> None:
        for attempt in list(self._flights.attempts.values()):
            if attempt.address in addresses and not attempt.superseded:
                self._lost(attempt, detail, now_ms)

    def _lost(self, attempt: Attempt, detail: str, now_ms: int) -> None:
        attempt.superseded = True
        live = attempt.live_parts()
        for part in live:
            part.lost += 1
            part.tries += 1
            part.detail, part.blame = detail, Timeout
            self._places.place(part, now_ms)
        if live:
            self._flights.arm(attempt, live)
        else:
            del self._flights.attempts[attempt.id]

    def _is_late(self, part: Part, now_ms: int) -> bool:
        """End the part if its deadline has passed."""
        if part.request.deadline_ms > now_ms:
            return False
        nobody = self._peers.silence()
        error = late(part, now_ms - part.request.submitted_ms, nobody)
        if isinstance(error, Unavailable) and self._peers.all_faulty:
            error = ProtocolError(nobody)
        self._ledger.ended(part, error)
        return True


def _leader_moved(attempt: Attempt, shard_map: ShardMap) -> bool:
    info = shard_map.shards.get(attempt.info.shard)
    if info is None:
        return True
    leader = info.leading()
    node = shard_map.nodes.get(leader.node) if leader is not None else None
    return info.term > attempt.info.term and (node is None or node.address != attempt.address)
