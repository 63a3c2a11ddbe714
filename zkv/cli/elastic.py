"""Commands that change the cluster, or say why it is as it is: nodes ..., operators, explain, tune."""

import time
from typing import Annotated, Literal

import typer

import zkv
from zkv.cli import cluster
from zkv.cli import options as o
from zkv.cli.overview import look
from zkv.cli.reasons import Reasons
from zkv.cli.render import note, print_json, show_rows
from zkv.core.cluster.shardmap import NodeDuty
from zkv.core.routing import admin
from zkv.errors import InvalidRequest, NotPossible, Timeout

nodes_app = typer.Typer(invoke_without_command=True)
operators_app = typer.Typer(invoke_without_command=True)
explain_app = typer.Typer(help="Say in words why something is where it is.", no_args_is_help=True)

_LOOK_S = 0.2

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="The node's id.")]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the node holds nothing any more.")]
WithinOption = Annotated[float, typer.Option("--within", metavar="SECONDS", min=1, help="How long to wait for it.")]
WITHIN_S = 3_600.0


@nodes_app.callback()
def nodes(
    context: typer.Context,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Show each node: its state, what it leads and holds, its load. Or drain, remove, replace and set one.

    Example: zkv nodes --json
    """
    if context.invoked_subcommand is None:
        cluster.nodes(address, timeout, as_json)


@nodes_app.command()
def drain(
    node: NodeArgument,
    wait: WaitOption = True,
    within: WithinOption = WITHIN_S,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Move all that NODE holds elsewhere; it serves meanwhile, and then it may stop.

    Example: zkv nodes drain node4
    """
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(node, "drain")).result()
        if wait:
            wait_until_empty(client, node, within)


@nodes_app.command()
def undrain(node: NodeArgument, address: o.AddressOption = o.ADDRESS, timeout: o.TimeoutOption = o.TIMEOUT_S) -> None:
    """Let NODE keep what it still holds, and be given more.

    Example: zkv nodes undrain node4
    """
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(node, "undrain")).result()


@nodes_app.command()
def remove(
    node: NodeArgument,
    yes: o.YesOption = False,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """NODE is gone for good: rebuild elsewhere what it held, and forget it. Of a node that is up: drain it first.

    Asks first; where nobody can be asked, it needs --yes.

    Example: zkv nodes remove node4 --yes
    """
    o.ask_first(f"Remove {node} for good? Its folder cannot come back.", yes=yes, consent=f"removes {node} for good")
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(node, "remove")).result()


@nodes_app.command()
def replace(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The node that gives up all it holds.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The node that gets it; it has joined already.")],
    yes: o.YesOption = False,
    wait: WaitOption = True,
    within: WithinOption = WITHIN_S,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Move all that OLD holds to NEW. If OLD is down, it is rebuilt there at once.

    Asks first; where nobody can be asked, it needs --yes.

    Example: zkv nodes replace node2 node5 --yes
    """
    o.ask_first(f"Move all that {old} holds to {new}?", yes=yes, consent=f"moves all that {old} holds to {new}")
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(old, "replace", heir=new)).result()
        if wait:
            wait_until_empty(client, old, within)


@nodes_app.command("set")
def set_node(
    node: NodeArgument,
    weight: Annotated[float | None, typer.Option(help="Its share, against other nodes' weights.", metavar="W")] = None,
    zone: Annotated[str | None, typer.Option(help="Its failure domain.", metavar="ZONE")] = None,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Change NODE's weight or zone, whatever it was started with.

    Example: zkv nodes set node4 --weight 2 --zone cellar
    """
    if weight is None and zone is None:
        raise InvalidRequest("nothing to set: give --weight or --zone")
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(node, "set", weight=weight, zone=zone)).result()


