"""Which neighbours of range tables have been small and cold for so long that they are to be one shard (pure).

Nothing swings to and fro: what they have, and are asked, together must be far below what is split, and must have been
so for an hour (`Bounds.cold_ms`). A border that a table was created with stays, for somebody wanted it
there. One merge at a time; what leaders say of their shards is hearsay, so a new coordinator waits for the whole hour.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final

from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.joining import draft_merge
from zkv.core.cluster.messages import ShardSize
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import ShardId

COLD_REQUESTS: Final = 10  # a second, of both together; more is not cold
LOOK_MS: Final = 10_000
PARTS: Final = 4  # of what is split: two neighbours that have more than one of these together stay apart

_Pair = tuple[ShardId, ShardId, int, int]  # the two, and the versions of their ranges


def bytes_together_max(merge_bytes: int, split_bytes: int) -> int:
    """The most that two neighbours may have to be merged by themselves; 0: none are."""
    return min(merge_bytes, split_bytes // PARTS) if split_bytes else merge_bytes


def requests_together_max(split_requests: int) -> float:
    """Two neighbours that are asked as often together, or more, are not cold."""
    return min(COLD_REQUESTS, split_requests / PARTS) if split_requests else COLD_REQUESTS


class Cooling:
    """Since when each pair of neighbours has been small and cold."""

    def __init__(self) -> None:
        self._since_ms: dict[_Pair, int] = {}
        self._ripe: list[tuple[ShardId, ShardId]] = []
        self._look_ms = 0

    def clear(self) -> None:
        """Nothing was heard."""
        self._since_ms.clear()
        self._ripe = []

    def look(self, state: CoordinatorState, sizes: Mapping[ShardId, ShardSize], now_ms: int) -> bool:
        """Now and then: see what has cooled. Whether two are to be merged."""
        if now_ms < self._look_ms:
            return False
        self._look_ms = now_ms + LOOK_MS
        most = bytes_together_max(state.bounds.merge_bytes, state.bounds.split_bytes)
        calm = requests_together_max(state.bounds.split_requests)
        before, self._since_ms, self._ripe = self._since_ms, {}, []
        for left, right in _neighbours(state) if most else ():
            if not _is_cold(sizes, left, right, most, calm):
                continue
            pair = (left.shard, right.shard, left.range_version, right.range_version)
            since_ms = self._since_ms[pair] = before.get(pair, now_ms)
            if now_ms - since_ms >= state.bounds.cold_ms:
                self._ripe.append((left.shard, right.shard))
        return bool(self._ripe) and not state.merges

    def draft(self, draft: Draft, map_version: int, is_left_alone: Callable[[ShardId], bool]) -> None:
        """Plan one merge of those that are ripe, if none is under way."""
        ripe, self._ripe = self._ripe, []
        for left, right in ripe:
            one, other = draft.shard(left), draft.shard(right)
            if draft.merges() or one is None or other is None or one.end != other.start:
                continue
            if is_left_alone(left) or is_left_alone(right):
                continue
            draft_merge(draft, one, other, "both are small, and hardly asked", map_version)


def _neighbours(state: CoordinatorState) -> list[tuple[ShardInfo, ShardInfo]]:
    """The neighbours in each range table that part where nobody wanted it when it was created."""
    found: list[tuple[ShardInfo, ShardInfo]] = []
    for table in state.map.tables.values():
        if table.partitioner == Partitioner.RANGE:
            settings = state.settings.get(table.table)
            wanted = settings.splits if settings is not None else ()
            pairs = pairwise(state.map.shards_of(table.table))
            found += [(left, right) for left, right in pairs if right.start not in wanted]
    return found


def _is_cold(sizes: Mapping[ShardId, ShardSize], left: ShardInfo, right: ShardInfo, most: int, calm: float) -> bool:
    """Whether their leaders have said so, of the ranges that they have."""
    told = [(info, sizes.get(info.shard)) for info in (left, right)]
    known = [size for info, size in told if size is not None and size.range_version == info.range_version]
    if len(known) < 2 or any(size.bytes < 0 or size.requests < 0 for size in known):
        return False
    return sum(size.bytes for size in known) <= most and sum(size.requests for size in known) < calm
