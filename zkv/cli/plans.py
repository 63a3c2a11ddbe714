"""Commands that say what a change of the nodes would do, and do exactly that: plan ..., apply."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

import zkv
from zkv.cli import options as o
from zkv.cli.elastic import WITHIN_S, NodeArgument, WaitOption, WithinOption, wait_until_empty
from zkv.cli.overview import Overview, look
from zkv.cli.render import human_bytes, show_rows
from zkv.core.cluster.messages import PlanAnswer
from zkv.core.cluster.shardmap import Tuning
from zkv.core.routing import admin
from zkv.errors import InvalidRequest

app = typer.Typer(help="Show what a change of the nodes would move; nothing is done.", no_args_is_help=True)

_REPLICAS_PER_S = 1  # beside their bytes: learning, promotion and removal take about as long, however small a shard is


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
    app.command(_action)(_plan_command(_action))


@app.command("replace")
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
    yes: o.YesOption = False,
    wait: WaitOption = True,
    within: WithinOption = WITHIN_S,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Do exactly what a plan (of `zkv plan ... --json`) says; refused if the cluster has changed since it was made.

    Asks first; where nobody can be asked, it needs --yes.

    Example: zkv apply plan.json --yes
    """
    text = sys.stdin.buffer.read() if str(plan) == "-" else plan.read_bytes()
    try:
        saved = msgspec.json.decode(text, type=SavedPlan)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{plan} is no plan as `zkv plan --json` prints it: {error}") from error
    does = f"{saved.action} {saved.node}" + (f" by {saved.heir}" if saved.heir else "")
    o.ask_first(f"Do what {plan} says: {does}, {len(saved.moves)} replicas move?", yes=yes, consent=f"does it: {does}")
    with o.connected(address, timeout) as client:
        client.ask(admin.change_node(saved.node, saved.action, heir=saved.heir, plan=saved.plan)).result()
        if wait and saved.action in ("drain", "replace"):
            wait_until_empty(client, saved.node, within)


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
