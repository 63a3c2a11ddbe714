"""The `zkv tour` command: a walk through a real cluster, told line by line, with pictures."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from zkv.cli import options as o
from zkv.cli.render import note, print_json


def tour(
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the pictures go.")] = Path("tour"),
    rows: Annotated[int, typer.Option(metavar="N", min=1_000, max=1_000_000, help="How many rows it writes.")] = 20_000,
    as_json: o.JsonOption = False,
) -> None:
    """Walk through a cluster of real processes: rows, a node that joins, one that dies, one that leaves, a hot spot.

    It starts a cluster of its own on this machine and stops it again, a minute or two later; docs/tour.md explains
    what is to be seen. Exit code 0 only if no request failed, no row was lost and the hot spot was spread.
    Example: zkv tour --out /tmp/tour
    """
    # Loaded here because nothing else needs a cluster of its own.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from zkv.tour.walk import walk

    console = Console(stderr=True)
    columns = (TextColumn("rows written"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=rows)

        def tell(station: str, line: str) -> None:
            shown = f"{station:<6} {line}"
            progress.console.print(shown, markup=False, highlight=False) if console.is_terminal else note(shown)

        findings = walk(rows, folder, tell, lambda more: progress.advance(task, more))
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        print(f"pictures: {' '.join(findings.pictures)}")
        print("every row and every request was accounted for" if findings.fine else "SOMETHING WENT WRONG: see above")
    sys.stdout.flush()
    if not findings.fine:
        raise typer.Exit(o.FAILED)
