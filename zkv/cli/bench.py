"""`zkv bench`: rates and latencies of a cluster, beside the bare ceiling of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Annotated

import msgspec
import typer

from zkv.bench import ceiling as bare
from zkv.bench.load import Result, Workload, run_load
from zkv.cli import options as o
from zkv.cli.render import note, print_json

app = typer.Typer()

OutstandingOption = Annotated[
    list[int] | None,
    typer.Option("--outstanding", metavar="N", min=1, help="Requests in flight; may be repeated."),
]
SecondsOption = Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, help="Length of a measurement.")]
KeysOption = Annotated[int, typer.Option("--keys", metavar="N", min=1, help="How many different keys.")]
BytesOption = Annotated[int, typer.Option("--value-bytes", metavar="N", min=0, help="Bytes of each value.")]

_OUTSTANDING = 64
_CEILING_OF = {Workload.put: bare.Kind.durable, Workload.mput: bare.Kind.durable}  # of the others: get


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    workload: Annotated[
        list[Workload] | None,
        typer.Option(help="What to ask; may be repeated. mput and mget take 100 keys each."),
    ] = None,
    outstanding: OutstandingOption = None,
    seconds: SecondsOption = 3.0,
    keys: KeysOption = 10_000,
    value_bytes: BytesOption = 100,
    shards: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Of the table; 0: as a new table. One shard, led by one node, is fastest where all nodes share a "
            "machine; on machines of their own, more shards use more of them.",
        ),
    ] = 1,
    against_ceiling: Annotated[
        bool, typer.Option("--against-ceiling", help="Measure the bare ceiling in turns with it, and print the share.")
    ] = False,
    turns: Annotated[int, typer.Option(metavar="N", min=1, help="Of --against-ceiling; medians are shown.")] = 3,
    own_cluster: Annotated[
        bool, typer.Option("--own-cluster", help="Start a cluster of three nodes for it, on this machine.")
    ] = False,
    address: o.AddressOption = o.ADDRESS,
    as_json: o.JsonOption = False,
) -> None:
    """Measure a cluster in a closed loop, from one process, on a table that it makes and drops.

    Example: zkv bench --workload put --outstanding 256 --seconds 5 --json
    Example: zkv bench ceiling --outstanding 64
    """
    if context.invoked_subcommand is not None:
        return
    with _cluster(address, own=own_cluster) as where:
        for kind in workload or [Workload.put]:
            for count in outstanding or [_OUTSTANDING]:
                shape = bare.Shape(outstanding=count, seconds=seconds, keys=keys, value_bytes=value_bytes)
                rounds = turns if against_ceiling else 1
                _show(_compared(where, kind, shape, rounds, shards=shards, against=against_ceiling), as_json=as_json)


@app.command()
def ceiling(
    only: Annotated[bare.Kind | None, typer.Option(help="One kind instead of all three.")] = None,
    outstanding: OutstandingOption = None,
    seconds: SecondsOption = 2.0,
    keys: KeysOption = 10_000,
    value_bytes: BytesOption = 100,
    as_json: o.JsonOption = False,
) -> None:
    """Measure what bare sockets do on this machine, without zkv: the ceiling of a node in Python.

    Example: zkv bench ceiling --only durable --outstanding 64
    """
    for kind in [only] if only is not None else list(bare.Kind):
        for count in outstanding or [1, 64, 256]:
            shape = bare.Shape(outstanding=count, seconds=seconds, keys=keys, value_bytes=value_bytes)
            figures = msgspec.structs.asdict(bare.measure(kind, shape))
            _show({"kind": kind.value, "outstanding": count} | figures, as_json=as_json)


def _compared(
    where: str, kind: Workload, shape: bare.Shape, rounds: int, *, shards: int, against: bool
) -> dict[str, object]:
    """The median of `rounds` measurements; `against`: each right after the ceiling, in the same weather."""
    results: list[Result] = []
    ceilings: list[int] = []
    limit = _CEILING_OF.get(kind, bare.Kind.get)
    for _ in range(rounds):
        if against:
            ceilings.append(bare.measure(limit, shape).ops_per_s)
        results.append(run_load(where, kind, shape, shards))
    results.sort(key=lambda result: result.ops_per_s)
    found: dict[str, object] = msgspec.structs.asdict(results[len(results) // 2])
    if against:
        top = median(ceilings)
        rates = [result.ops_per_s for result in results]
        found |= {"ceiling": limit.value, "ceiling_ops_per_s": round(top), "share": round(median(rates) / top, 3)}
        found |= {"rates": rates, "ceilings": sorted(ceilings)}
    return found


def _show(found: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    name = str(found.get("workload", found.get("kind")))
    share = f"   {found['share']:.0%} of the bare {found['ceiling']}" if "share" in found else ""
    print(
        f"{name:8}{found['outstanding']:>5} outstanding {found['ops_per_s']:>11,} ops/s   p50 {found['p50_ms']} ms   "
        f"p90 {found['p90_ms']} ms   p99 {found['p99_ms']} ms   p99.9 {found['p999_ms']} ms{share}",
        flush=True,
    )


@contextmanager
def _cluster(address: str, *, own: bool) -> Iterator[str]:
    if not own:
        yield address
        return
    from zkv.testing.cluster import Cluster  # starts processes: only for this option

    with Cluster() as cluster:
        note(f"a cluster of three nodes in {cluster.data}, at {cluster.address}")
        yield cluster.address
