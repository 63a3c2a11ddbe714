"""Commands that change the cluster, or say what a change would do: nodes ..., operators, plan, apply, explain, tune."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

import zkv
from zkv.cli import cluster
from zkv.cli import options as o
from zkv.cli.overview import Overview, look
from zkv.cli.reasons import Reasons
from zkv.cli.render import human_bytes, note, print_json, show_rows
from zkv.core.cluster.messages import PlanAnswer
from zkv.core.cluster.shardmap import NodeDuty, Tuning
from zkv.core.routing import admin
from zkv.errors import InvalidRequest, NotPossible, Timeout

nodes_app = typer.Typer(invoke_without_command=True)
operators_app = typer.Typer(invoke_without_command=True)
plan_app = typer.Typer(help="Show what a change of the nodes would move; nothing is done.", no_args_is_help=True)
explain_app = typer.Typer(help="Say in words why something is where it is.", no_args_is_help=True)

_LOOK_S = 0.2
_REPLICAS_PER_S = 1  # beside their bytes: learning, promotion and removal take about as long, however small a shard is

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="The node's id.")]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the node holds nothing any more.")]
WithinOption = Annotated[float, typer.Option("--within", metavar="SECONDS", min=1, help="How long to wait for it.")]
_WITHIN_S = 3_600.0


class SavedPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `zkv plan --json` prints and `zkv apply` reads."""

    action: str
    node: str
    plan: int
    version: int
    moves: list[dict[str, object]]
    heir: str = ""
    bytes: int | None = None
    estimated_s: float | None = None
    risks: list[str] = []


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
    within: WithinOption = _WITHIN_S,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Move all that NODE holds elsewhere; it serves meanwhile, and then it may stop.

    Example: zkv nodes drain node4
    """
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(node, "drain")).result()
        if wait:
            _wait_until_empty(client, node, within)


@nodes_app.command()
def undrain(node: NodeArgument, address: o.AddressOption = o.ADDRESS, timeout: o.TimeoutOption = o.TIMEOUT_S) -> None:
    """Let NODE keep what it still holds, and be given more.

    Example: zkv nodes undrain node4
    """
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(node, "undrain")).result()


@nodes_app.command()
def remove(node: NodeArgument, address: o.AddressOption = o.ADDRESS, timeout: o.TimeoutOption = o.TIMEOUT_S) -> None:
    """NODE is gone for good: rebuild elsewhere what it held, and forget it. Of a node that is up: drain it first.

    Example: zkv nodes remove node4
    """
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(node, "remove")).result()


@nodes_app.command()
def replace(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The node that gives up all it holds.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The node that gets it; it has joined already.")],
    wait: WaitOption = True,
    within: WithinOption = _WITHIN_S,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Move all that OLD holds to NEW. If OLD is down, it is rebuilt there at once.

    Example: zkv nodes replace node2 node5
    """
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(old, "replace", heir=new)).result()
        if wait:
            _wait_until_empty(client, old, within)


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

    Example: zkv operators cancel 12
    """
    with o.connected(address, timeout) as client:
        client.ask(admin.cancel_operator(operator)).result()


def _plan_command(action: Literal["drain", "undrain", "remove"]) -> Callable[..., None]:
    def command(
        node: NodeArgument,
        address: o.AddressOption = o.ADDRESS,
        timeout: o.TimeoutOption = o.TIMEOUT_S,
        as_json: o.JsonOption = False,
    ) -> None:
        with o.connected(address, timeout) as client:
            _show_plan(client, action, node, "", as_json=as_json)

    command.__doc__ = f"""What `zkv nodes {action} NODE` would move: from where to where, bytes, time, risks.

    Example: zkv plan {action} node4 --json > plan.json
    """
    return command


for _action in ("drain", "undrain", "remove"):
    plan_app.command(_action)(_plan_command(_action))


@plan_app.command("replace")
def plan_replace(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The node that would give up all it holds.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The node that would get it.")],
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """What `zkv nodes replace OLD NEW` would move: from where to where, bytes, time, risks.

    Example: zkv plan replace node2 node5
    """
    with o.connected(address, timeout) as client:
        _show_plan(client, "replace", old, new, as_json=as_json)


def apply(
    plan: Annotated[Path, typer.Argument(metavar="FILE", help="What `zkv plan ... --json` printed; - is stdin.")],
    wait: WaitOption = True,
    within: WithinOption = _WITHIN_S,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Do exactly what a plan (of `zkv plan ... --json`) says; refused if the cluster has changed since it was made.

    Example: zkv apply plan.json
    """
    text = sys.stdin.buffer.read() if str(plan) == "-" else plan.read_bytes()
    try:
        saved = msgspec.json.decode(text, type=SavedPlan)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{plan} is no plan as `zkv plan --json` prints it: {error}") from error
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(saved.node, saved.action, heir=saved.heir, plan=saved.plan)).result()
        if wait and saved.action in ("drain", "replace"):
            _wait_until_empty(client, saved.node, within)


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
        Literal["on", "off"] | None, typer.Option(help="Whether nodes that joined get their share.")
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
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Show how the cluster changes by itself, or change that.

    Example: zkv tune --balance off --grace 300
    """
    with o.connected(address, timeout) as client:
        wanted = None if balance is None else balance == "on"
        if (wanted, grace, moves, rate) != (None, None, None, None):
            request = admin.change_tuning(balance=wanted, grace_s=grace, moves_per_node=moves, bytes_per_s=rate)
            client.ask(request).result()
        tuning = client.shard_map().tuning
    row: dict[str, object] = {
        "balance": "on" if tuning.balance else "off",
        "grace_s": tuning.grace_ms / 1_000,
        "moves_per_node": tuning.moves_per_node,
        "bytes_per_s": tuning.bytes_per_s,
    }
    if as_json:
        print_json(row)
    else:
        show_rows([row], as_json=False)


def _wait_until_empty(client: zkv.Client, node: str, within_s: float) -> None:
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


def _show_plan(client: zkv.Client, action: str, node: str, heir: str, *, as_json: bool) -> None:
    answer = client.ask(admin.plan_node(node, action, heir=heir)).result()
    saved = _saved(answer, action, node, heir, look(client))
    if as_json:
        print(msgspec.json.encode(saved).decode())
        return
    if saved.moves:
        show_rows(saved.moves, as_json=False)
    size = "unknown" if saved.bytes is None else human_bytes(saved.bytes)
    print(f"{len(saved.moves)} replicas, {size}, about {saved.estimated_s:.0f} s; at map version {saved.version}")
    for risk in saved.risks:
        print(f"risk: {risk}")


def _saved(answer: PlanAnswer, action: str, node: str, heir: str, seen: Overview) -> SavedPlan:
    tuning = seen.map.tuning
    moves: list[dict[str, object]] = []
    sizes: list[int | None] = []
    for move in answer.moves:
        size = seen.bytes_of(move.shard)
        sizes.append(size)
        target = move.target or None
        moves.append({"shard": move.shard, "from": move.source, "to": target, "bytes": size, "why": move.why})
    known = [size for size in sizes if size is not None]
    return SavedPlan(
        action,
        node,
        answer.plan,
        answer.version,
        moves,
        heir,
        bytes=None if len(known) < len(sizes) else sum(known),
        estimated_s=_estimated_s(len(moves), sum(known), tuning),
        risks=_risks(answer, seen, action, node),
    )


def _estimated_s(moves: int, size: int, tuning: Tuning) -> float:
    """Bytes at the rate that one node may send, and about a second for each round of moves."""
    copying = size / tuning.bytes_per_s if tuning.bytes_per_s else 0.0
    return round(copying + moves / (_REPLICAS_PER_S * tuning.moves_per_node), 1)


def _risks(answer: PlanAnswer, seen: Overview, action: str, node: str) -> list[str]:
    risks = [f"shard {move.shard}: there is no node to take its replica" for move in answer.moves if not move.target]
    if seen.below:
        risks.append(f"shards {seen.below} are below their replica count already")
    if action == "remove":
        risks.append(f"until all is rebuilt, shards of {node} have one replica fewer")
    if any(seen.bytes_of(move.shard) is None for move in answer.moves):
        risks.append("some shards are not counted yet: bytes and time are too low")
    return risks
