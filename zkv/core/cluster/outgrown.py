"""Which shards of range tables have outgrown their bounds, in bytes or in requests, and where they are to part (pure).

A shard is too hot when it alone is asked more than HOT_SHARE of what a node is asked on average, and more than the
bound, at each word of its leader for HOT_MS. So a spike splits nothing, what is evenly hot is split until each node can
have its share of the leads, and then no more. Where the keys that are asked for lie under one that has most of the
requests, no key halves them, and nothing is done.

All of it is what leaders say. What was said of a range that has changed since counts for nothing, so no shard is split
twice for one figure, and each half is judged by figures of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from zkv import limits
from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.merges import merging
from zkv.core.cluster.messages import ShardSize
from zkv.core.cluster.parting import draft_split
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import ShardId

AT_ONCE_MAX: Final = 4  # splits of shards that are too large or too hot, in the whole cluster
HOT_SHARE: Final = 0.5  # of the requests of a node on average: two shards at least make a node's share
HOT_MS: Final = 20_000


class Outgrown:
    """`held`: what leaders last said. `hot_ms`: how long a shard must be hot."""

    def __init__(self) -> None:
        self.held: dict[ShardId, ShardSize] = {}
        self.hot_ms = HOT_MS
        self._hot_since_ms: dict[ShardId, tuple[int, int]] = {}  # range version, since when
        self._asked: dict[ShardId, int] = {}  # requests a second as last known: a whole stands for its halves
        self._now_ms = 0

    def clear(self) -> None:
        """Nothing was heard."""
        self.held.clear()
        self._hot_since_ms.clear()
        self._asked.clear()

    def take(self, sizes: Iterable[ShardSize], state: CoordinatorState, now_ms: int) -> bool:
        """A leader has said this. Whether something may have to be split."""
        self._now_ms = now_ms
        said = {size.shard: size for size in sizes}
        self.held = {shard: own for shard, own in (self.held | said).items() if shard in state.map.shards}
        asked = self._asked | {shard: size.requests for shard, size in said.items() if size.requests >= 0}
        self._asked = {shard: requests for shard, requests in asked.items() if shard in state.map.shards}
        bounds, floor = state.bounds, self._floor(state)
        for shard, size in said.items():
            if not bounds.split_requests or size.requests <= floor:
                self._hot_since_ms.pop(shard, None)
                continue
            version, _ = self._hot_since_ms.get(shard, (-1, 0))
            if version != size.range_version:
                self._hot_since_ms[shard] = (size.range_version, now_ms)
        large = bounds.split_bytes and any(size.bytes > bounds.split_bytes for size in said.values())
        return bool(large) or any(self._is_hot(size) for size in said.values())

    def draft(self, draft: Draft) -> None:
        """Plan splits: first of what is too large, the largest first, then of what is too hot; a few at a time."""
        plans, bounds = draft.splits(), draft.bounds
        busy = {plan.shard for plan in plans} | {plan.split.shard for plan in plans} | merging(draft.merges())
        shards = {info.shard: info for info in draft.shards()}
        free = [size for shard, size in self.held.items() if shard in shards and shard not in busy]
        wanted: list[tuple[ShardSize, bytes, str]] = []
        if bounds.split_bytes:
            large = sorted((size for size in free if size.bytes > bounds.split_bytes), key=lambda own: -own.bytes)
            why = "it has {0.bytes} bytes, above " + str(bounds.split_bytes)
            wanted += [(size, size.middle, why.format(size)) for size in large]
        if bounds.split_requests:
            hot = sorted(filter(self._is_hot, free), key=lambda own: -own.requests)
            why = "it is asked {0.requests} times a second, too much of what a node has"
            wanted += [(size, size.halves, why.format(size)) for size in hot]
        room = AT_ONCE_MAX - len(plans)
        for size, at, why in wanted:
            info = shards[size.shard]
            if room > 0 and size.shard not in busy and may_part(info, size, at) and not _is_full(info, shards):
                draft_split(draft, info, at, why)
                busy.add(size.shard)
                room -= 1

    def figures(self, state: CoordinatorState) -> dict[str, float | list[int]]:
        """For people: above how many requests a second a shard is too hot, and the hot ones that no key parts."""
        above = self._floor(state)
        whole = [size for size in self.held.values() if size.requests > above and size.sampled and not size.halves]
        return {"hot_above": round(above, 1), "hot_keys": [size.shard for size in whole]}

    def _is_hot(self, size: ShardSize) -> bool:
        version, since_ms = self._hot_since_ms.get(size.shard, (-1, 0))
        return version == size.range_version and self._now_ms - since_ms >= self.hot_ms and bool(size.halves)

    def _floor(self, state: CoordinatorState) -> float:
        """What is asked more often is too hot."""
        nodes = sum(node.receives for node in state.map.nodes.values())
        return max(float(state.bounds.split_requests), HOT_SHARE * sum(self._asked.values()) / max(nodes, 1))


def may_part(info: ShardInfo, size: ShardSize, at: bytes) -> bool:
    """Whether the key lies inside the shard, as it was when that was said of it."""
    return size.range_version == info.range_version and info.owns(at) and at != info.start and bool(at)


def _is_full(info: ShardInfo, shards: Mapping[ShardId, ShardInfo]) -> bool:
    return sum(own.table == info.table for own in shards.values()) >= limits.SHARDS_PER_TABLE_MAX
