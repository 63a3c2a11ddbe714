"""`zkv coordinators`: who belongs to their group, who leads it, and who comes and goes."""

import time
from collections.abc import Callable
from typing import Annotated

import typer

import zkv
from zkv.cli import options as o
from zkv.cli.render import note, print_json, show_rows
from zkv.core.routing.coordinators import add_coordinator, remove_coordinator
from zkv.errors import StartError, Timeout, Unavailable
from zkv.server.settings import group_of

app = typer.Typer(invoke_without_command=True)

_LOOK_S = 0.2
_WITHIN_S = 60.0
_COLUMNS = ("name", "address", "role", "term", "match", "version", "state")

WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the group has changed.")]
WithinOption = Annotated[float, typer.Option("--within", metavar="SECONDS", min=1, help="How long to wait for it.")]
Row = dict[str, object]


@app.callback()
def coordinators(
    context: typer.Context,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Show each coordinator: its part in the group, how far its log is, whether it is heard. Or add and remove one.

    Example: zkv coordinators --json
    """
    if context.invoked_subcommand is not None:
        return
    with o.connected(address, timeout) as client:
        rows = _rows(client)
    if as_json:
        print_json({"coordinators": rows})
    else:
        show_rows([{name: "" if row[name] is None else row[name] for name in _COLUMNS} for row in rows], as_json=False)


@app.command()
def add(
    member: Annotated[str, typer.Argument(metavar="NAME=HOST:PORT/PUBLISHPORT", help="As `--group` would name it.")],
    wait: WaitOption = True,
    within: WithinOption = _WITHIN_S,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Take one more into the group. It runs already, with an empty folder, and `--group` names it and the others.

    Example: zkv coordinators add c4=10.0.0.4:7400/7401
    """
    try:
        (info,) = group_of(member)
    except (StartError, ValueError):
        raise typer.BadParameter(f"{member!r} is not NAME=HOST:PORT/PUBLISHPORT") from None
    with o.connected(address, timeout) as client:
        client.ask(add_coordinator(info.name, info.address, info.publish)).result()
        if wait:
            _wait(client, within, lambda rows: any(row["name"] == info.name and _is_voter(row) for row in rows))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The coordinator's id.")],
    yes: o.YesOption = False,
    wait: WaitOption = True,
    within: WithinOption = _WITHIN_S,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Take one out of the group; then it may stop. One that leads hands the lead over first.

    Asks first; where nobody can be asked, it needs --yes.

    Example: zkv coordinators remove c1 --yes
    """
    o.ask_first(f"Take {name} out of the coordinators?", yes=yes, consent=f"takes {name} out of the coordinators")
    with o.connected(address, timeout) as client:
        client.ask(remove_coordinator(name)).result()
        if wait:
            _wait(client, within, lambda rows: all(row["name"] != name for row in rows))


def _is_voter(row: Row) -> bool:
    return row["role"] in ("leader", "voter")


def _rows(client: zkv.Client) -> list[Row]:
    """The group by the word of who leads it, with what each member says of itself."""
    told = client.status()
    leading = [one for one in told.values() if one and one.get("role") == "coordinator" and one.get("leading")]
    if not leading:
        raise Unavailable("no coordinator leads", effect="none")
    newest = max(leading, key=lambda one: int(str(one.get("term", 0))))
    rows = newest.get("coordinators")
    assert isinstance(rows, list)
    found: list[Row] = []
    for row in rows:
        own = told.get(str(row["name"])) or {}
        found.append(row | {"term": own.get("term"), "version": own.get("map_version")})
    return found


def _wait(client: zkv.Client, within_s: float, is_done: Callable[[list[Row]], bool]) -> None:
    """Until the members are as they were asked for."""
    end = time.monotonic() + within_s
    while True:
        try:
            if is_done(_rows(client)):
                return
        except zkv.Unavailable as error:
            note(f"zkv: still waiting: {error.what}")
        if time.monotonic() > end:
            what = f"the group has not changed within {within_s:g} s; it goes on without this command"
            raise Timeout(what, effect="done")
        time.sleep(_LOOK_S)
