"""`zkv bench peers`: zkv beside etcd and Redis Cluster, where they are installed."""

from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from zkv.bench import peers as others
from zkv.bench.load import run_load
from zkv.bench.peers import PeerResult
from zkv.bench.plan import Plan, Workload
from zkv.cli import options as o
from zkv.cli.render import note, print_json, show_table
from zkv.testing.cluster import Cluster

_ZKV = "linearizable; on the disk of a majority before the answer"
_ETCD = "linearizable; on the disk of a majority before the answer; not sharded"
_REDIS = "in memory; replicated after the answer: a failover loses answered writes"
_REDIS_ALWAYS = "on one disk before the answer; replicated after it: a failover loses answered writes"
_WORKLOADS = (Workload.put, Workload.get)


def peers(
    outstanding: Annotated[
        list[int] | None, typer.Option("--outstanding", metavar="N", min=1, help="Requests in flight; may be repeated.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, help="Of each measurement.")] = 5.0,
    keys: Annotated[int, typer.Option("--keys", metavar="N", min=1, help="How many different keys.")] = 10_000,
    value_bytes: Annotated[int, typer.Option("--value-bytes", metavar="N", min=0, help="Of each value.")] = 100,
    as_json: o.JsonOption = False,
) -> None:
    """Measure zkv, etcd and Redis Cluster, three nodes of each on this machine, one after the other.

    What is not installed is skipped with a message.

    Example: zkv bench peers --outstanding 64 --seconds 3
    """
    plans = [
        Plan(workload=workload, outstanding=count, seconds=seconds, keys=keys, value_bytes=value_bytes)
        for workload in _WORKLOADS
        for count in outstanding or [64, 256]
    ]
    absent = others.missing()
    for store, why in absent.items():
        note(f"{store} is skipped: {why}")
    found = list(_zkv(plans))
    if "etcd" not in absent:
        note("etcd")
        with others.etcd_nodes() as (nodes, addresses):
            found += [others.measure_peer("etcd", _ETCD, nodes, addresses, plan) for plan in plans]
    if "redis" not in absent:
        for name, promises, always in (("redis", _REDIS, False), ("redis, fsync always", _REDIS_ALWAYS, True)):
            note(name)
            with others.redis_nodes(always=always) as (nodes, addresses):
                found += [others.measure_peer(name, promises, nodes, addresses, plan) for plan in plans]
    _show(found, as_json=as_json)


def _zkv(plans: list[Plan]) -> Iterator[PeerResult]:
    note("zkv")
    with Cluster() as cluster:
        for plan in plans:
            result = run_load(cluster.address, plan)
            yield PeerResult(
                store="zkv",
                workload=result.workload,
                outstanding=result.outstanding,
                ops_per_s=result.ops_per_s,
                p50_ms=result.p50_ms,
                p99_ms=result.p99_ms,
                p999_ms=result.p999_ms,
                cpu_us_per_op=result.usage.cpu_us_per_op_total,
                load_cpu_us_per_op=result.usage.cpu_us_per_op["load"],
                errors=result.errors,
                promises=_ZKV,
            )


def _show(found: list[PeerResult], *, as_json: bool) -> None:
    found.sort(key=lambda one: (one.workload != Workload.put, one.outstanding))
    if as_json:
        print_json([msgspec.structs.asdict(one) for one in found])
        return
    columns = (
        "store",
        "workload",
        "outstanding",
        "ops/s",
        "p50 ms",
        "p99 ms",
        "CPU us/op",
        "load us/op",
        "promises",
    )
    rows = [
        (
            *(one.store, one.workload, one.outstanding, one.ops_per_s, one.p50_ms, one.p99_ms),
            *(one.cpu_us_per_op, one.load_cpu_us_per_op, one.promises),
        )
        for one in found
    ]
    show_table(columns, rows)
    for one in found:
        for error, count in one.errors.items():
            print(f"{one.store}, {one.workload}, {one.outstanding} outstanding: {error} {count:,}")
