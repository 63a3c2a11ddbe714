"""`bin/mutants`: plant each fault in a copy of the tree, and see who notices.

A mutant is caught by the first seed of the simulator that fails, if the tree without it passes that seed; or by the
tests that it names. Exit status 1: one survives, or its text is no longer found.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant, Rotten, copy_tree

_LIMIT_S = 3_600.0  # one that never ends is not caught
_PLAYED = "tests/scenarios/test_scenarios.py::test_the_script_plays_as_written"
_VICTIM = re.compile(r"^FAILED (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Catch:
    """What became of one mutant. `by` is empty where nobody noticed; `seconds` of CPU."""

    mutant: str
    rule: str
    by: str
    seeds: int
    seconds: float
    said: str


class Hunter:
    """Runs mutants one after the other. `seeds` above 0 takes the place of what each one states."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._passing: set[tuple[int, bool]] = set()  # seeds, and whether elastic, known to pass without a mutant

    def hunt(self, mutant: Mutant) -> Catch:
        """Plant it and look. Raises Rotten."""
        before_s = _cpu_s()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            mutant.grow(folder)
            count = self._seeds or mutant.seeds
            caught = _simulate(folder, 1, count, elastic=mutant.elastic) if count else None
            if caught is not None:
                seed, failure = caught
                self._must_pass(seed, elastic=mutant.elastic)
                return self._catch(mutant, f"simulator, seed {seed}", seed, before_s, failure)
            red = _test(folder, mutant.tests) if mutant.tests and not self._seeds else ""
            said = mutant.why if red else f"not in {count} seeds; {mutant.why}"
            return self._catch(mutant, red, count, before_s, said)

    def _must_pass(self, seed: int, *, elastic: bool) -> None:
        if (seed, elastic) in self._passing:
            return
        with tempfile.TemporaryDirectory() as name:
            copy_tree(Path(name))
            failed = _simulate(Path(name), seed, 1, elastic=elastic)
        assert failed is None, f"seed {seed} fails without any mutant: {failed}"
        self._passing.add((seed, elastic))

    @staticmethod
    def _catch(mutant: Mutant, by: str, seeds: int, before_s: float, said: str) -> Catch:
        return Catch(mutant.name, mutant.rule, by, seeds, _cpu_s() - before_s, said)


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )


def _simulate(folder: Path, first: int, count: int, *, elastic: bool) -> tuple[int, str] | None:
    kind = ["elastic"] if elastic else []
    ended = _run(folder, "-m", "tests.mutants.seeds", str(first), str(count), *kind)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    return None if found is None else (found["seed"], found["failure"])


def _test(folder: Path, tests: tuple[str, ...]) -> str:
    """The first test that fails, or ""."""
    ended = _run(folder, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    found = _VICTIM.search(ended.stdout)
    return found[1] if found else ""


def _cpu_s() -> float:
    used = os.times()
    return used.children_user + used.children_system


def table_of(catches: Iterable[Catch]) -> Table:
    """For people."""
    table = Table("mutant", "rule", "caught by", "seeds", "CPU s", "said")
    for catch in catches:
        seeds = str(catch.seeds) if catch.seeds else ""
        by = escape(catch.by.replace(_PLAYED, "scenario ")) or "[bold red]nobody[/]"
        table.add_row(catch.mutant, catch.rule, by, seeds, f"{catch.seconds:.1f}", escape(catch.said[:160]))
    return table


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which mutants; all, if none is named.")] = None,
    seeds: Annotated[int, typer.Option(help="Simulate so many seeds, whatever a mutant states, and no tests.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each.")] = False,
) -> None:
    """Plant faults in copies of the tree, and say who notices each."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise typer.BadParameter(f"no mutant is called {unknown[0]!r}; all: {', '.join(map(repr, sorted(known)))}")
    chosen = [known[name] for name in names] if names else list(MUTANTS)
    hunter, catches = Hunter(seeds), []
    with Progress(console=Console(stderr=True), disable=as_json) as progress:
        task = progress.add_task("", total=len(chosen))
        for mutant in chosen:
            progress.update(task, description=mutant.name)
            try:
                catches.append(hunter.hunt(mutant))
            except Rotten as rotten:
                catches.append(Catch(mutant.name, mutant.rule, "", 0, 0.0, f"rotten: {rotten}"))
            progress.advance(task)
            if as_json:
                typer.echo(json.dumps(asdict(catches[-1])))
                sys.stdout.flush()
    if not as_json:
        Console(width=200 if not sys.stdout.isatty() else None).print(table_of(catches))
    raise typer.Exit(0 if all(catch.by for catch in catches) else 1)


if __name__ == "__main__":
    typer.run(main)
