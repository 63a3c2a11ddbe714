"""`zkv bench`: rates, latencies and costs of a cluster, beside the bare ceiling of this machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from zkv.bench import ceiling as bare
from zkv.bench.compare import fields_of, in_turns
from zkv.bench.load import Result, loaded_table
from zkv.bench.plan import OPEN_LOOP_IN_FLIGHT, Plan, Shell, Workload
from zkv.cli import bench_goals, bench_peers
from zkv.cli import options as o
from zkv.cli.render import note, print_json
from zkv.testing.cluster import Cluster

app = typer.Typer()

OutstandingOption = Annotated[
    list[int] | None,
    typer.Option("--outstanding", metavar="N", min=1, help="Requests in flight of each client; may be repeated."),
]
SecondsOption = Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, help="Length of a measurement.")]
KeysOption = Annotated[int, typer.Option("--keys", metavar="N", min=1, help="How many different keys.")]
BytesOption = Annotated[int, typer.Option("--value-bytes", metavar="N", min=0, help="Bytes of each value.")]
WorkloadOption = Annotated[
    list[Workload] | None,
    typer.Option(
        help="What to ask; may be repeated. a, b, c: YCSB's half updates, 5 % updates, reads only, keys by Zipf's law. "
        "mput, mget and scan take 100 rows each."
    ),
]
WarmupOption = Annotated[float, typer.Option("--warmup", metavar="S", min=0.0, help="Asked before, not counted.")]
ClientsOption = Annotated[
    int, typer.Option("--clients", metavar="N", min=1, help="Client objects, each with connections of its own.")
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", metavar="N", min=1, help="Processes of load that the clients are spread over.")
]
ShellOption = Annotated[
    Shell,
    typer.Option(help="The bare driver, the asyncio client with a task, or the sync client with a thread a request."),
]
RateOption = Annotated[
    float,
    typer.Option(
        "--rate",
        metavar="N",
        min=0.0,
        help="Requests a second, in an open loop: latency counts from when each was due. 0: a closed loop.",
    ),
]
ShardsOption = Annotated[
    int,
    typer.Option(
        "--shards",
        metavar="N",
        min=0,
        help="Of the table; 0: as a new table. One shard, led by one node, is fastest where all nodes share a machine; "
        "on machines of their own, more shards use more of them.",
    ),
]
AgainstOption = Annotated[
    bool, typer.Option("--against-ceiling", help="Measure the bare ceiling in turns with it, and print the share.")
]
TurnsOption = Annotated[int, typer.Option("--turns", metavar="N", min=1, help="Of --against-ceiling; medians.")]
OwnOption = Annotated[
    bool, typer.Option("--own-cluster", help="Start a cluster of three nodes for it, on this machine.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw latency and throughput over time.")
]

_OUTSTANDING = 64


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    workload: WorkloadOption = None,
    outstanding: OutstandingOption = None,
    clients: ClientsOption = 1,
    processes: ProcessesOption = 1,
    shell: ShellOption = Shell.driver,
    rate: RateOption = 0.0,
    seconds: SecondsOption = 3.0,
    warmup: WarmupOption = 1.0,
    keys: KeysOption = 10_000,
    value_bytes: BytesOption = 100,
    w: o.WriteOption = "majority",
    r: o.ReadOption = "linearizable",
    shards: ShardsOption = 1,
    against_ceiling: AgainstOption = False,
    turns: TurnsOption = 3,
    own_cluster: OwnOption = False,
    plot: PlotOption = None,
    address: o.AddressOption = o.ADDRESS,
    as_json: o.JsonOption = False,
) -> None:
    """Measure a cluster, on a table that it makes and drops; a failed request is counted and does not end it.

    Example: zkv bench --workload put --outstanding 256 --seconds 5 --json
    Example: zkv bench --workload a --rate 5000 --seconds 60 --plot a.png
    Example: zkv bench ceiling --outstanding 64
    """
    if context.invoked_subcommand is not None:
        return
    plans = [
        Plan(
            workload=kind,
            outstanding=count,
            clients=clients,
            processes=processes,
            shell=shell,
            rate=rate,
            seconds=seconds,
            warmup=warmup,
            keys=keys,
            value_bytes=value_bytes,
            w=w,
            r=r,
            shards=shards,
        )
        for kind in workload or [Workload.put]
        for count in outstanding or [OPEN_LOOP_IN_FLIGHT if rate else _OUTSTANDING]
    ]
    results: list[Result] = []
    with cluster_for(address, own=own_cluster) as where:
        for plan in plans:
            results.append(_measured(where, plan, turns if against_ceiling else 0, as_json=as_json))
    if plot is not None:
        from zkv.bench.plot import draw  # only for this option

        draw(results, plot)
    if not all(result.ops_per_s for result in results):
        raise typer.Exit(o.FAILED)


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


@contextmanager
def cluster_for(address: str, *, own: bool) -> Iterator[str]:
    """Where to measure: `address`, or a cluster that lives as long as this does."""
    if not own:
        yield address
        return
    with Cluster() as cluster:
        note(f"a cluster of three nodes in {cluster.data}, at {cluster.address}")
        yield cluster.address


def _measured(where: str, plan: Plan, turns: int, *, as_json: bool) -> Result:
    with loaded_table(where, plan) as table:
        if turns:
            result, comparison = in_turns(lambda: table.measure(plan), plan, turns)
        else:
            result, comparison = table.measure(plan), {}
    _show(fields_of(result) | comparison, as_json=as_json)
    return result


def _show(found: Mapping[str, object], *, as_json: bool) -> None:
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
    spent = found.get("cpu_us_per_op")
    if not isinstance(spent, dict):
        return
    by_process = "   ".join(f"{process} {cost}" for process, cost in spent.items())
    print(f"        CPU us/op   {by_process}   all {found['cpu_us_per_op_total']}")
    flush = f"   {found['ops_per_flush']} ops/flush" if found["ops_per_flush"] else ""
    print(
        f"        per op   {found['messages_per_op']} messages   {found['wire_bytes_per_op']} bytes on the wire   "
        f"{found['flushed_bytes_per_op']} bytes flushed{flush}",
        flush=True,
    )
    errors = found["errors"]
    if isinstance(errors, dict) and errors:
        print("        errors   " + "   ".join(f"{error} {count:,}" for error, count in errors.items()), flush=True)


for _command in (bench_goals.table, bench_goals.growth, bench_goals.sustained, bench_peers.peers):
    app.command()(_command)
