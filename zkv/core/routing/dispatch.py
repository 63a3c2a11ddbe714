"""The end of a turn: each lane's parts become groups, each group an attempt on its way to some node."""

from typing import Final, cast

from zkv import limits
from zkv.core.routing.atlas import Atlas
from zkv.core.routing.flights import Flights
from zkv.core.routing.lanes import Lane, items_of
from zkv.core.routing.operations import ANY_REPLICA, SCAN, WRITE
from zkv.core.routing.outbox import Outbox
from zkv.core.routing.parts import Attempt, Part
from zkv.core.routing.peers import Peers
from zkv.core.routing.places import Places
from zkv.core.routing.retry import attempt_ms
from zkv.core.routing.scan import Window, bounds
from zkv.core.routing.session import Sessions
from zkv.core.shard.commands import Group, Operation, ReadGroup, ScanGroup, WriteGroup

_GROUP_BYTES: Final = 128  # of a group beside its items, at most


class Dispatch:
    """Cuts lanes. `stuck` collects parts whose shard has nobody to ask at the moment: their owner pauses them."""

    def __init__(
        self, atlas: Atlas, peers: Peers, places: Places, flights: Flights, sessions: Sessions, outbox: Outbox
    ) -> None:
        self._atlas, self._peers, self._places = atlas, peers, places
        self._flights, self._sessions, self._outbox = flights, sessions, outbox
        self.stuck: list[Part] = []

    def cut(self, now_ms: int) -> None:
        """Send what every lane holds, but for new writes that find no room in the window."""
        dirty, self._places.dirty = self._places.dirty, {}
        for shard, lane in dirty.items():
            self._cut_lane(lane, now_ms)
            if lane:
                self._places.dirty[shard] = lane

    def _cut_lane(self, lane: Lane, now_ms: int) -> None:
        if lane.anywhere:
            reads, lane.anywhere = lane.anywhere, []
            self._send(lane, lane.cut_reads(reads), now_ms, anywhere=True)
        if not (lane.again or lane.fresh or lane.reads):
            return
        reads, lane.reads = lane.reads, []
        groups = lane.cut_again() if lane.again else []
        if lane.fresh:
            groups += lane.cut_fresh(self._sessions.current, now_ms)
        if reads:
            groups += lane.cut_reads(reads)
        self._send(lane, groups, now_ms, anywhere=False)

    def _send(self, lane: Lane, groups: list[list[Part]], now_ms: int, *, anywhere: bool) -> None:
        shard_map = self._atlas.map
        if not groups or shard_map is None:
            return
        target = self._peers.target(lane.info, shard_map.nodes, now_ms, anywhere=anywhere)
        if target is None:
            for parts in groups:
                self.stuck += parts
            return
        usual_ms = self._peers.known[target.address].usual_ms
        for parts in groups:
            attempt = self._flights.make(parts[0].request.kind, lane.info, parts, target)
            group = self._group(attempt, parts, now_ms)
            if len(parts) == 1:
                lost, size = parts[0].lost, parts[0].size
            else:
                lost, size = max([part.lost for part in parts]), sum([part.size for part in parts])
            self._flights.launch(attempt, now_ms, attempt_ms(usual_ms, lost))
            self._outbox.ask(target, group, size + _GROUP_BYTES)

    def _group(self, attempt: Attempt, parts: list[Part], now_ms: int) -> Group:
        info, first = attempt.info, parts[0]
        if len(parts) == 1:
            left_ms = first.request.deadline_ms - now_ms
        else:
            left_ms = max([part.request.deadline_ms for part in parts]) - now_ms
        budget_ms = min(max(left_ms, 0), limits.DEADLINE_MS_MAX)
        if attempt.kind == WRITE:
            assert first.run is not None, "a write is sent under its number"
            session = first.run.session
            return WriteGroup(
                attempt.id,
                info.shard,
                info.range_version,
                budget_ms,
                session.client,
                first.first,
                session.lowest,
                first.request.level,
                first.may_have_happened,
                cast(tuple[Operation, ...], items_of(parts)),
            )
        stale = first.request.level == ANY_REPLICA
        if attempt.kind == SCAN:
            return self._scan_group(attempt, first, budget_ms, stale=stale)
        keys = cast(tuple[bytes, ...], items_of(parts))
        return ReadGroup(attempt.id, info.shard, info.range_version, budget_ms, stale, keys)

    def _scan_group(self, attempt: Attempt, part: Part, budget_ms: int, *, stale: bool) -> ScanGroup:
        window, info, shard_map = part.items[0], attempt.info, self._atlas.map
        assert isinstance(window, Window)
        assert shard_map is not None
        low, high = bounds(window, shard_map.tables[info.table].partitioner)
        return ScanGroup(
            attempt.id,
            info.shard,
            info.range_version,
            budget_ms,
            stale,
            low,
            high,
            window.prefix,
            window.limit,
            window.reverse,
        )