@operators_app.callback()
def operators(
    context: typer.Context,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Show what is under way: each replica that moves, its next step, and how far its snapshot is.

    Example: zkv operators
    """
    if context.invoked_subcommand is not None:
        return
    with o.connected(address, timeout) as client:
        rows = look(client).operator_rows()
    if as_json:
        print_json({"operators": rows})
    elif rows:
        show_rows(rows, as_json=False)
    else:
        note("nothing is under way")


@operators_app.command()
def cancel(
    operator: Annotated[int, typer.Argument(metavar="ID", help="As `zkv operators` shows it.")],
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Take one back: what it has brought goes again, and its shard is left alone for a minute.

    A split or a merge that its shard has begun by then is done all the same, and `zkv operators` shows it go.

    Example: zkv operators cancel 12
    """
    with o.connected(address, timeout) as client:
        client.ask(admin.cancel_operator(operator)).result()


@explain_app.command("shard")
def explain_shard(
    shard: Annotated[int, typer.Argument(metavar="SHARD", help="Its number, as `zkv shards` shows it.")],
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Why a shard's replicas are where they are, what is done about it, and what is not.

    Example: zkv explain shard 3
    """
    with o.connected(address, timeout) as client:
        print("\n".join(Reasons(look(client)).shard(shard)))


@explain_app.command("node")
def explain_node(
    node: NodeArgument, address: o.AddressOption = o.ADDRESS, timeout: o.TimeoutOption = o.TIMEOUT_S
) -> None:
    """Why a node holds what it holds, and what is about to change.

    Example: zkv explain node node4
    """
    with o.connected(address, timeout) as client:
        print("\n".join(Reasons(look(client)).node(node)))


@explain_app.command("key")
def explain_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key; it need not exist.")],
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Why a key is where it is: its shard, and why that is there.

    Example: zkv explain key user:42
    """
    with o.connected(address, timeout) as client:
        print("\n".join(Reasons(look(client)).key(o.argument_bytes(key), table)))


def tune(
    balance: Annotated[
        Literal["on", "off"] | None, typer.Option(help="Whether shares, bytes and requests are evened out.")
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="A node silent for longer is given up, and rebuilt elsewhere."),
    ] = None,
    moves: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=64, help="Replicas that move to or from a node at once.")
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES", min=0, help="Of snapshots a second, from each node; 0: no limit, else 1 MiB or more."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="BYTES|off", help="Shards of range tables above so many bytes are split, by themselves."),
    ] = None,
    merge: Annotated[
        str | None,
        typer.Option(metavar="BYTES|off", help="Cold neighbours of no more bytes merge, by themselves; off: none do."),
    ] = None,
    hot: Annotated[
        str | None,
        typer.Option(
            metavar="REQUESTS|off",
            help="Shards of range tables that are asked more a second, and much of what a node is, are split.",
        ),
    ] = None,
    hot_for: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="For how long a shard is asked so much before it is split."),
    ] = None,
    cold: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Neighbours that are small and hardly asked for so long merge."),
    ] = None,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Show how the cluster changes by itself, or change that.

    Example: zkv tune --balance off --grace 300
    Example: zkv tune --split off --hot 5000
    """
    split_bytes, merge_bytes = _number_or_off("--split", split), _number_or_off("--merge", merge)
    split_requests = _number_or_off("--hot", hot)
    orders: list[admin.AdminRequest[None]] = []
    if (balance, grace, moves, rate) != (None, None, None, None):
        wanted = None if balance is None else balance == "on"
        orders.append(admin.change_tuning(balance=wanted, grace_s=grace, moves_per_node=moves, bytes_per_s=rate))
    if split_bytes is not None:
        orders.append(admin.tune_splits(split_bytes))
    if merge_bytes is not None:
        orders.append(admin.tune_merges(merge_bytes))
    if (split_requests, hot_for) != (None, None):
        orders.append(admin.tune_hot(split_requests, hot_for))
    if cold is not None:
        orders.append(admin.tune_cold(cold))
    with o.connected(address, timeout) as client:
        for order in orders:
            client.ask(order).result()
        row = _tuning_of(client)
    if as_json:
        print_json(row)
    else:
        show_rows([row], as_json=False)


def _tuning_of(client: zkv.Client) -> dict[str, object]:
    """As one row; the bounds for splits and merges are None where no coordinator answers."""
    tuning, seen = client.shard_map().tuning, look(client)
    return {
        "balance": "on" if tuning.balance else "off",
        "grace_s": tuning.grace_ms / 1_000,
        "moves_per_node": tuning.moves_per_node,
        "bytes_per_s": tuning.bytes_per_s,
        "split_bytes": seen.bound("split_bytes"),
        "split_requests": seen.bound("split_requests"),
        "merge_bytes": seen.bound("merge_bytes"),
        "hot_s": None if (hot_ms := seen.bound("hot_ms")) is None else hot_ms / 1_000,
        "cold_s": None if (cold_ms := seen.bound("cold_ms")) is None else cold_ms / 1_000,
    }


def _number_or_off(option: str, text: str | None) -> int | None:
    if text is None or text == "off":
        return None if text is None else 0
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequest(f"{option} takes a number, or off, not {text!r}")
    return int(text)


def wait_until_empty(client: zkv.Client, node: str, within_s: float) -> None:
    """Return when the node holds no replica, or is in the map no more. Raises Timeout, NotPossible, Unavailable."""
    end = time.monotonic() + within_s
    while True:
        shard_map = client.shard_map()
        known = next((own for own in shard_map.nodes if own.node == node), None)
        members = [m for s in shard_map.shards for m in (*s.membership.voters, *s.membership.learners)]
        left = sum(member.node == node for member in members)
        if known is None or not left:
            return
        if known.duty == NodeDuty.SERVING:
            raise NotPossible(f"{node} is not to be emptied any more: somebody has said otherwise")
        if time.monotonic() > end:
            raise Timeout(f"{node} still holds {left} replicas after {within_s:g} s; it goes on", effect="done")
        time.sleep(_LOOK_S)
