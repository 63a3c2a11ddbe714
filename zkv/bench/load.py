"""The load of `zkv bench`: makes a table, fills it, and has processes of their own ask, while this one looks on."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import msgspec

from zkv.bench.histogram import Histogram
from zkv.bench.plan import BATCH, Outcome, Plan, Second, Task, Workload
from zkv.bench.usage import Sample, Usage, sample, usage
from zkv.bench.workloads import key_of
from zkv.client.client import Client
from zkv.client.driver import Driver
from zkv.core.routing import operations
from zkv.errors import Unavailable, ZkvError

_LOAD_BATCHES = 8
_TABLE_S = 60.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of whom, and what came of it. Quantiles are of requests, `ops_per_s` is of operations (rows)."""

    workload: str
    outstanding: int
    clients: int
    processes: int
    shell: str
    rate: float
    w: str
    r: str
    seconds: float  # that were measured
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
    max_ms: float
    errors: dict[str, int]
    usage: Usage
    timeline: list[Second]


class LoadedTable:
    """A table of a plan's keys, for one measurement or several."""

    def __init__(self, addresses: str, client: Client, name: str) -> None:
        self._addresses, self._client, self._name = addresses, client, name
        self._nodes = len(client.shard_map().nodes)

    def measure(self, plan: Plan) -> Result:
        """One measurement of a plan that has these keys. Raises Unavailable if a process of load dies."""
        with _Processes(self._addresses, self._name, plan) as processes:
            begin = processes.begin(plan)
            _sleep_until(begin)
            before = sample(self._client)
            _sleep_until(begin + plan.seconds)
            after = sample(self._client)
            outcomes = processes.outcomes()
        return self._result(plan, outcomes, before, after)

    def _result(self, plan: Plan, outcomes: list[Outcome], before: Sample, after: Sample) -> Result:
        latencies = Histogram()
        errors: Counter[str] = Counter()
        for outcome in outcomes:
            latencies.merge(Histogram(outcome.latencies))
            errors.update(outcome.errors)
        ops_per_s = sum(outcome.rows / outcome.seconds for outcome in outcomes)
        load_cpu = sum(outcome.cpu_s / outcome.seconds for outcome in outcomes)
        leaders = self._leaders()
        return Result(
            workload=plan.workload,
            outstanding=plan.outstanding,
            clients=plan.clients,
            processes=plan.processes,
            shell=plan.shell,
            rate=plan.rate,
            w=plan.w,
            r=plan.r,
            seconds=round(max(outcome.seconds for outcome in outcomes), 3),
            keys=plan.keys,
            value_bytes=plan.value_bytes,
            batch=plan.workload.operations,
            nodes=self._nodes,
            shards=sum(leaders.values()),
            leaders=leaders,
            ops_per_s=round(ops_per_s),
            p50_ms=latencies.quantile_ms(0.5),
            p90_ms=latencies.quantile_ms(0.9),
            p99_ms=latencies.quantile_ms(0.99),
            p999_ms=latencies.quantile_ms(0.999),
            max_ms=round(latencies.most * 1e3, 3),
            errors=dict(sorted(errors.items())),
            usage=usage(before, after, ops_per_s, load_cpu, min(3, self._nodes)),
            timeline=_merged([outcome.timeline for outcome in outcomes]),
        )

    def _leaders(self) -> dict[str, int]:
        shard_map = self._client.shard_map()
        number = next(info.table for info in shard_map.tables if info.name == self._name)
        led: dict[str, int] = {}
        for shard in shard_map.shards:
            leader = shard.leading() if shard.table == number else None
            if leader is not None:
                led[leader.node] = led.get(leader.node, 0) + 1
        return dict(sorted(led.items()))


@contextmanager
def loaded_table(addresses: str, plan: Plan) -> Iterator[LoadedTable]:
    """A new table that holds the plan's keys, and is dropped at the end.

    A range table for scans, a hash table for all else. Raises ZkvError if a row cannot be stored.
    """
    plan.check()
    name = f"bench-{os.getpid()}-{time.time_ns()}"
    with Client(addresses) as client:
        replicas = min(3, len(client.shard_map().nodes))
        if plan.workload is Workload.scan:
            splits = [key_of(plan.keys * cut // plan.shards) for cut in range(1, plan.shards)]
            client.create_table(name, "range", replicas=replicas, splits=splits, timeout_s=_TABLE_S)
        else:
            client.create_table(name, replicas=replicas, shards=plan.shards or None, timeout_s=_TABLE_S)
        try:
            fill(addresses, name, plan)
            yield LoadedTable(addresses, client, name)
        finally:
            client.drop_table(name, timeout_s=_TABLE_S)


def run_load(addresses: str, plan: Plan) -> Result:
    """Measure on a table of its own."""
    with loaded_table(addresses, plan) as table:
        return table.measure(plan)


def fill(addresses: str, table: str, plan: Plan) -> None:
    """Store every key once."""
    failed: list[ZkvError] = []
    value = b"v" * plan.value_bytes

    def check(result: object) -> None:
        if isinstance(result, ZkvError):
            failed.append(result)

    with Driver(addresses, timeout_s=30.0) as driver:
        driver.ready()
        for first in range(0, plan.keys, BATCH):
            numbers = range(first, min(first + BATCH, plan.keys))
            rows = dict.fromkeys([key_of(number) for number in numbers], value)
            driver.submit(operations.mput(rows, table=table), check)
            while driver.outstanding >= _LOAD_BATCHES:
                driver.turn()
        driver.drain()
    if failed:
        raise failed[0]


class _Processes:
    """The processes of load of one measurement; whatever happens, none is left."""

    def __init__(self, addresses: str, table: str, plan: Plan) -> None:
        self._started: list[subprocess.Popen[str]] = []
        self._tasks = []
        for part in range(plan.processes):
            clients = (plan.clients + plan.processes - 1 - part) // plan.processes
            self._tasks.append(Task(addresses=addresses, table=table, clients=clients, part=part, plan=plan))

    def __enter__(self) -> Self:
        for task in self._tasks:
            command = [sys.executable, "-m", "zkv.bench.load_roles", msgspec.json.encode(task).decode()]
            self._started.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            )
        return self

    def begin(self, plan: Plan) -> float:
        """Tell every process when to begin and to end, once all are ready; returns when they begin."""
        for process in self._started:
            _line(process)
        begin = time.perf_counter() + plan.warmup
        for process in self._started:
            assert process.stdin is not None
            process.stdin.write(f"[{begin},{begin + plan.seconds}]\n")
        return begin

    def outcomes(self) -> list[Outcome]:
        """What they have seen, when they have ended."""
        return [msgspec.json.decode(_line(process), type=Outcome) for process in self._started]

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            for end in (process.stdin, process.stdout):
                assert end is not None
                end.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise Unavailable("a process of load ended without a word")
    return line


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.perf_counter()))


def _merged(timelines: list[list[Second]]) -> list[Second]:
    """One timeline of several processes: requests are added; of the quantiles the highest is taken."""
    merged: list[Second] = []
    for seconds in zip(*timelines, strict=False):
        merged.append(
            Second(
                at=seconds[0].at,
                requests=sum(one.requests for one in seconds),
                errors=sum(one.errors for one in seconds),
                p50=max(one.p50 for one in seconds),
                p99=max(one.p99 for one in seconds),
                p999=max(one.p999 for one in seconds),
            )
        )
    return merged
