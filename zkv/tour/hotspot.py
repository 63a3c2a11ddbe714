"""A range table of one shard, of which a crowd wants one row in a hundred: it is split, and the nodes share it."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

import zkv
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.routing import admin
from zkv.core.shard.descriptor import ShardInfo, leader_of
from zkv.errors import ZkvError
from zkv.tour import places
from zkv.tour.crowd import FAVOUR, Crowd

TABLE: Final = "orders"
ROWS: Final = 10_000
FAVOURITES: Final = ROWS // 100  # neighbours, so that they are all in one shard
HOT_REQUESTS: Final = 100  # a second: above it a shard may be too hot, also on a slow machine
HOT_S: Final = 4.0  # and for so long: a tour is short
EVEN: Final = 1.25  # times the mean: no node is to be asked more often
_BATCH = 500
_VALUE_BYTES = 100
_WINDOW_S = 3.0  # of what is asked, at rest, for one look at how it is spread
WITHIN_S: Final = 180.0
_LOOK_S = 0.2

Loads = dict[str, dict[str, float]]  # requests a second by node, and there by shard


class Spread(msgspec.Struct):
    """What became of the hot spot. `busiest`: the most asked node's requests, as a multiple of the nodes' mean."""

    shards_before: int = 0
    shards_after: int = 0
    busiest_before: float = 0.0
    busiest_after: float = 0.0
    borders: list[str] = []  # where the shards part in the end
    took_s: float = 0.0  # from the first request until the busiest node was near the mean
    asked: int = 0
    failed: int = 0
    wrong: int = 0
    even: bool = False  # whether that came about in time

    @property
    def fine(self) -> bool:
        """Whether it was spread, and every request answered with what was put."""
        return self.even and not (self.failed or self.wrong)


class Look(NamedTuple):
    """How what is asked was spread over the nodes and their shards, and where the shards part."""

    loads: Loads
    borders: list[str]

    @property
    def rate(self) -> float:
        """Requests a second, of all nodes."""
        return sum(self._by_node().values())

    @property
    def busiest(self) -> float:
        """The most asked node's requests, as a multiple of the nodes' mean; 0 where nothing is asked."""
        loads = self._by_node()
        return max(loads.values()) * len(loads) / self.rate if self.rate else 0.0

    @property
    def layout(self) -> list[tuple[str, list[str]]]:
        """Which shards each node answers for."""
        return [(node, list(own)) for node, own in self.loads.items()]

    def told(self) -> str:
        """The nodes' requests a second, in words."""
        loads = ", ".join(f"{node} {rate:,.0f}" for node, rate in self._by_node().items())
        return f"{loads} reads a second, the busiest {self.busiest:.2f} times the mean"

    def _by_node(self) -> dict[str, float]:
        return {node: sum(own.values()) for node, own in self.loads.items()}


def look(shard_map: ShardMap, asked: Iterable[bytes], seconds: float) -> Look:
    """How the keys that were asked for in so many seconds are spread over the nodes that are up."""
    shards = shard_map.shards_of(shard_map.named[TABLE].table)
    loads: Loads = {node: {} for node, info in sorted(shard_map.nodes.items()) if info.receives}
    counts = Counter(shard for _, shard in places.shards_of(shard_map, TABLE, asked))
    for info in shards:
        loads.setdefault(leader_of(info) or "nobody", {})[_range_of(info)] = counts[info.shard] / seconds
    return Look(loads, [info.start.decode() for info in shards[1:]])


def _range_of(info: ShardInfo) -> str:
    """The shard's range in words."""
    begin = f"from {info.start.decode()}" if info.start else ""
    end = f"to {info.end.decode()}" if info.end else ""
    return f"{begin}\n{end}".strip() or "all keys"


