"""What zkv wants to reach, and the measurements that tell: `bin/bench`. All in one run, each in turns with its ceiling.

A figure is the median of its turns over the median of what it is a share of.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median

import msgspec

from zkv.bench import ceiling
from zkv.bench.compare import shape_of
from zkv.bench.load import LoadedTable, loaded_table, run_load
from zkv.bench.plan import Plan, Shell, Workload

Say = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """How long to measure."""

    turns: int
    seconds: float
    warmup: float
    few_keys: int  # of all tables but those for growth and restart
    many_keys: int  # of the table that is compared with one of `few_keys`
    sustained_s: float
    many_shards: int
    many_clients: int


FULL = Effort(
    turns=5,
    seconds=3.0,
    warmup=1.0,
    few_keys=10_000,
    many_keys=2_000_000,
    sustained_s=600.0,
    many_shards=300,
    many_clients=500,
)
SHORT = msgspec.structs.replace(
    FULL, turns=1, seconds=1.0, warmup=0.5, many_keys=100_000, sustained_s=15.0, many_shards=60, many_clients=100
)
FEW_SHARDS = 12


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `share`: `measured` over `over`; without an `over`, `measured` itself is judged."""

    figure: str
    measured: float
    over: float | None = None
    share: float | None = None
    wanted: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether it is as good as wanted."""
        found = self.measured if self.share is None else self.share
        return found <= self.wanted if self.at_most else found >= self.wanted


def share_of(figure: str, measured: list[float], over: list[float], wanted: float) -> Goal:
    """The median of these over the median of those."""
    top, bottom = median(measured), median(over)
    share = round(top / bottom, 3) if bottom else 0.0
    return Goal(figure=figure, measured=round(top), over=round(bottom), share=share, wanted=wanted)


class Rates:
    """Rates by name, one for each turn."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def note(self, name: str, rate: float) -> None:
        """One more turn's."""
        self._found.setdefault(name, []).append(rate)

    def of(self, name: str) -> list[float]:
        """All turns'."""
        return self._found[name]


_SIZES = (1, 64, 256)
_RATE_GOALS = (
    ("puts, 1 outstanding, of the ceiling's durable", "put 1", "durable 1", 0.75),
    ("puts, 64 outstanding, of the ceiling's durable", "put 64", "durable 64", 0.70),
    ("puts, 256 outstanding, of the ceiling's durable", "put 256", "durable 256", 0.70),
    ("linearizable gets, 64 outstanding, of the ceiling's get", "get 64", "get-ceiling 64", 0.75),
    ("linearizable gets, 256 outstanding, of the ceiling's get", "get 256", "get-ceiling 256", 0.75),
    ("asyncio client, 64 puts outstanding, of the bench's own rate", "put async", "put 64", 0.70),
    ("asyncio client, 64 gets outstanding, of the bench's own rate", "get async", "get 64", 0.70),
    ("sync client, 64 threads putting, of the bench's own rate", "put sync", "put 64", 0.50),
    ("sync client, 64 threads getting, of the bench's own rate", "get sync", "get 64", 0.50),
    ("mput of 100, 8 outstanding, rows/s over durable at 256", "mput", "durable 256", 1.5),
    ("mget of 100, 8 outstanding, rows/s over get at 256", "mget", "get-ceiling 256", 4.0),
)
SCAN_ROWS_WANTED = 300_000


def rates(addresses: str, effort: Effort, say: Say) -> Iterator[Goal]:
    """The goals that are rates: all of them in each turn, beside their ceilings."""
    found = Rates()
    plan = _puts(effort)
    with loaded_table(addresses, plan) as hashed, loaded_table(addresses, _of(plan, Workload.scan)) as ranged:
        for turn in range(1, effort.turns + 1):
            say(f"rates, turn {turn} of {effort.turns}")
            _one_turn(plan, hashed, ranged, found)
    for figure, measured, over, wanted in _RATE_GOALS:
        yield share_of(figure, found.of(measured), found.of(over), wanted)
    scanned = round(median(found.of("scan")))
    yield Goal(figure="scan of 100, 8 outstanding, rows/s", measured=scanned, wanted=SCAN_ROWS_WANTED)


