"""`zkv chaos`: break a cluster in every way that can be done here, under load, and check what its clients saw."""

import random
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import msgspec
import typer

from zkv.cli.options import FAILED
from zkv.cli.render import cell_text, note, print_json, show_table

if TYPE_CHECKING:
    from zkv.chaos.verdict import Verdict

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SECONDS_MAX = 7 * 24 * 3600


def chaos(
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90s, 20m, 1h.")] = "60s",
    seed: Annotated[int | None, typer.Option(help="Of every choice; drawn and shown if not given.")] = None,
    nodes: Annotated[int, typer.Option(min=3, max=9, help="Of the cluster that it starts.")] = 3,
    coordinators: Annotated[int, typer.Option(min=1, max=5, help="Of the cluster that it starts: 1, 3 or 5.")] = 1,
    faults: Annotated[str, typer.Option(metavar="KIND[,...]", help="Only these kinds (`list` shows all).")] = "",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT[,...]", help="Your own cluster, with what can be done from outside.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Your cluster may be put under load and sent garbage.")] = False,
    rate: Annotated[float, typer.Option(metavar="N", min=1, help="Operations a second, of all processes.")] = 400.0,
    namespaces: Annotated[bool, typer.Option(help="Use network namespaces where the system permits.")] = True,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the history and the logs; it must be empty.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Break a cluster under load and check that it kept its promises. Exit code 0 only if it did.

    Starts a cluster of its own unless --address names yours, which gets two new tables for the time.

    Example: zkv chaos --for 60s --faults kill-leader,cut-pair
    """
    from zkv.chaos import isolation  # only for this command
    from zkv.chaos.faults import FAULTS
    from zkv.chaos.run import RunSettings, run

    if faults == "list":
        show_table(
            ["kind", "what it does", "needs"], [(kind, one.about, one.needs.value) for kind, one in FAULTS.items()]
        )
        return
    seconds = _seconds(duration)
    if coordinators % 2 == 0:
        raise typer.BadParameter(f"--coordinators {coordinators}: a group has 1, 3 or 5")
    if address and not yes:
        raise typer.BadParameter("--address needs --yes: the cluster is put under load and sent garbage")
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise typer.BadParameter(f"--keep {keep} is not empty")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything that was started is ended then too
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix=f"zkv-chaos-{seed}-")) if keep is None else keep.absolute()
    settings = RunSettings(
        seconds=seconds,
        seed=seed,
        folder=folder,
        nodes=nodes,
        coordinators=coordinators,
        kinds=tuple(kind.strip() for kind in faults.split(",") if kind.strip()),
        address=address,
        rate_per_s=rate,
        not_isolated=_apart(isolation.enter, address, namespaces=namespaces),
    )
    note(f"chaos for {seconds:g} s with seed {seed}; history and logs: {folder}")
    with _Screen(seconds) as screen:
        verdict = run(settings, screen)
    (folder / "verdict.json").write_bytes(msgspec.json.format(msgspec.json.encode(verdict)))
    if as_json:
        print_json(msgspec.to_builtins(verdict))
    else:
        _show(verdict)
    raise typer.Exit(0 if verdict.passed else FAILED)


def _apart(enter: Callable[[], str], address: str, *, namespaces: bool) -> str:
    """Go where the network and the mounts are ours alone; or why not."""
    if address:
        return "the cluster is not the run's own"
    return enter() if namespaces else "namespaces were not wanted"


def _seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        raise typer.BadParameter(f"--for {text!r} is no time like 90s, 20m or 1h") from None
    if not 0 < seconds <= _SECONDS_MAX:
        raise typer.BadParameter(f"--for {text!r} is not above 0 and at most a week")
    return seconds


class _Screen:
    """A line on stderr for everything that happens; on a terminal a bar below them."""

    def __init__(self, seconds: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(None), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._seconds = seconds
        self._task = self._progress.add_task("begins", total=seconds) if self._progress is not None else None

    def line(self, seconds: float, kind: str, text: str) -> None:
        """Something happened."""
        shown = f"{seconds:8.1f}  {kind:<18} {text}"
        if self._progress is None or self._task is None:
            note(shown)
            return
        self._progress.console.print(shown, markup=False)
        self._progress.update(self._task, description=kind or "quiet")

    def tick(self, seconds: float) -> None:
        """Time passes."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=min(seconds, self._seconds))

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


def _show(verdict: "Verdict") -> None:
    endings = sorted({ending for counts in verdict.operations.values() for ending in counts})
    rows = [(verb, *(counts.get(ending, 0) for ending in endings)) for verb, counts in verdict.operations.items()]
    show_table(["operation", *endings], rows)
    print()
    faults: list[tuple[object, ...]] = [
        (one.kind, one.times, one.longest_pause_ms, one.whole_after_ms) for one in verdict.faults
    ]
    faults.append(("(none)", None, verdict.quiet_pause_ms, None))
    show_table(["fault", "times", "longest pause of writes, ms", "whole again after, ms"], faults)
    print()
    for kind, why in verdict.skipped.items():
        print(f"left out: {kind}: {why}")
    facts: dict[str, object] = {"acknowledged writes lost": verdict.lost, "double effects": verdict.doubled}
    facts |= {"linearizable": verdict.linearizable} | {f"checked: {name}": one for name, one in verdict.checks.items()}
    for name, value in facts.items():
        print(f"{name:<34}{cell_text(value)}")
    print(f"{'timeline':<34}{verdict.timeline}")
    for failure in verdict.failures:
        print(f"FAILED: {failure}")
    print(
        f"{'PASSED' if verdict.passed else 'FAILED'}: {verdict.seconds:g} s with seed {verdict.seed}, {verdict.folder}"
    )