class HotSpot:
    """The station: `fill`, then `heat`. `tell` is given lines about it."""

    def __init__(self, client: zkv.Client, tell: Callable[[str], None]) -> None:
        rng = random.Random(4)
        self.spread = Spread()
        self._client = client
        self._tell = tell
        self._rows = {b"order:%05d" % number: rng.randbytes(_VALUE_BYTES) for number in range(ROWS)}

    def fill(self) -> None:
        """Make the table, of one shard, and put its rows."""
        self._client.create_table(TABLE, partitioner="range")
        keys = list(self._rows)
        for first in range(0, ROWS, _BATCH):
            self._client.mput({key: self._rows[key] for key in keys[first : first + _BATCH]}, table=TABLE)

    def heat(self, crowds: zkv.Client) -> tuple[Look, Look]:
        """Let the crowd come until the nodes share what it asks; returns how that was spread at first, and at last.

        `crowds`: the client that the crowd asks with.
        """
        self._client.ask(admin.tune_hot(HOT_REQUESTS, HOT_S)).result()
        favourites = list(self._rows)[ROWS // 2 :][:FAVOURITES]
        with Crowd(crowds, TABLE, self._rows, favourites) as crowd:
            first, last = self._watch(crowd)
        found = self.spread
        found.shards_before, found.shards_after = len(first.borders) + 1, len(last.borders) + 1
        found.busiest_before, found.busiest_after = first.busiest, last.busiest
        found.borders = last.borders
        found.asked, found.failed, found.wrong = crowd.asked, crowd.failed, crowd.wrong
        self._tell(self._outcome())
        self._tell(
            f"{found.asked:,} reads meanwhile, {found.failed} failed, {found.wrong} got another value than was put"
        )
        return first, last

    def _outcome(self) -> str:
        found = self.spread
        if found.even:
            return f"it is spread; the shards part at {', '.join(found.borders)}"
        how = f"NOT spread within {found.took_s:.0f} s: a node is asked {found.busiest_after:.2f} times the mean"
        return f"{how} (`zkv explain shard N` and the processes' logs would say why)"

    def _watch(self, crowd: Crowd) -> tuple[Look, Look]:
        began = time.monotonic()
        end = began + WITHIN_S
        first = last = self._look_at_rest(crowd, end)
        self._tell(f"{ROWS:,} rows in one shard, and {FAVOUR:.0%} of the reads are for {FAVOURITES} of them")
        self._tell(f"{first.told()}; what is so hot for {HOT_S:.0f} s is split")
        while not self._is_even(last) and time.monotonic() < end:
            before, last = last, self._look_at_rest(crowd, end)
            if last.layout != before.layout:
                self._tell(f"after {time.monotonic() - began:.0f} s, {len(last.borders) + 1} shards: {last.told()}")
        self.spread.took_s = time.monotonic() - began
        self.spread.even = self._is_even(last)
        return first, last

    def _look_at_rest(self, crowd: Crowd, end: float) -> Look:
        """What is asked in a window in which no shard is split and no lead moves, or the one before `end`."""
        since, shard_map = time.monotonic(), self._map()
        while (now := time.monotonic()) < min(since + _WINDOW_S, end):
            time.sleep(min(_LOOK_S, max(since + _WINDOW_S - now, 0.0)))
            before, shard_map = shard_map, self._map()
            if _layout(shard_map) != _layout(before):
                since = time.monotonic()  # what was asked before went elsewhere
        return look(shard_map, crowd.answered(now - _WINDOW_S), _WINDOW_S)

    def _is_even(self, seen: Look) -> bool:
        """Whether no node is asked much more than the mean, and nothing is on its way."""
        try:
            is_at_rest = places.operators(self._client) == 0
        except ZkvError:
            return False
        return is_at_rest and seen.rate > HOT_REQUESTS and seen.busiest <= EVEN

    def _map(self) -> ShardMap:
        return ShardMap(self._client.shard_map())


def _layout(shard_map: ShardMap) -> list[tuple[bytes, str]]:
    """Where each shard of the table begins, and who leads it."""
    return [(info.start, leader_of(info)) for info in shard_map.shards_of(shard_map.named[TABLE].table)]
