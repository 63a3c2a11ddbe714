"""The style of this repository, as far as a program can see it. What was there before a rule may stay, but not grow.

The lists below only shrink: an entry that is no longer needed must go, and a test says so.
"""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from zkv.core.message import Message
from zkv.wire import codec

ROOT = Path(__file__).parents[1]
CODE = sorted((ROOT / "zkv").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
NESTING_MAX = 3
SCRIPT_LINES_MAX = 40

# Larger than the rule allows, each for the reason that its docstring gives; the number is the most it may have.
LARGE_FILES: dict[str, int] = {}
DEEP_FUNCTIONS = {"zkv/core/cluster/placement.py:_chain_of_handovers": 5, "zkv/checkers/linear.py:_enabled": 4}

# The top of a process, or of a simulated world: whatever went wrong below ends it and is its result.
TOPS = {"zkv/sim/run.py"}

# Started by name (a console script, `python -m`, an entry point of pytest), so nobody imports them.
STARTED = {
    "zkv.cli.main",
    "zkv.server.restarter",
    "zkv.bench.ceiling_roles",
    "zkv.bench.load_roles",
    "zkv.bench.peer_roles",
    "zkv.testing.fixtures",
}

_NESTS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
_BANNED = {
    r"\b(TODO|FIXME|XXX|HACK)\b": "an open end belongs into an issue",
    r"# type: ignore(?!\[)": "an ignore names its error",
    r"from \S+ import \*": "name what you import",
}
_STARTS_OVER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BROAD = {"Exception", "BaseException"}
_BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "managers"}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{short(path)}:{node.name}", node


def depth(node: ast.AST) -> int:
    """How deep statements nest in it; `elif` is no deeper than its `if`, and an inner function starts over."""
    deepest = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, _STARTS_OVER):
                continue
            chained = isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
            deepest = max(deepest, depth(child) + (isinstance(child, _NESTS) and not chained))
    return deepest


def lines_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    doc = node.body[0] if ast.get_docstring(node) is not None else None
    spent = doc.end_lineno - doc.lineno + 1 if doc is not None and doc.end_lineno is not None else 0
    return node.end_lineno - node.lineno + 1 - spent


def test_no_file_outgrows_its_bound() -> None:
    sizes = {short(path): len(path.read_text().splitlines()) for path in CODE}
    large = {name: size for name, size in sizes.items() if size > LARGE_FILES.get(name, FILE_LINES_MAX)}
    assert large == {}, "cut by subject, or give the reason in the docstring and the size in LARGE_FILES"
    assert [name for name in LARGE_FILES if sizes.get(name, 0) <= FILE_LINES_MAX] == [], "take it off the list"


def test_no_function_is_longer_than_a_screen() -> None:
    long = {name: lines_without_docstring(node) for path in CODE for name, node in functions(path)}
    assert {name: size for name, size in long.items() if size > FUNCTION_LINES_MAX} == {}


def test_no_function_nests_deeper_than_three() -> None:
    deep = {name: found for path in CODE for name, node in functions(path) if (found := depth(node)) > NESTING_MAX}
    assert {name: found for name, found in deep.items() if found > DEEP_FUNCTIONS.get(name, 0)} == {}
    assert [name for name in DEEP_FUNCTIONS if name not in deep] == [], "take it off the list"


def test_every_module_class_and_public_function_says_what_it_is() -> None:
    silent = []
    for path in CODE:
        tree = ast.parse(path.read_text())
        if tree.body and ast.get_docstring(tree) is None:
            silent.append(short(path))
        public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        silent += [
            f"{short(path)}:{node.name}"
            for node in public
            if not node.name.startswith("_") and ast.get_docstring(node) is None
        ]
    assert silent == []


@pytest.mark.parametrize("pattern", list(_BANNED), ids=list(_BANNED.values()))
def test_nothing_is_written_that_we_do_not_write(pattern: str) -> None:
    found = [
        f"{short(path)}:{number}"
        for path in CODE + TESTS
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == []


def test_who_catches_everything_raises_it_again() -> None:
    """Cleaning up is fine; going on as if nothing had happened is not."""
    swallowing = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in _BROAD)
            if broad and not isinstance(node.body[-1], ast.Raise) and short(path) not in TOPS:
                swallowing.append(f"{short(path)}:{node.lineno}")
    assert swallowing == []


def test_every_ignored_type_error_gives_its_reason() -> None:
    bare = re.compile(r"# type: ignore\[[^]]*\]\s*$", re.MULTILINE)
    assert [short(path) for path in CODE if bare.search(path.read_text())] == []


def test_modules_are_named_after_their_subject() -> None:
    assert [short(path) for path in CODE if path.stem in _BANNED_MODULES] == []


def test_tests_wait_for_conditions_and_do_not_sleep() -> None:
    long_sleep = re.compile(r"\bsleep\((?!0\.0)(0\.[1-9]|[1-9])")
    assert [short(path) for path in TESTS if path != Path(__file__) and long_sleep.search(path.read_text())] == []


def test_no_module_is_left_over() -> None:
    imported: set[str] = set()
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    named = [path.relative_to(ROOT).with_suffix("") for path in CODE if not path.stem.startswith("__")]
    modules = {".".join(path.parts) for path in named}
    assert modules - imported - STARTED == set()


def test_the_package_loads_nothing_that_a_client_does_not_need() -> None:
    code = "import sys, zkv; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.split())
    assert "zmq" in loaded
    assert loaded & {"rocksdict", "sqlite3", "typer", "rich", "honcho", "pytest", "hypothesis"} == set()


def test_scripts_only_pass_arguments_on() -> None:
    scripts = [*(ROOT / "bin").iterdir(), ROOT / ".ci" / "run"]
    sizes = {short(path): len(path.read_text().splitlines()) for path in scripts}
    assert {name: size for name, size in sizes.items() if size > SCRIPT_LINES_MAX} == {}


def tagged_messages() -> set[str]:
    """Every message that some socket takes, and every message inside those."""
    found: set[str] = set()
    waiting: list[object] = [
        codec.ToNode,
        codec.ToCoordinator,
        codec.FromCoordinator,
        codec.ToClient,
        codec.Broadcast,
    ]
    while waiting:
        kind = waiting.pop()
        if inspect.isclass(kind) and issubclass(kind, Message):
            if kind.__name__ in found:
                continue
            if kind.__struct_config__.tag is not None:
                found.add(kind.__name__)
            waiting += [field.type for field in msgspec.structs.fields(kind)]
        else:
            waiting += get_args(kind)
    return found


def test_the_protocol_page_has_every_message() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    assert sorted(name for name in tagged_messages() if not re.search(rf"\b{name}\b", page)) == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{short(page)}: {target}")
    assert broken == []