def _one_turn(plan: Plan, hashed: LoadedTable, ranged: LoadedTable, found: Rates) -> None:
    for size in _SIZES:
        shape = shape_of(_of(plan, Workload.put, outstanding=size))
        found.note(f"durable {size}", ceiling.measure(ceiling.Kind.durable, shape).ops_per_s)
        found.note(f"put {size}", _rate(hashed, _of(plan, Workload.put, outstanding=size)))
        found.note(f"get-ceiling {size}", ceiling.measure(ceiling.Kind.get, shape).ops_per_s)
        found.note(f"get {size}", _rate(hashed, _of(plan, Workload.get, outstanding=size)))
    for workload in (Workload.put, Workload.get):
        for shell in (Shell.aio, Shell.sync):
            found.note(f"{workload} {shell}", _rate(hashed, _of(plan, workload, shell=shell)))
    for workload, table in ((Workload.mput, hashed), (Workload.mget, hashed), (Workload.scan, ranged)):
        found.note(workload, _rate(table, _of(plan, workload, outstanding=8)))


def growth(addresses: str, effort: Effort, say: Say) -> Iterator[Goal]:
    """Puts to a table of very many keys over puts to one of few, in turns."""
    few = _puts(effort)
    many = msgspec.structs.replace(few, keys=effort.many_keys)
    say(f"growth: storing {effort.many_keys:,} keys")
    yield _in_turns(
        f"growth: puts with {effort.many_keys:,} keys stored over puts with {effort.few_keys:,}",
        addresses,
        many,
        few,
        0.8,
        effort,
    )


def clients(addresses: str, effort: Effort, say: Say) -> Iterator[Goal]:
    """Many clients with a request each over one client with 64."""
    for workload in (Workload.put, Workload.get):
        one = _of(_puts(effort), workload)
        many = msgspec.structs.replace(one, clients=effort.many_clients, outstanding=1)
        say(f"{effort.many_clients} clients: {workload}")
        figure = f"{effort.many_clients} clients with one {workload} each over one client with 64"
        yield _in_turns(figure, addresses, many, one, 1.0, effort)


def shards(addresses: str, effort: Effort, say: Say) -> Iterator[Goal]:
    """A table of many shards over one of few."""
    few = _puts(effort, shards=FEW_SHARDS)
    many = msgspec.structs.replace(few, shards=effort.many_shards)
    say(f"{effort.many_shards} shards")
    figure = f"puts, {effort.many_shards} active shards over {FEW_SHARDS}, 64 outstanding"
    yield _in_turns(figure, addresses, many, few, 0.75, effort)


def sustained(addresses: str, effort: Effort, say: Say) -> Iterator[Goal]:
    """Puts at half the maximum rate in an open loop for long: the tail, and whether the rate is kept."""
    closed = _puts(effort, outstanding=256)
    most = run_load(addresses, closed).ops_per_s
    rate = max(1, most // 2)
    say(f"sustained: {rate:,} puts/s for {effort.sustained_s:g} s")
    plan = msgspec.structs.replace(closed, outstanding=4_096, rate=float(rate), seconds=effort.sustained_s)
    result = run_load(addresses, plan)
    per_second = [second.requests for second in result.timeline]
    part = min(60, max(1, len(per_second) // 3))
    length = f"{effort.sustained_s / 60:g} minutes"
    yield Goal(
        figure=f"p99.9 over the median (ms), puts at half the maximum rate, open loop, {length}",
        measured=result.p999_ms,
        over=result.p50_ms,
        share=round(result.p999_ms / result.p50_ms, 2) if result.p50_ms else 0.0,
        wanted=10.0,
        at_most=True,
    )
    yield share_of(
        f"the same rate: puts/s in the last {part} s over the first {part} s",
        [sum(per_second[-part:]) / part],
        [sum(per_second[:part]) / part],
        0.9,
    )


def _in_turns(figure: str, addresses: str, one: Plan, other: Plan, wanted: float, effort: Effort) -> Goal:
    """`one` over `other`, each on a table of its own that lives through all turns."""
    measured: list[float] = []
    over: list[float] = []
    with ExitStack() as stack:
        tables = [stack.enter_context(loaded_table(addresses, plan)) for plan in (one, other)]
        for _ in range(effort.turns):
            measured.append(_rate(tables[0], one))
            over.append(_rate(tables[1], other))
    return share_of(figure, measured, over, wanted)


def _puts(effort: Effort, **changes: object) -> Plan:
    plan = Plan(workload=Workload.put, seconds=effort.seconds, warmup=effort.warmup, keys=effort.few_keys)
    return msgspec.structs.replace(plan, **changes)


def _rate(table: LoadedTable, plan: Plan) -> float:
    return table.measure(plan).ops_per_s


def _of(plan: Plan, workload: Workload, **changes: object) -> Plan:
    return msgspec.structs.replace(plan, workload=workload, **changes)
