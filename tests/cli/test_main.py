"""The command line as such: help, usage, exit codes, and what it costs to start. No cluster is needed."""

import inspect
import io
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from zkv import errors
from zkv.cli import main
from zkv.cli.main import EXIT_CODES, run
from zkv.cli.plans import SavedPlan

KEY_COMMANDS = ["put", "get", "delete", "incr", "mput", "mget", "scan", "import", "export"]
CLUSTER_COMMANDS = ["tables", "status", "nodes", "shards", "locate", "ring", "operators", "apply", "tune"]
PROCESS_COMMANDS = ["coordinator", "node", "bench", "sim", "sim-placement"]
COMMANDS = KEY_COMMANDS + CLUSTER_COMMANDS + PROCESS_COMMANDS
GROUPED = [
    *("table create", "table drop", "table split", "table show", "map watch", "bench ceiling"),
    *("nodes drain", "nodes undrain", "nodes remove", "nodes replace", "nodes set", "operators cancel"),
    *("plan drain", "plan undrain", "plan remove", "plan replace"),
    *("explain shard", "explain node", "explain key"),
]


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run([*command.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [*COMMANDS, *GROUPED])
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"Example: zkv {command}" in help_of(command, capsys)


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of("", capsys)
    words = set(shown.split())
    assert [command for command in [*COMMANDS, "table", "map", "plan", "explain"] if command not in words] == []
    assert "3 no such key" in shown


def test_no_word_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: zkv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("put", "Missing argument 'KEY'."),
        ("put key", "a put needs VALUE or --file, one of them"),
        ("frobnicate", "No such command 'frobnicate'."),
        ("get key --colour", "No such option: --colour"),
        ("get key --timeout never", "Invalid value for '--timeout'"),
        ("mput a 1 b", "the last key, 'b', has no value"),
        ("get key --address nowhere", "an address is HOST:PORT, not 'nowhere'"),
        ("import no-such-file.tsv --address 127.0.0.1:1", "no-such-file.tsv: No such file or directory"),
    ],
)
def test_wrong_use_is_one_line_on_stderr(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(words.split())
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith(f"zkv: {line}")
    assert code == (1 if words.startswith("import") else 2)


@pytest.mark.parametrize(
    ("words", "question", "consent"),
    [
        ("table drop events", "Drop the table events and all its rows?", "--yes drops the table events"),
        ("nodes remove n4", "Remove n4 for good? Its folder cannot come back.", "--yes removes n4 for good"),
        ("nodes replace n2 n5", "Move all that n2 holds to n5?", "--yes moves all that n2 holds to n5"),
        ("apply plan.json", "Do what plan.json says: drain n4, 1 replicas move?", "--yes does it: drain n4"),
    ],
)
def test_what_cannot_be_taken_back_is_done_at_the_word_of_a_person_or_of_yes(
    words: str,
    question: str,
    consent: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Nobody listens at the address: whatever gets as far as asking the cluster ends with 4."""
    monkeypatch.chdir(tmp_path)
    moves: list[dict[str, object]] = [{"shard": 1, "from": "n4", "to": "n1"}]
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(SavedPlan("drain", "n4", 7, 3, moves)))
    command = [*words.split(), "--address", "127.0.0.1:1", "--timeout", "0.2"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run(command) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert f"stdin is no terminal; nothing was written; {consent}" in shown.err
    assert run([*command, "--yes"]) == 4
    for answer, code in (("y\n", 4), ("n\n", 1), ("", 1)):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        capsys.readouterr()
        assert (answer, run(command)) == (answer, code)
        assert question in capsys.readouterr().out


def test_nobody_at_the_address_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["get", "key", "--address", "127.0.0.1:1", "--timeout", "0.2"]) == 4
    shown = capsys.readouterr().err
    assert shown.startswith("zkv: no success within 0.2")
    assert "no answer from 127.0.0.1:1; nothing was written" in shown


def test_every_error_has_an_exit_code() -> None:
    known = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ZkvError)}
    assert set(EXIT_CODES) == known


def test_settings_that_cannot_be_are_named_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["node", "--id", "n/1", "--data", "/tmp", "--listen", "1.2.3.4", "--join", ",", "--weight", "0"]
    assert run(words) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    for part in ("--id 'n/1'", "--listen '1.2.3.4' is not HOST:PORT", "--join names no coordinator", "--weight 0.0"):
        assert part in shown


def test_the_command_loads_neither_the_engine_nor_what_only_prints() -> None:
    """What a `zkv get` pays before it asks: no RocksDB, no rich, no honcho, no pytest."""
    code = "import sys, zkv.cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert main.__name__.partition(".")[0] in loaded
    assert loaded & {"rocksdict", "sqlite3", "rich", "honcho", "pytest", "hypothesis", "numpy"} == set()
