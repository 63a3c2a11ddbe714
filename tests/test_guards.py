"""The pages that say which promise and which rule is guarded by what name things that exist."""

import re
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).parents[1]
TESTING = (ROOT / "docs" / "testing.md").read_text()
RULES = 27


def table() -> dict[str, list[str]]:
    """Rule -> the cells of its row."""
    section = TESTING.partition("## The rules and what guards each")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}


def test_every_rule_has_a_row() -> None:
    named = {int(number) for name in table() for number in re.findall(r"\d+", name.partition(" (")[0])}
    assert named == set(range(1, RULES + 1))


def test_every_rule_that_is_built_is_guarded_by_a_scenario_or_a_test() -> None:
    assert [rule for rule, cells in table().items() if "`" not in cells[0] and cells[0] != "not built"] == []


def test_every_scenario_and_test_that_the_table_names_exists() -> None:
    named = {name for cells in table().values() for name in re.findall(r"`([^`]+)`", cells[0])}
    assert named
    missing = {name for name in named if not (ROOT / name).exists()}
    assert {name for name in missing if not (ROOT / "tests" / "scenarios" / name).exists()} == set()


def test_the_table_names_every_mutant_and_no_other() -> None:
    named = {name.strip() for cells in table().values() for name in cells[2].split(";") if name.strip()}
    assert named == {mutant.name for mutant in MUTANTS}


@pytest.mark.parametrize("page", ["promises.md", "testing.md"])
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    everything = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = set(re.findall(r"\btest_\w+", text)) - {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted(name for name in names if f"def {name}(" not in everything) == []
    paths = set(re.findall(r"`(tests/[\w./]+)", text))
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
