"""What clients ask: a mix of all operations on a few keys, so that they meet one another.

Some keys are registers and some are counters, one of which only rises; and each table has a set that only grows, a
row for each element, read by scans. Every value written is unlike all others, so that a history says
which write a read has seen. Conditions ask for a version that the client has seen lately.
"""

from collections.abc import Mapping, Sequence
from random import Random

from zkv.checkers.history import Args, Recorder, Verb, text
from zkv.core.routing import operations as op
from zkv.core.routing.operations import KeyRequest
from zkv.core.routing.scan import Scan
from zkv.sim.client import Ask, SimClient
from zkv.sim.world import MS, SECOND, World

TABLES = ("scattered", "ordered")
TABLES_MAX = 4  # with those that are made in the midst of trouble
REGISTERS = tuple(f"r{number}".encode() for number in range(5))
COUNTERS = tuple(f"c{number}".encode() for number in range(3))
RISING = COUNTERS[0]
ELEMENTS = b"e"  # how the rows of a set begin
_OUTSTANDING = 6
_BATCHES = 0.1  # of the times that a client asks anything
_REST_US = 60 * SECOND


class Load:
    """One client's stream of operations on `tables`, which may grow, `most` at most (0: no bound).

    `batches`: now and then several keys are written, deleted or read by one request, too.
    """

    def __init__(
        self,
        world: World,
        client: SimClient,
        recorder: Recorder,
        tables: Sequence[str],
        pause_us: int,
        most: int,
        *,
        batches: bool,
    ) -> None:
        self.asked = 0
        self._tables = tables
        self._most = most
        self._bout = 0  # counts starts and stops: what an earlier one has asked for is void
        self._rest = False
        self._world = world
        self._client = client
        self._recorder = recorder
        self._pause_us = pause_us
        self._rng = world.rng(f"load {client.name}")
        self._sets = world.rng(f"sets {client.name}")
        self._batches = world.rng(f"batches {client.name}") if batches else None
        self._added = 0
        self._versions: dict[bytes, int] = {}
        self._looked = 0

    def start(self, *, rest: bool = False) -> None:
        """Begin; `rest`: with long pauses."""
        self._bout += 1
        self._rest = rest
        self._later(self._rng.randrange(self._pause_us))

    def stop(self) -> None:
        """Ask no more."""
        self._bout += 1

    def _later(self, delay_us: int) -> None:
        bout = self._bout
        self._world.after(delay_us, lambda: self._next() if bout == self._bout else None)

    def _next(self) -> None:
        if 0 < self._most <= self.asked:
            return
        if self._client.alive and self._client.awaited < _OUTSTANDING:
            self._learn()
            for _ in range(self._rng.choice([1, 1, 1, 2, 5])):  # what is asked at once becomes one group a shard
                self.asked += 1
                deadline_ms = self._rng.choice([300, 1_500, 5_000])
                self._client.ask(self._draw(self._rng), deadline_ms)
            self._tend_a_set(self._sets)
            if self._batches is not None:
                self._ask_a_batch(self._batches)
        pause_us = _REST_US if self._rest else self._pause_us
        self._later(int(self._rng.expovariate(1.0) * pause_us) + MS // 10)

    def _learn(self) -> None:
        """Take note of the versions that anybody was told lately."""
        calls = self._recorder.calls
        for call in calls[self._looked :]:
            if call.outcome is not None and call.outcome.version:
                self._versions[call.key.encode("latin-1")] = call.outcome.version
        self._looked = max(0, len(calls) - 20)

    def _draw(self, rng: Random) -> Ask:
        table = rng.choice(self._tables)
        counter = rng.random() < 0.35
        key = rng.choice(COUNTERS if counter else REGISTERS)
        if rng.random() < 0.35:
            level = "any" if rng.random() < 0.2 else "linearizable"
            return ask(table, key, Verb.GET, Args(), op.get(key, table=table, r=level))
        if counter:
            by = rng.choice([1, 1, 1, 2] if key == RISING else [1, 1, 1, 2, -1])
            return ask(table, key, Verb.INCREMENT, Args(by=by), op.increment(key, by, table=table))
        version = self._versions.get(name_of(table, key), 1)
        return write(rng, table, key, value=f"{self._client.name}.{self.asked}", version=version)

    def _tend_a_set(self, rng: Random) -> None:
        """Now and then add an element, or look at all of them."""
        table, chance = rng.choice(self._tables), rng.random()
        if chance < 0.1:
            self.asked += 1
            self._added += 1
            element = ELEMENTS + f"{self._client.name}.{self._added}".encode()
            request = op.with_receipt(op.put(element, b"", table=table))
            self._client.ask(Ask(set_of(table), Verb.ADD, Args(text(element)), request), 1_500)
        elif chance < 0.15:
            self.asked += 1
            self._client.members(set_of(table), elements_of(table), 1_500)

    def _ask_a_batch(self, rng: Random) -> None:
        """Now and then ask for several keys at once."""
        if rng.random() > _BATCHES:
            return
        table, verb = rng.choice(self._tables), rng.choice([Verb.PUT, Verb.PUT, Verb.DELETE, Verb.GET])
        keys = rng.sample(REGISTERS + COUNTERS if verb is Verb.GET else REGISTERS, rng.choice([2, 3, 5]))
        self.asked += len(keys)
        values = {key: f"{self._client.name}.{self.asked}.{number}" for number, key in enumerate(keys)}
        request = batch(table, verb, values, w=rng.choice(["majority", "majority", "all"]))
        arguments = {key: Args(value) if verb is Verb.PUT else Args() for key, value in values.items()}
        asks = {key: Ask(name_of(table, key), verb, args, request) for key, args in arguments.items()}
        self._client.ask_together(asks, request, rng.choice([300, 1_500, 5_000]))


def batch(table: str, verb: Verb, values: Mapping[bytes, str], *, w: str) -> KeyRequest[object]:
    """One request for all these keys; a put stores `values`."""
    match verb:
        case Verb.PUT:
            return op.mput(values, table=table, w=w)
        case Verb.DELETE:
            return op.mdelete(values, table=table, w=w)
        case _:
            return op.mget(values, table=table)


def ask(table: str, key: bytes, verb: Verb, args: Args, request: KeyRequest[object]) -> Ask:
    """The operation, with its version asked for, under a name that no other table's key has."""
    return Ask(name_of(table, key), verb, args, op.with_receipt(request))


def write(rng: Random, table: str, key: bytes, *, value: str, version: int) -> Ask:
    """One of the ways to change a register; a condition asks for `version`."""
    match rng.choice([Verb.PUT, Verb.PUT, Verb.PUT_IF_VERSION, Verb.PUT_IF_ABSENT, Verb.DELETE]):
        case Verb.PUT_IF_VERSION as verb:
            request = op.put(key, value, table=table, if_version=version)
            return ask(table, key, verb, Args(value, version=version), request)
        case Verb.PUT_IF_ABSENT as verb:
            return ask(table, key, verb, Args(value), op.put(key, value, table=table, if_absent=True))
        case Verb.DELETE as verb:
            expected = version if rng.random() < 0.3 else None
            removal: KeyRequest[bool] = op.delete(key, table=table, if_version=expected)
            return ask(table, key, verb, Args(version=expected), removal)
        case verb:
            return ask(table, key, verb, Args(value), op.put(key, value, table=table))


def final_reads(tables: Sequence[str]) -> list[Ask]:
    """A linearizable read of every key of these tables."""
    return [
        ask(table, key, Verb.GET, Args(), op.get(key, table=table))
        for table in tables
        for key in (*REGISTERS, *COUNTERS)
    ]


def set_of(table: str) -> bytes:
    """The name of a table's set."""
    return name_of(table, b"set")


def elements_of(table: str) -> Scan:
    """A scan of the rows of a table's set."""
    return Scan(table, prefix=ELEMENTS)


def name_of(table: str, key: bytes) -> bytes:
    """A table's key as a history holds it."""
    return table.encode() + b"/" + key
