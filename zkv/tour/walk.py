"""The walk itself, station by station, on a cluster of its own that goes when it ends."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

import zkv
from zkv.core.cluster.figures import below_replica_count
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.routing import admin
from zkv.errors import Timeout, ZkvError
from zkv.testing import Cluster
from zkv.tour import pictures, places
from zkv.tour.hotspot import HotSpot, Spread
from zkv.tour.visitor import COUNTER, Visitor

TABLE: Final = "tour"
READINGS: Final = "readings"
_BATCH = 500
_VALUE_BYTES = 100
_SHARDS = 24
_GRACE_S = 2.0
_WAIT_S = 120.0
_LOOK_S = 0.1
_FAIR = 0.9  # of a fair share: nearer than that nothing is moved for
_MONTHS = ("2026-01", "2026-02", "2026-03", "2026-04", "2026-05", "2026-06")
_HOT_SHARE = 0.9
_READING = b"21.5"

Tell = Callable[[str, str], None]  # a station's name, and a line about it
Advance = Callable[[int], None]  # so many rows more are written


class Findings(msgspec.Struct):
    """What the walk has measured. Shares are of 1, times in seconds."""

    rows: int = 0
    led: dict[str, int] = {}  # rows by the node that answers for them, with three nodes
    copies: dict[str, int] = {}  # copies by node, with four nodes
    moved_share: float = 0.0  # of all copies, when the fourth node came
    least_share: float = 0.0  # what it had to get: 1/n
    modulo_share: float = 0.0  # what hash(key) % n would have moved
    heal_s: float = 0.0  # from kill -9 to all copies being there again, on other nodes
    leave_s: float = 0.0  # until a node that was to leave was empty
    requests: int = 0  # of the visitor
    failed: int = 0
    longest_s: float = 0.0
    wrong_rows: int = 0  # of all rows, at the end and on the way
    counter_off: int = 0  # by how much the counter differs from the increments that were answered
    in_order: bool = False  # whether the range table's rows came in key order
    hot_share: float = 0.0  # of the requests, at the shard that got most
    spread: Spread = msgspec.field(default_factory=Spread)  # what became of a hot spot
    pictures: list[str] = []

    @property
    def fine(self) -> bool:
        """Whether nothing was lost, doubled, refused or out of order, and the hot spot was spread."""
        return not (self.failed or self.wrong_rows or self.counter_off) and self.in_order and self.spread.fine


def walk(rows: int, folder: Path, tell: Tell, advance: Advance) -> Findings:
    """Walk through all stations with that many rows; pictures go to `folder`. Raises ZkvError where a station fails."""
    folder.mkdir(parents=True, exist_ok=True)
    tell("begin", "three nodes and a coordinator start, each a process with a folder of its own")
    with Cluster(3) as cluster, cluster.client() as client:
        tour = _Walk(cluster, client, rows, folder, tell)
        tour.write(advance)
        tour.look_where()
        tour.be_visited()
        tour.order()
        tour.heat()
        return tour.findings


class _Walk:
    """One walk: its cluster, its rows, and what it has found."""

    def __init__(self, cluster: Cluster, client: zkv.Client, rows: int, folder: Path, tell: Tell) -> None:
        rng = random.Random(1)
        self.findings = Findings(rows=rows)
        self._cluster = cluster
        self._client = client
        self._rows = {b"user:%d" % number: rng.randbytes(_VALUE_BYTES) for number in range(rows)}
        self._folder = folder
        self._tell = tell
        self._events: list[tuple[float, str]] = []
        self._began = time.monotonic()

    def write(self, advance: Advance) -> None:
        """Fill a hash table, and read one row through each node."""
        self._client.create_table(TABLE, replicas=3, shards=_SHARDS)
        begun = time.monotonic()
        keys = list(self._rows)
        for first in range(0, len(keys), _BATCH):
            batch = keys[first : first + _BATCH]
            self._client.mput({key: self._rows[key] for key in batch}, table=TABLE)
            advance(len(batch))
        rate = len(keys) / (time.monotonic() - begun)
        self._tell("write", f"{len(keys):,} rows are on the disks of a majority each, {rate:,.0f} a second")
        for name in ("node1", "node2", "node3"):
            with zkv.connect(self._cluster.address_of(name), direct=False) as through:
                self._check([keys[0]], through.mget([keys[0]], table=TABLE))
            self._tell("write", f"{keys[0].decode()} read through {name}: the same value")

    def look_where(self) -> None:
        """Show which node answers for how many rows."""
        shard_map = self._map()
        self.findings.led = dict(sorted(places.leads(shard_map, TABLE, self._rows).items()))
        by_shard = Counter(shard for _, shard in places.shards_of(shard_map, TABLE, self._rows))
        told = ", ".join(f"{node} {count:,}" for node, count in self.findings.led.items())
        self._tell("where", f"each node has a copy of every row, and answers for a part of them: {told}")
        led = {node: float(count) for node, count in self.findings.led.items()}
        self._draw("led-by-node.png", {"rows that each node answers for": led}, "rows")
        filled = {str(shard): float(count) for shard, count in sorted(by_shard.items())}
        self._draw("rows-by-shard.png", {"rows in each shard": filled}, "rows")

    def be_visited(self) -> None:
        """A fourth node comes, one dies and comes back, one leaves: while somebody reads and writes."""
        self._client.ask(admin.change_tuning(grace_s=_GRACE_S)).result()
        self._began = time.monotonic()
        with self._cluster.client() as own, Visitor(own, TABLE, self._rows, self._began) as visitor:
            self._join()
            self._kill()
            self._leave()
        found = self.findings
        found.requests, found.failed, found.longest_s = len(visitor.visits), visitor.failed, visitor.longest_s
        counted = int(self._client.get(COUNTER, table=TABLE) or b"0")
        found.counter_off = max(visitor.increments - counted, counted - visitor.increments - visitor.unknown, 0)
        self._read_all()
        found.wrong_rows += len(visitor.wrong)
        what = f"{found.requests:,} requests meanwhile, {found.failed} failed, the slowest took {found.longest_s:.2f} s"
        self._tell("leave", f"{what}; {found.wrong_rows} rows are wrong, the counter is off by {found.counter_off}")
        path = self._folder / "timeline.png"
        pictures.draw_timeline(visitor.visits, self._events, path)
        self.findings.pictures.append(str(path))

    def order(self) -> None:
        """A range table: rows in key order over all shards, and a part of the keys that everybody wants."""
        self._client.create_table(READINGS, partitioner="range", splits=_MONTHS[1:])
        written = [
            f"{month}-{day:02d}:{hour:02d}".encode() for month in _MONTHS for day in range(1, 29) for hour in (6, 18)
        ]
        shuffled = random.Random(2).sample(written, len(written))
        for first in range(0, len(shuffled), _BATCH):
            self._client.mput(dict.fromkeys(shuffled[first : first + _BATCH], _READING), table=READINGS)
        self.findings.in_order = [key for key, _ in self._client.scan(table=READINGS)] == written
        how = "in key order" if self.findings.in_order else "NOT in key order"
        self._tell("order", f"{len(written)} readings written at random come back {how}, from {len(_MONTHS)} shards")
        asked = self._ask_for_the_last_month(written)
        by_shard = Counter(shard for _, shard in places.shards_of(self._map(), READINGS, asked))
        self.findings.hot_share = max(by_shard.values()) / len(asked)
        self._tell(
            "order", f"one shard gets {self.findings.hot_share:.0%} of the reads: a hot spot, as range tables have them"
        )
        names = {str(shard): float(count) for shard, count in sorted(by_shard.items())}
        self._draw("hot-spot.png", {"reads of each month's shard": names}, "reads")

    def heat(self) -> None:
        """A range table of one shard that everybody asks for the same few rows: it is split, and the nodes share it."""
        spot = HotSpot(self._client, lambda line: self._tell("hot", line))
        self.findings.spread = found = spot.spread
        spot.fill()
        with self._cluster.client() as crowds:
            first, last = spot.heat(crowds)
        path = self._folder / "hot-spread.png"
        panels = {
            f"at first, shards: {found.shards_before}": first.loads,
            f"after {found.took_s:.0f} s, shards: {found.shards_after}": last.loads,
        }
        pictures.draw_stacks(panels, "requests a second", path)
        self.findings.pictures.append(str(path))

    # Stations under the visitor's eyes ------------------------------------------------------------------------------

    def _join(self) -> None:
        before = places.holders(self._map(), TABLE, self._rows)
        self._event("node4 joins")
        self._cluster.start("node4")
        self._settle(_has_share("node4"), "node4 has no share")
        after = places.holders(self._map(), TABLE, self._rows)
        found = self.findings
        found.copies = dict(sorted(places.copies_by_node(after).items()))
        found.moved_share = places.moved_share(before, after)
        found.least_share = 1 / len(found.copies)
        found.modulo_share = places.moved_by_modulo(self._rows, 3, 4)
        self._tell("join", f"a fourth node came: {found.moved_share:.1%} of the copies moved, to it alone")
        self._tell("join", f"1/n is {found.least_share:.1%}; with hash(key) % n it would be {found.modulo_share:.1%}")
        then = {node: float(count) for node, count in sorted(places.copies_by_node(before).items())}
        now = {node: float(count) for node, count in found.copies.items()}
        self._draw("copies-by-node.png", {"copies with three nodes": then, "with four": now}, "copies of rows")
        moved = {
            "the ring": found.moved_share * 100,
            "1/n": found.least_share * 100,
            "hash % n": found.modulo_share * 100,
        }
        self._draw("moved.png", {"moved by the fourth node": moved}, "% that changed its node", digits=1)

    def _kill(self) -> None:
        self._event("node4 has its share; kill -9 node3")
        self._cluster.kill("node3")
        begun = time.monotonic()
        self._settle(_is_empty("node3"), "node3's copies were not rebuilt")
        self.findings.heal_s = time.monotonic() - begun
        what = f"after {_GRACE_S:g} s of grace its copies were rebuilt on the others"
        self._tell("kill", f"kill -9 of node3: {what}; all there again after {self.findings.heal_s:.1f} s")
        self._event("healed; node3 starts again")
        self._cluster.start("node3")
        self._settle(_has_share("node3"), "node3 has no share")
        self._tell("kill", "node3 came back, gave up what it had missed, and has its share again")

    def _leave(self) -> None:
        self._event("node3 has its share; node1 is to leave")
        begun = time.monotonic()
        self._client.ask(admin.change_node("node1", "drain")).result()
        self._settle(_is_empty("node1"), "node1 is not empty")
        self.findings.leave_s = time.monotonic() - begun
        self._cluster.terminate("node1")
        self._client.ask(admin.change_node("node1", "remove")).result()
        self._event("node1 has left")
        self._tell("leave", f"node1 was told to leave: empty after {self.findings.leave_s:.1f} s, stopped, forgotten")

    # What stations need ---------------------------------------------------------------------------------------------

    def _ask_for_the_last_month(self, written: list[bytes]) -> list[bytes]:
        rng = random.Random(3)
        last = [key for key in written if key.startswith(_MONTHS[-1].encode())]
        asked = [rng.choice(last if rng.random() < _HOT_SHARE else written) for _ in range(2_000)]
        with self._client.pipeline() as pipeline:
            answers = [pipeline.get(key, table=READINGS) for key in asked]
        self.findings.wrong_rows += sum(answer.result() != _READING for answer in answers)
        return asked

    def _read_all(self) -> None:
        keys = list(self._rows)
        for first in range(0, len(keys), _BATCH):
            batch = keys[first : first + _BATCH]
            self._check(batch, self._client.mget(batch, table=TABLE))

    def _check(self, keys: Iterable[bytes], read: dict[bytes, bytes | None]) -> None:
        self.findings.wrong_rows += sum(read[key] != self._rows[key] for key in keys)

    def _map(self) -> ShardMap:
        return ShardMap(self._client.shard_map())

    def _settle(self, reached: Callable[[ShardMap], bool], complaint: str) -> None:
        """Wait until that is so, nothing is on its way, and every shard has all its copies."""
        end = time.monotonic() + _WAIT_S
        while not self._is_settled(reached):
            if time.monotonic() > end:
                raise Timeout(f"{complaint} within {_WAIT_S:g} s", advice="the processes' logs say why", effect="none")
            time.sleep(_LOOK_S)

    def _is_settled(self, reached: Callable[[ShardMap], bool]) -> bool:
        shard_map = self._map()
        if not reached(shard_map) or below_replica_count(shard_map):
            return False
        try:
            return places.operators(self._client) == 0
        except ZkvError:
            return False

    def _event(self, what: str) -> None:
        self._events.append((time.monotonic() - self._began, what))

    def _draw(self, name: str, panels: dict[str, dict[str, float]], unit: str, *, digits: int = 0) -> None:
        path = self._folder / name
        pictures.draw_bars(panels, unit, path, digits=digits)
        self.findings.pictures.append(str(path))


def _has_share(node: str) -> Callable[[ShardMap], bool]:
    return lambda shard_map: places.share_of(shard_map, TABLE, node) >= _FAIR


def _is_empty(node: str) -> Callable[[ShardMap], bool]:
    def is_empty(shard_map: ShardMap) -> bool:
        return all(voter.node != node for info in shard_map.shards.values() for voter in info.membership.voters)

    return is_empty
