"""`zkv sim-placement`: a day of evening out, simulated: what it moved, and that it settles."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import structs

from zkv.cli import options as o
from zkv.cli.render import note, print_json, show_rows
from zkv.sim.placement import Day, Hour, Outcome, World, hours, outcome

_DAY = Day()
_GIB = 1024**3


def sim_placement(
    seed: Annotated[int, typer.Option(metavar="N", help="Decides the whole day.")] = _DAY.seed,
    nodes: Annotated[int, typer.Option(metavar="N", min=4, max=1_000)] = _DAY.nodes,
    shards: Annotated[int, typer.Option(metavar="N", min=1, max=100_000)] = _DAY.shards,
    skew: Annotated[float, typer.Option(metavar="S", min=0, max=2, help="Zipf's exponent of the load.")] = _DAY.skew,
    still: Annotated[float, typer.Option(metavar="HOURS", min=0, help="Still load at first.")] = _DAY.still,
    moving: Annotated[float, typer.Option(metavar="HOURS", min=0, help="Load that wanders, then.")] = _DAY.moving,
    rest: Annotated[float, typer.Option(metavar="HOURS", min=0, help="Still load at the end.")] = _DAY.rest,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it (PNG, SVG, PDF).")] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Simulate how bytes and requests of range tables are evened out: placement alone, no messages, no faults.

    It decides by a coordinator's own code. Exit code 0 only where no shard moved twice within its cooling time.
    Example: zkv sim-placement --nodes 20 --shards 500 --still 1 --moving 1 --rest 1
    Example: zkv sim-placement --seed 7 --json --plot day.png
    """
    day = structs.replace(_DAY, seed=seed, nodes=nodes, shards=shards, skew=skew, still=still, moving=moving, rest=rest)
    began = time.process_time()
    world = World(day)
    told: list[Hour] = []
    for hour in hours(world):
        told.append(hour)
        if not as_json and hour.hour:
            note(f"hour {hour.hour}: {hour.moves} moves, {hour.handovers} hand-overs")
    ended = structs.replace(outcome(world, tuple(told)), step_ms=_step_ms(began, len(told) - 1))
    if plot is not None:
        _draw(ended, plot)
    if as_json:
        print_json(structs.asdict(ended) | {"day": structs.asdict(day), "hours": [structs.asdict(own) for own in told]})
    else:
        _show(ended)
    if ended.moved_hot:
        raise typer.Exit(o.FAILED)


def _step_ms(began: float, simulated_hours: int) -> float:
    return round((time.process_time() - began) * 1_000 / max(1, simulated_hours * 360), 1)


def _show(ended: Outcome) -> None:
    rows: list[dict[str, object]] = [structs.asdict(hour) for hour in ended.hours]
    show_rows(rows, as_json=False)
    part = ended.bytes_moved / ended.bytes_held
    print(
        f"{ended.moves} moves of {ended.bytes_moved / _GIB:.1f} GiB ({part:.2f} of all that is held), "
        f"{ended.handovers} hand-overs; {ended.moved_hot} shards moved twice in their cooling time, {ended.back} "
        f"replicas went back; the last move {ended.last_move_s:.0f} s after the load came to rest; the most asked "
        f"shard is {ended.largest:.2f} of a node's share; {ended.step_ms} ms of CPU a round"
    )


def _draw(ended: Outcome, path: Path) -> None:
    # Loaded here because it takes a second, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9), layout="constrained")
    FigureCanvasAgg(figure)
    moves, stored, asked = figure.subplots(3, 1, sharex=True)
    at = [hour.hour for hour in ended.hours]
    moves.bar([hour - 0.2 for hour in at], [hour.moves for hour in ended.hours], width=0.4, label="replicas moved")
    moves.bar(
        [hour + 0.2 for hour in at], [hour.handovers for hour in ended.hours], width=0.4, label="leads handed over"
    )
    for axes, most, least in ((stored, "bytes_most", "bytes_least"), (asked, "requests_most", "requests_least")):
        axes.plot(at, [getattr(hour, most) for hour in ended.hours], marker="o", label="fullest node")
        axes.plot(at, [getattr(hour, least) for hour in ended.hours], marker="o", label="emptiest node")
        axes.axhline(1, color="grey", linewidth=0.8)
    for axes, title, beside in (
        (moves, "what was done", "an hour"),
        (stored, "bytes held", "fair shares"),
        (asked, "requests led", "fair shares"),
    ):
        _label(axes, title, beside)
    asked.set_xlabel("hour")
    figure.savefig(path)


def _label(axes: Any, title: str, beside: str) -> None:
    axes.set(title=title, ylabel=beside)
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.1)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
