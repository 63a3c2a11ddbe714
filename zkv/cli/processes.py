"""Commands that run processes: coordinator, node, and what bin/up calls."""

from pathlib import Path
from typing import Annotated

import typer

from zkv.core.cluster.group import CoordinatorInfo
from zkv.errors import StartError
from zkv.server.logs import begin_logging
from zkv.server.settings import CoordinatorSettings, EngineName, FlushPlace, NodeSettings, group_of

IdOption = Annotated[str, typer.Option("--id", metavar="NAME", help="Its name for life.")]
DataOption = Annotated[Path, typer.Option("--data", metavar="DIR", help="Its folder, of this process alone.")]
ListenOption = Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where requests arrive.")]
EngineOption = Annotated[EngineName, typer.Option(help="The state engine of a new folder.")]
FlushOption = Annotated[FlushPlace, typer.Option(help="Where the log is flushed: beside the loop, or in it.")]

_UP_PORT = 7400


def coordinator(
    id: IdOption,
    data: DataOption,
    listen: Annotated[
        str,
        typer.Option("--listen", metavar="HOST:PORT", help="Where requests arrive; by default as --group says."),
    ] = "",
    publish: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the shard map is broadcast; by default as --group says.")
    ] = "",
    group: Annotated[
        str,
        typer.Option(metavar="NAME=HOST:PORT/PUBLISHPORT,...", help="All coordinators, with this one: 1, 3 or 5."),
    ] = "",
    engine: EngineOption = "rocksdb",
    flush: FlushOption = "thread",
) -> None:
    """Run a coordinator until SIGTERM or Ctrl-C.

    Example: zkv coordinator --id c1 --data /var/lib/zkv/c1 --listen 10.0.0.1:7400 --publish 10.0.0.1:7401
    Example: zkv coordinator --id c2 --data /var/lib/zkv/c2
    --group c1=10.0.0.1:7400/7401,c2=10.0.0.2:7400/7401,c3=10.0.0.3:7400/7401
    """
    members = _group(group)
    own = next((info for info in members if info.name == id), None)
    if own is None and not (listen and publish):
        raise typer.BadParameter("--listen and --publish, or --group with this coordinator among them, are needed")
    settings = CoordinatorSettings(
        id=id,
        data=data,
        listen=listen or (own.address if own is not None else ""),
        publish=publish or (own.publish if own is not None else ""),
        engine=engine,
        flush=flush,
        group=members,
    )
    _check(settings)
    begin_logging(id)
    # Loaded here: the state engine's library must not slow down the commands that only ask.
    from zkv.server.run import run_coordinator

    raise typer.Exit(run_coordinator(settings))


def node(
    id: IdOption,
    data: DataOption,
    listen: ListenOption,
    join: Annotated[str, typer.Option(metavar="HOST:PORT[,...]", help="The coordinators.")],
    advertise: Annotated[str, typer.Option(metavar="HOST:PORT", help="How others reach it, if not by --listen.")] = "",
    zone: Annotated[str, typer.Option(help="Its failure domain: a shard's replicas go to different ones.")] = "",
    weight: Annotated[float, typer.Option(help="Its share of the shards, against other nodes.")] = 1.0,
    engine: EngineOption = "rocksdb",
    flush: FlushOption = "thread",
) -> None:
    """Run a node until SIGTERM or Ctrl-C.

    Example: zkv node --id n1 --data /var/lib/zkv/n1 --listen 10.0.0.2:7410 --join 10.0.0.1:7400 --zone rack1
    """
    coordinators = tuple(part.strip() for part in join.split(",") if part.strip())
    settings = NodeSettings(
        id=id,
        data=data,
        listen=listen,
        join=coordinators,
        advertise=advertise,
        zone=zone,
        weight=weight,
        engine=engine,
        flush=flush,
    )
    _check(settings)
    begin_logging(id)
    from zkv.server.run import run_node  # here for the same reason as above

    raise typer.Exit(run_node(settings))


def _group(text: str) -> tuple[CoordinatorInfo, ...]:
    try:
        return group_of(text)
    except StartError as error:
        raise typer.BadParameter(error.what) from None


def _check(settings: CoordinatorSettings | NodeSettings) -> None:
    """What cannot be is wrong usage: no restarter tries it again."""
    try:
        settings.validate()
    except StartError as error:
        raise typer.BadParameter(error.what) from None


def up(
    procfile: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="What to start.")] = Path("Procfile"),
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of all folders; `data` by default.")
    ] = None,
    port: Annotated[int, typer.Option(metavar="BASE", min=1, max=65_485, help="The first of the ports.")] = _UP_PORT,
    ha: Annotated[bool, typer.Option("--ha", help="Three coordinators and five nodes: `Procfile.ha`.")] = False,
) -> None:
    """Run a coordinator and three nodes on this machine until Ctrl-C (bin/up).

    Example: bin/up --data /tmp/second --port 7500
    Example: bin/up --ha
    """
    from zkv.cli.up import run_cluster  # the test cluster and honcho are for this command alone

    procfile = procfile.with_name("Procfile.ha") if ha else procfile
    usual = procfile.absolute().parent / "data"
    folder = (usual / "ha" if ha else usual) if data is None else data.absolute()
    raise typer.Exit(run_cluster(procfile.absolute(), folder, port, ha=ha))
