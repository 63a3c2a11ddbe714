"""`zkv sim`: whole clusters in one process, each run decided by a seed."""

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import typer
from msgspec.structs import replace

from zkv.cli import options as o
from zkv.cli.render import note, print_json
from zkv.sim.plan import Plan, decode_plan, encode_plan
from zkv.sim.report import Report

_HOUR_MS = 3_600_000


def sim(
    seed: Annotated[int, typer.Option(metavar="N", help="The first seed.")] = 1,
    runs: Annotated[int, typer.Option(metavar="M", min=1, help="How many seeds, from that one on.")] = 1,
    jobs: Annotated[int, typer.Option(metavar="J", min=1, help="Processes that share the runs.")] = 1,
    plan: Annotated[
        str, typer.Option(metavar="JSON", help="What a run is made of, as --shrink prints it; the options go on top.")
    ] = "{}",
    bursts: Annotated[int | None, typer.Option(metavar="N", min=1, help="Bursts of trouble in a run.")] = None,
    calm: Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Peace between two bursts.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No faults at all.")] = False,
    elastic: Annotated[
        bool, typer.Option("--elastic", help="Nodes join, are drained, replaced and removed, beside all else.")
    ] = False,
    coordinators: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=5, help="A group of so many coordinators."),
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Tell the story of the run, line by line.")] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Look for a smaller run that fails in the same way, and print its plan.")
    ] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Do not stop at the first failure.")] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Run clusters in simulation: real replicas, coordinator and clients; faults, times and chances from a seed.

    The same seed and plan give the same run, which its `trace` shows. Exit code 0 only where every run has passed.
    Example: zkv sim --seed 7 --json
    Example: zkv sim --seed 1000 --runs 500 --jobs 2
    Example: zkv sim --seed 1 --runs 100 --elastic
    Example: zkv sim --seed 1 --runs 100 --coordinators 3
    """
    size = decode_plan(plan)
    changes: dict[str, object] = {"bursts": bursts, "calm_ms": None if calm is None else int(calm * 1_000)}
    size = replace(size, **{name: value for name, value in changes.items() if value is not None})
    size = replace(size, quiet=True) if quiet else size
    size = replace(size, elastic=True) if elastic else size
    size = replace(size, coordinators=coordinators) if coordinators is not None else size
    failed = _run(seed, runs, jobs, size, keep_going=keep_going, trace=trace, as_json=as_json)
    if failed is not None and shrink:
        _shrink(failed, size, as_json=as_json)
    if failed is not None:
        raise typer.Exit(o.FAILED)


def _run(seed: int, runs: int, jobs: int, plan: Plan, *, keep_going: bool, trace: bool, as_json: bool) -> Report | None:
    """Run and show them; the first report that is no pass."""
    from zkv.sim.run import simulate  # loads the whole system, which no other command needs
    from zkv.sim.search import search

    began = time.monotonic()
    if trace:
        # Where stdout is for the report alone, the story goes to stderr.
        tell: Callable[[str], None] = note if as_json else print
        reports: Iterable[Report] = (simulate(number, plan, story=tell) for number in range(seed, seed + runs))
    else:
        reports = search(seed, runs, plan, jobs)
    first: Report | None = None
    done = simulated_ms = not_passed = 0
    for report in _watched(reports, runs):
        done += 1
        simulated_ms += report.simulated_ms
        not_passed += not report.passed
        first = first or (None if report.passed else report)
        if as_json:
            print_json(report.as_dict())
        elif runs == 1 or not report.passed:
            print("\n".join(report.lines()), flush=True)
        if first is not None and not keep_going:
            break
    if runs > 1:
        minutes = (time.monotonic() - began) / 60
        hours = simulated_ms / _HOUR_MS
        rates = f"{done / minutes:.0f} a minute, {simulated_ms / 60_000 / minutes:.0f} simulated seconds a second"
        note(f"{done} runs, {not_passed} not passed, {hours:.2f} simulated cluster-hours; {rates}")
    return first


def _watched(reports: Iterable[Report], runs: int) -> Iterator[Report]:
    """The same reports, with a bar on a terminal."""
    if runs == 1 or not sys.stderr.isatty():
        yield from reports
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("seed {task.fields[seed]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=runs, seed="")
        for report in reports:
            progress.update(task, advance=1, seed=report.seed)
            yield report


def _shrink(report: Report, plan: Plan, *, as_json: bool) -> None:
    from zkv.sim.shrink import Shrinking

    if not report.failures:
        note("only a failure can be shrunk, and this run is unknown: a checker ran out of its budget")
        return
    shrinking = Shrinking(report, plan, note)
    shrinking.shrink()
    found = encode_plan(shrinking.plan)
    if as_json:
        print_json(shrinking.report.as_dict() | {"plan": found})
        return
    print(f"the smallest found in {shrinking.runs} runs:")
    print("\n".join(shrinking.report.lines()))
    print(f"replay: zkv sim --seed {report.seed} --plan {shlex.quote(found)} --trace")
