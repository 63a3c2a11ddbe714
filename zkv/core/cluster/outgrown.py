"""Which shards of range tables have outgrown their bounds, in bytes or in requests, and where they are to part (pure).

A shard is too hot when it alone is asked more than HOT_SHARE of what a node is asked on average, and more than the
bound, at each word of its leader for `Bounds.hot_ms`. So a spike splits nothing, what is evenly hot is split until
each node can have its share of the leads, and then no more. Where the keys that are asked for lie under one that has
most of the requests, no key halves them, and nothing is done; nor where one node has it all anyway, or leads do not
follow the requests (the balance is off).

All of it is what leaders say. What was said of a range that has changed since counts for nothing, so no shard is split
twice for one figure, and each half is judged by figures of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable
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
HOT_SHARDS_MAX: Final = limits.SHARDS_PER_TABLE_MAX // 2  # of a table; the others are for what is too large


class Outgrown:
    """`held`: what leaders last said."""

    def __init__(self) -> None:
        self.held: dict[ShardId, ShardSize] = {}
        self._hot: dict[ShardId, tuple[int, int, int]] = {}  # range version; the first and the last word of it, ms
        self._asked: dict[ShardId, int] = {}  # requests a second as last known: a whole stands for its halves

    def clear(self) -> None:
        """Nothing was heard."""
        self.held.clear()
        self._hot.clear()
        self._asked.clear()

    def take(self, sizes: Iterable[ShardSize], state: CoordinatorState, now_ms: int) -> bool:
        """A leader has said this. Whether something may have to be split."""
        said = {size.shard: size for size in sizes if not self._is_old(size)}
        self.held = {shard: own for shard, own in (self.held | said).items() if shard in state.map.shards}
        asked = self._asked | {shard: size.requests for shard, size in said.items() if size.requests >= 0}
        self._asked = {shard: requests for shard, requests in asked.items() if shard in state.map.shards}
        bounds, above = state.bounds, self._above(state)
        for shard, size in said.items():
            version, first_ms, _ = self._hot.pop(shard, (-1, 0, 0))
            if 0 < above < size.requests:
                first_ms = first_ms if version == size.range_version else now_ms
                self._hot[shard] = (size.range_version, first_ms, now_ms)
        self._hot = {shard: told for shard, told in self._hot.items() if shard in self.held}
        large = bounds.split_bytes and any(size.bytes > bounds.split_bytes for size in said.values())
        return bool(large) or any(self._is_hot(size, bounds.hot_ms) for size in said.values())

    def draft(self, draft: Draft, is_left_alone: Callable[[ShardId], bool]) -> None:
        """Plan splits: first of what is too large, the largest first, then of what is too hot; a few at a time."""
        plans, bounds = draft.splits(), draft.bounds
        busy = {plan.shard for plan in plans} | {plan.split.shard for plan in plans} | merging(draft.merges())
        shards = {info.shard: info for info in draft.shards()}
        busy |= {shard for shard in self.held if is_left_alone(shard)}
        free = [size for shard, size in self.held.items() if shard in shards and shard not in busy]
        wanted: list[tuple[ShardSize, bytes, str, int]] = []
        if bounds.split_bytes:
            large = sorted((size for size in free if size.bytes > bounds.split_bytes), key=lambda own: -own.bytes)
            why = "it has {0.bytes} bytes, above " + str(bounds.split_bytes)
            wanted += [(size, size.middle, why.format(size), limits.SHARDS_PER_TABLE_MAX) for size in large]
        if bounds.split_requests and draft.tuning.balance:
            hot = [size for size in free if self._is_hot(size, bounds.hot_ms)]
            hot.sort(key=lambda own: -own.requests)
            why = "it is asked {0.requests} times a second, too much of what a node has"
            wanted += [(size, size.halves, why.format(size), HOT_SHARDS_MAX) for size in hot]
        room = AT_ONCE_MAX - len(plans)
        counts = Counter(info.table for info in shards.values())
        counts.update(shards[plan.shard].table for plan in plans if not plan.shown and plan.shard in shards)
        for size, at, why, most in wanted:
            info = shards[size.shard]
            if room > 0 and size.shard not in busy and may_part(info, size, at) and counts[info.table] < most:
                draft_split(draft, info, at, why)
                busy.add(size.shard)
                counts[info.table] += 1
                room -= 1

    def figures(self, state: CoordinatorState) -> dict[str, float | list[int]]:
        """For people: above how many requests a second a shard is too hot (0: none is); those that no key parts."""
        above = self._above(state)
        hot = [size for size in self.held.values() if 0 < above < size.requests]
        return {"hot_above": round(above, 1), "hot_keys": [own.shard for own in hot if own.sampled and not own.halves]}

    def _is_old(self, size: ShardSize) -> bool:
        """Whether an old leader says this, who has not heard that the range has changed."""
        held = self.held.get(size.shard)
        return held is not None and held.range_version > size.range_version

    def _is_hot(self, size: ShardSize, hot_ms: int) -> bool:
        """Whether its leader has said so for long enough. Its silence says nothing."""
        version, first_ms, last_ms = self._hot.get(size.shard, (-1, 0, 0))
        return version == size.range_version and last_ms - first_ms >= hot_ms and bool(size.halves)

    def _above(self, state: CoordinatorState) -> float:
        """What is asked more often is too hot; 0: nothing is, whatever it is asked."""
        nodes, asked = sum(node.receives for node in state.map.nodes.values()), sum(self._asked.values())
        return hot_above(state.bounds.split_requests, asked, nodes) if state.map.tuning.balance else 0.0


def hot_above(split_requests: int, asked: float, nodes: int) -> float:
    """Requests a second above which a shard is too hot, where so much is asked of so many nodes; 0: none is."""
    return max(float(split_requests), HOT_SHARE * asked / nodes) if split_requests and nodes > 1 else 0.0


def may_part(info: ShardInfo, size: ShardSize, at: bytes) -> bool:
    """Whether the key lies inside the shard, as it was when that was said of it."""
    return size.range_version == info.range_version and info.owns(at) and at != info.start and bool(at)
