"""The `zkv` command: its list of commands, and the only place where an error becomes a line and an exit code."""

import sys

import typer
from typer.main import get_command

from zkv import errors
from zkv.cli import (
    bench,
    chaos,
    cluster,
    coordinators,
    data,
    elastic,
    placement,
    plans,
    processes,
    sim,
    tables,
    tour,
    transfer,
    watch,
)
from zkv.cli.options import FAILED, UNAVAILABLE, USAGE
from zkv.server.exits import Exit

EXIT_CODES: dict[type[errors.ZkvError], int] = {
    errors.ConditionFailed: FAILED,
    errors.InvalidRequest: USAGE,
    errors.NoSuchTable: FAILED,
    errors.NotPossible: FAILED,
    errors.Overloaded: FAILED,
    errors.ProtocolError: FAILED,
    errors.StartError: FAILED,
    errors.StorageError: Exit.STORAGE,
    errors.TableExists: FAILED,
    errors.Timeout: UNAVAILABLE,
    errors.TooLarge: FAILED,
    errors.Unavailable: UNAVAILABLE,
    errors.ZkvError: FAILED,
}

app = typer.Typer(
    help="""A sharded, replicated, durable key-value store over ZeroMQ.

    Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no such key, 4 unavailable or timed out.
    Example: zkv put greeting hello && zkv get greeting""",
)
_KEYS, _CLUSTER, _PROCESSES = "Keys and rows", "The cluster", "Processes and measurements"

for _command in (data.put, data.get, data.delete, data.incr, data.mput, data.mget, data.scan):
    app.command(rich_help_panel=_KEYS)(_command)
app.command("import", rich_help_panel=_KEYS, epilog=transfer.FORMATS_HELP)(transfer.import_rows)
app.command("export", rich_help_panel=_KEYS, epilog=transfer.FORMATS_HELP)(transfer.export_rows)
for _show in (cluster.status, cluster.shards, cluster.locate, cluster.ring, tables.tables):
    app.command(rich_help_panel=_CLUSTER)(_show)
app.add_typer(elastic.nodes_app, name="nodes", rich_help_panel=_CLUSTER)
app.add_typer(coordinators.app, name="coordinators", rich_help_panel=_CLUSTER)
app.add_typer(elastic.operators_app, name="operators", rich_help_panel=_CLUSTER)
app.add_typer(plans.app, name="plan", rich_help_panel=_CLUSTER)
app.command(rich_help_panel=_CLUSTER)(plans.apply)
app.add_typer(elastic.explain_app, name="explain", rich_help_panel=_CLUSTER)
app.command(rich_help_panel=_CLUSTER)(elastic.tune)
app.add_typer(tables.app, name="table", rich_help_panel=_CLUSTER)
app.add_typer(watch.app, name="map", rich_help_panel=_CLUSTER)
app.command(rich_help_panel=_PROCESSES)(processes.coordinator)
app.command(rich_help_panel=_PROCESSES)(processes.node)
app.command(hidden=True)(processes.up)
app.add_typer(bench.app, name="bench", rich_help_panel=_PROCESSES)
app.command(rich_help_panel=_PROCESSES)(sim.sim)
app.command(rich_help_panel=_PROCESSES)(placement.sim_placement)
app.command(rich_help_panel=_PROCESSES)(chaos.chaos)
app.command(rich_help_panel=_PROCESSES)(tour.tour)


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code. Whatever goes wrong is one line on stderr."""
    try:
        ended = get_command(app).main(args=arguments or ["--help"], prog_name="zkv", standalone_mode=False)
    except errors.ZkvError as error:
        return _fail(str(error), EXIT_CODES[type(error)])
    except typer.TyperException as error:
        what = error.format_message() or "a command is missing"  # a group alone has shown its help
        return _fail(f"{what} (see `zkv --help`)", error.exit_code)
    except typer.Abort:
        return _fail("stopped at your word", FAILED)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)
    return ended if isinstance(ended, int) else 0


def _fail(line: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"zkv: {' '.join(line.split())}\n")
    return code


def main() -> None:
    """The console script."""
    raise SystemExit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
