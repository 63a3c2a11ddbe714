"""The load of `zkv bench`: a closed loop over the client's bare driver, in one process."""

import os
import time
from collections.abc import Callable
from enum import StrEnum

import msgspec

from zkv.bench.ceiling import Rate, Shape, rate_of
from zkv.client.client import Client
from zkv.client.driver import Driver
from zkv.core.routing import operations
from zkv.core.routing.operations import Request
from zkv.errors import InvalidRequest, ZkvError

BATCH = 100  # operations of one mput or mget
_WARM_UP_S = 0.3
_STEP = 7_919  # a prime: visits every key before it repeats one
_LOAD_BATCHES = 8


class Workload(StrEnum):
    """What is asked, again and again."""

    put = "put"
    get = "get"
    mput = "mput"
    mget = "mget"

    @property
    def operations(self) -> int:
        """How many operations one request holds."""
        return BATCH if self in (Workload.mput, Workload.mget) else 1


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of whom, and what came of it. Quantiles are of requests, `ops_per_s` is of operations."""

    workload: str
    outstanding: int
    seconds: float
    keys: int
    value_bytes: int
    batch: int
    nodes: int
    shards: int
    leaders: dict[str, int]  # shards of the table that each node led at the end
    ops_per_s: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float


def run_load(addresses: str, workload: Workload, shape: Shape, shards: int = 1) -> Result:
    """Measure on a table of its own, which is dropped at the end. Raises ZkvError as soon as one request fails.

    `shards` 0: as many as any new table has.
    """
    if shape.keys < workload.operations:
        raise InvalidRequest(f"{workload} takes {workload.operations} keys at once, and there are {shape.keys}")
    table = f"bench-{os.getpid()}-{time.time_ns()}"
    with Client(addresses) as client:
        nodes = len(client.shard_map().nodes)
        client.create_table(table, replicas=min(3, nodes), shards=shards or None, timeout_s=30.0)
        try:
            with Driver(addresses, timeout_s=10.0) as driver:
                loop = _Loop(driver, table, workload, shape)
                loop.load()
                rate = loop.run()
            return _result(workload, shape, rate, nodes, _leaders(client, table))
        finally:
            client.drop_table(table)


class _Loop:
    """Slots, each of which asks again as soon as it is answered."""

    def __init__(self, driver: Driver, table: str, workload: Workload, shape: Shape) -> None:
        self._driver, self._table, self._workload, self._shape = driver, table, workload, shape
        self._keys = [b"user%012d" % number for number in range(shape.keys)]
        self._value = b"v" * shape.value_bytes
        self._next = self._requests()
        self._turn = 0
        self._latencies: list[float] = []
        self._from = self._until = 0.0
        self._failure: ZkvError | None = None

    def load(self) -> None:
        """Store every key once."""
        self._driver.ready()
        for first in range(0, len(self._keys), BATCH):
            rows = dict.fromkeys(self._keys[first : first + BATCH], self._value)
            while self._driver.outstanding >= _LOAD_BATCHES:
                self._driver.turn()
            self._driver.submit(operations.mput(rows, table=self._table), self._check)
        self._driver.drain()
        self._raise()

    def run(self) -> Rate:
        """Ask until the time is up, after a warm-up that does not count."""
        shape = self._shape
        self._from = time.perf_counter() + _WARM_UP_S
        self._until = self._from + shape.seconds
        for _ in range(shape.outstanding):
            self._ask()
        while time.perf_counter() < self._until:
            self._driver.turn()
            self._raise()
        self._driver.drain()
        self._raise()
        return rate_of(self._latencies, shape.seconds)

    def _ask(self) -> None:
        clock, latencies = time.perf_counter, self._latencies
        begun = clock()

        def answered(result: object) -> None:
            now = clock()
            if self._from <= now < self._until:
                latencies.append(now - begun)
            if isinstance(result, ZkvError):
                self._failure = result
            elif now < self._until:
                self._ask()

        self._driver.submit(self._next(), answered)

    def _requests(self) -> Callable[[], Request[object]]:
        keys, value, table = self._keys, self._value, self._table
        count = len(keys)

        def key() -> bytes:
            self._turn = (self._turn + _STEP) % count
            return keys[self._turn]

        def batch() -> list[bytes]:
            self._turn = (self._turn + BATCH) % count
            return [keys[(self._turn + number) % count] for number in range(BATCH)]

        match self._workload:
            case Workload.put:
                return lambda: operations.put(key(), value, table=table)
            case Workload.get:
                return lambda: operations.get(key(), table=table)
            case Workload.mput:
                return lambda: operations.mput(dict.fromkeys(batch(), value), table=table)
            case Workload.mget:
                return lambda: operations.mget(batch(), table=table)

    def _check(self, result: object) -> None:
        if isinstance(result, ZkvError):
            self._failure = result

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure


def _leaders(client: Client, table: str) -> dict[str, int]:
    shard_map = client.shard_map()
    number = next(info.table for info in shard_map.tables if info.name == table)
    led: dict[str, int] = {}
    for shard in shard_map.shards:
        leader = shard.leading() if shard.table == number else None
        if leader is not None:
            led[leader.node] = led.get(leader.node, 0) + 1
    return dict(sorted(led.items()))


def _result(workload: Workload, shape: Shape, rate: Rate, nodes: int, leaders: dict[str, int]) -> Result:
    return Result(
        workload=workload,
        outstanding=shape.outstanding,
        seconds=shape.seconds,
        keys=shape.keys,
        value_bytes=shape.value_bytes,
        batch=workload.operations,
        nodes=nodes,
        shards=sum(leaders.values()),
        leaders=leaders,
        ops_per_s=rate.ops_per_s * workload.operations,
        p50_ms=rate.p50_ms,
        p90_ms=rate.p90_ms,
        p99_ms=rate.p99_ms,
        p999_ms=rate.p999_ms,
    )
