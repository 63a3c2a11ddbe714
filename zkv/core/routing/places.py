"""Where a part belongs: key -> table -> partition key -> shard -> that shard's lane.

What cannot be placed yet waits here: for the first map, or for proof that its table does not exist (ours may be the map
that is behind, so a fresh one is asked for before anybody is told NoSuchTable).
"""

from itertools import groupby
from typing import Final

from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.partition import partition_key, partition_of
from zkv.core.cluster.shardmap import TableInfo
from zkv.core.routing.atlas import Atlas
from zkv.core.routing.lanes import Lane
from zkv.core.routing.ledger import Ledger
from zkv.core.routing.operations import OPERATION_BYTES, SCAN, WRITE, is_unconditional, key_of, keys_of
from zkv.core.routing.parts import NEVER, Part
from zkv.core.routing.retry import effect_of
from zkv.core.routing.scan import ScanPage, Window, bounds, owner
from zkv.core.shard.commands import Put, PutIf
from zkv.core.shard.descriptor import ShardInfo
from zkv.errors import InvalidRequest, NoSuchTable
from zkv.ids import ShardId

_SWEEP_MS: Final = 10  # so that a long queue whose parts are late one by one is not searched each millisecond


class Places:
    """The lanes, and what has no lane yet. `holes` collects parts that the map has no shard for: their owner pauses
    them. `sweep_at`: no later than the first deadline of what waits here."""

    def __init__(self, atlas: Atlas, ledger: Ledger) -> None:
        self.lanes: dict[ShardId, Lane] = {}
        self.dirty: dict[ShardId, Lane] = {}  # lanes with something to cut, the longest waiting first
        self.holes: list[Part] = []
        self.unplaced: list[tuple[Part, int]] = []  # and the number of the map request that settles it; 0: any map
        self.sweep_at = NEVER
        self._atlas = atlas
        self._ledger = ledger

    def place(self, part: Part, now_ms: int) -> None:
        """Put the part where it belongs by the map as it is; it may be cut for that, or end in an error."""
        request = part.request
        if request.deadline_ms < self.sweep_at:
            self.sweep_at = request.deadline_ms
        shard_map = self._atlas.follower.map
        table = shard_map.named.get(request.table) if shard_map is not None else None
        if shard_map is None or table is None:
            self.unplaced.append((part, self._atlas.need(now_ms) if shard_map is not None else 0))
        elif request.kind == SCAN:
            self._place_scan(part, shard_map, table)
        elif len(part.items) == 1:
            key = key_of(part.items[0])
            self._enter(part, shard_map.locate(table.table, partition_key(table.partitioner, key)))
        else:
            self._scatter(part, shard_map, table)

    def refresh(self, now_ms: int) -> None:
        """The map has changed: place anew what waited for that, and what stands in a lane whose range has changed."""
        shard_map = self._atlas.map
        if shard_map is None:
            return
        for shard, lane in list(self.lanes.items()):
            info = shard_map.shards.get(shard)
            if info is not None and info.range_version == lane.info.range_version:
                lane.info = info
                continue
            del self.lanes[shard]
            self.dirty.pop(shard, None)
            for part in lane.take_all():
                self.place(part, now_ms)
        self.settle(now_ms)

    def settle(self, now_ms: int) -> None:
        """Place what waited for a map, or end it where a fresh one has no such table either."""
        shard_map = self._atlas.map
        if shard_map is None:
            return
        waiting, self.unplaced = self.unplaced, []
        for part, number in waiting:
            if part.request.table in shard_map.named:
                self.place(part, now_ms)
            elif not number or self._atlas.answered < number or self._atlas.follower.wants_snapshot:
                self.unplaced.append((part, number or self._atlas.need(now_ms)))
            else:
                missing = NoSuchTable(f"there is no table {part.request.table!r}", effect=effect_of(part))
                self._ledger.ended(part, missing)

    def expired(self, now_ms: int) -> list[Part]:
        """Take out what still waits here although its deadline has passed, and find the next moment to look."""
        waiting = [part for part, _ in self.unplaced]
        for lane in self.dirty.values():
            waiting += lane.waiting()
        late = [part for part in waiting if part.request.deadline_ms <= now_ms]
        self.unplaced = [entry for entry in self.unplaced if entry[0].request.deadline_ms > now_ms]
        soonest = min([at for at in (part.request.deadline_ms for part in waiting) if at > now_ms], default=NEVER)
        self.sweep_at = max(soonest, now_ms + _SWEEP_MS)
        return late

    def _enter(self, part: Part, info: ShardInfo | None) -> None:
        if info is None:
            self.holes.append(part)
            return
        request = part.request
        if request.kind == WRITE and request.level > 0:
            fault = level_fault(part, info)
            if fault:
                self._ledger.ended(part, InvalidRequest(fault, effect=effect_of(part)))
                return
        shard = info.shard
        lane = self.lanes.get(shard)
        if lane is None:
            lane = self.lanes[shard] = Lane(info)
        lane.add(part)
        self.dirty[shard] = lane

    def _scatter(self, part: Part, shard_map: ShardMap, table: TableInfo) -> None:
        keys = [*map(partition_of(table.partitioner), keys_of(part.request.kind, part.items))]
        owner_of_all = shard_map.locate(table.table, min(keys))
        if owner_of_all is not None and owner_of_all.owns(max(keys)):
            self._enter(part, owner_of_all)
            return
        owners = [shard_map.locate(table.table, key) for key in keys]
        if part.first:
            self._cut_runs(part, owners)
            return
        shares: dict[ShardId | None, list[object]] = {}
        infos: dict[ShardId | None, ShardInfo | None] = {}
        for item, info in zip(part.items, owners, strict=True):
            shard = info.shard if info is not None else None
            shares.setdefault(shard, []).append(item)
            infos[shard] = info
        # An attempt under way may still be answered; the shares ask anew, and each key gets one result.
        part.done = True
        for shard, items in shares.items():
            share = Part(part.request, tuple(items), sum(map(item_bytes, items)))
            share.take_history(part)
            share.alone = part.alone
            self._enter(share, infos[shard])

    def _cut_runs(self, part: Part, owners: list[ShardInfo | None]) -> None:
        """Numbers stay with their operations, so a numbered part is cut into runs, each for one shard."""
        runs = [(info, len(list(run))) for info, run in groupby(owners)]
        for info, count in runs[:-1]:
            rest = part.cut(count)
            self._enter(part, info)
            part = rest
        self._enter(part, runs[-1][0])

    def _place_scan(self, part: Part, shard_map: ShardMap, table: TableInfo) -> None:
        window = part.items[0]
        assert isinstance(window, Window)
        low, high = bounds(window, table.partitioner)
        if high and low >= high:
            self._ledger.ended(part, ScanPage((), None, table.partitioner))
            return
        self._enter(part, owner(shard_map.shards_of(table.table), low, high, reverse=window.reverse))


def level_fault(part: Part, info: ShardInfo) -> str:
    """Why the write cannot be had at its number of copies, or "" (rule 18)."""
    copies, voters = part.request.level, len(info.membership.voters)
    if copies > voters:
        return f"w={copies} of a shard with {voters} replicas"
    if copies <= voters // 2 and not all(map(is_unconditional, part.items)):
        return f"w={copies} is below the majority: for unconditional put and delete only"
    return ""


def item_bytes(item: object) -> int:
    """Roughly what an item takes in a frame."""
    size = len(key_of(item)) + OPERATION_BYTES
    return size + len(item.value) if isinstance(item, Put | PutIf) else size
