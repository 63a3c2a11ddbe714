"""`zkv bench table`, `growth` and `sustained`: what zkv wants to reach, measured in one run, as one table."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from zkv.bench import goals, upkeep
from zkv.bench.goals import Effort, Goal, Say
from zkv.cli import options as o
from zkv.cli.render import note, print_json, show_table
from zkv.testing.cluster import Cluster

ShortOption = Annotated[
    bool,
    typer.Option("--short", help="One turn, fewer keys, clients, shards and minutes: it only shows that it works."),
]
TurnsOption = Annotated[int | None, typer.Option("--turns", metavar="N", min=1, help="Of each figure; medians count.")]
SecondsOption = Annotated[
    float | None, typer.Option("--seconds", metavar="S", min=0.1, help="Length of each measurement.")
]


class Group(StrEnum):
    """What is measured together, on a cluster of its own."""

    rates = "rates"
    growth = "growth"
    clients = "clients"
    shards = "shards"
    idle = "idle"
    restart = "restart"
    sustained = "sustained"


_Measure = Callable[[Cluster, Effort, Say], Iterator[Goal]]


def _from_outside(measure: Callable[[str, Effort, Say], Iterator[Goal]]) -> _Measure:
    return lambda cluster, effort, say: measure(cluster.address, effort, say)


_MEASURES: dict[Group, _Measure] = {
    Group.rates: _from_outside(goals.rates),
    Group.growth: _from_outside(goals.growth),
    Group.clients: _from_outside(goals.clients),
    Group.shards: _from_outside(goals.shards),
    Group.idle: upkeep.idle,
    Group.restart: upkeep.restart,
    Group.sustained: _from_outside(goals.sustained),
}


def table(
    only: Annotated[list[Group] | None, typer.Option(help="These groups of figures; may be repeated.")] = None,
    short: ShortOption = False,
    turns: TurnsOption = None,
    seconds: SecondsOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Measure everything that zkv wants to reach, each group on a cluster of its own, and print one table.

    Takes about 25 minutes, 10 of them for the sustained rate. Exits with 1 where a figure is not reached.

    Example: zkv bench table --short --only rates --only sustained
    """
    effort = _effort(short=short, turns=turns, seconds=seconds)
    found: list[Goal] = []
    for group in only or list(Group):
        with Cluster() as cluster:
            found += _MEASURES[group](cluster, effort, note)
    _show(found, as_json=as_json)


def growth(
    keys: Annotated[int, typer.Option(metavar="N", min=1, help="Of the large table.")] = goals.FULL.many_keys,
    turns: TurnsOption = None,
    seconds: SecondsOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Compare puts to a table of very many keys with puts to one of 10,000, in turns, on a cluster of its own.

    Example: zkv bench growth --keys 500000 --turns 3
    """
    effort = msgspec.structs.replace(_effort(short=False, turns=turns, seconds=seconds), many_keys=keys)
    with Cluster() as cluster:
        found = list(goals.growth(cluster.address, effort, note))
    _show(found, as_json=as_json)


def sustained(
    seconds: Annotated[
        float, typer.Option(metavar="S", min=1.0, help="How long the rate is kept up.")
    ] = goals.FULL.sustained_s,
    as_json: o.JsonOption = False,
) -> None:
    """Put at half the maximum rate, in an open loop, for long: the tail over the median, the end over the beginning.

    Example: zkv bench sustained --seconds 60
    """
    effort = msgspec.structs.replace(goals.FULL, sustained_s=seconds)
    with Cluster() as cluster:
        found = list(goals.sustained(cluster.address, effort, note))
    _show(found, as_json=as_json)


def _effort(*, short: bool, turns: int | None, seconds: float | None) -> Effort:
    effort = goals.SHORT if short else goals.FULL
    return msgspec.structs.replace(effort, turns=turns or effort.turns, seconds=seconds or effort.seconds)


def _show(found: Sequence[Goal], *, as_json: bool) -> None:
    if as_json:
        print_json([msgspec.structs.asdict(goal) | {"reached": goal.reached} for goal in found])
    else:
        columns = ("figure", "measured", "over", "share", "wanted", "reached")
        show_table(columns, [_cells(goal) for goal in found])
    if not all(goal.reached for goal in found):
        raise typer.Exit(o.FAILED)


def _cells(goal: Goal) -> list[object]:
    wanted = f"{'<=' if goal.at_most else '>='} {goal.wanted:,g}"
    numbers = [_number(value) for value in (goal.measured, goal.over, goal.share)]
    return [goal.figure, *numbers, wanted, goal.reached]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.4g}"
