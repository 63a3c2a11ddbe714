"""A slice of `bin/mutants`: every mutant still fits the tree, and a few are caught."""

import ast
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.hunt import Hunter
from tests.mutants.mutant import ROOT, Edit, Mutant, Rotten

QUICK = (
    "append acknowledged before its flush",
    "two changes of membership at once",
    "restarted after a failed flush",
)


def named(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


def test_there_are_mutants_enough_and_no_two_are_alike() -> None:
    assert len(MUTANTS) >= 25
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.edits for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_still_fits_the_tree_in_one_place_and_is_python(mutant: Mutant, tmp_path: Path) -> None:
    for edit in mutant.edits:
        target = tmp_path / edit.file
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_text((ROOT / edit.file).read_text())
        edit.apply(tmp_path)
        ast.parse(target.read_text())


def test_a_mutant_whose_text_is_gone_or_stands_twice_is_rotten(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("a = 1\nb = 1\n")
    Edit("file.py", "a = 1", "a = 2").apply(tmp_path)
    for old in ("a = 1", "= ", "nowhere"):
        with pytest.raises(Rotten, match=r"file\.py has \d places"):
            Edit("file.py", old, "").apply(tmp_path)
    with pytest.raises(Rotten, match=r"other\.py has 0 places"):
        Edit("other.py", "a", "b").apply(tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_mutant_is_caught(name: str) -> None:
    assert Hunter(0).hunt(named(name)).by
