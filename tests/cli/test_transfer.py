"""Import and export against a real cluster, with real input: the names of all Unicode characters."""

import io
import json
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from zkv.cli.main import run
from zkv.testing import Cluster

NAMES = sorted(
    f"{number:06X}\t{name}\n".encode()
    for number in range(sys.maxunicode + 1)
    if (name := unicodedata.name(chr(number), None)) is not None
)


@pytest.fixture(scope="module")
def names_table(zkv_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A table that holds NAMES, by `zkv import`."""
    source = tmp_path_factory.mktemp("names") / "names.tsv"
    source.write_bytes(b"".join(NAMES))
    with zkv_cluster.client() as client:
        client.create_table("names")
    assert run(["import", str(source), "--table", "names", "--address", zkv_cluster.address]) == 0
    yield "names"
    with zkv_cluster.client() as client:
        client.drop_table("names")


def export(cluster: Cluster, target: Path, *words: str) -> list[bytes]:
    """The exported lines, sorted."""
    assert run(["export", str(target), "--address", cluster.address, *words]) == 0
    return sorted(target.read_bytes().splitlines(keepends=True))


def test_every_unicode_name_goes_in_and_comes_out_as_it_was(
    names_table: str, zkv_cluster: Cluster, tmp_path: Path
) -> None:
    assert len(NAMES) > 130_000
    assert export(zkv_cluster, tmp_path / "out.tsv", "--table", names_table) == NAMES


def test_a_prefix_exports_those_rows_only(names_table: str, zkv_cluster: Cluster, tmp_path: Path) -> None:
    wanted = [line for line in NAMES if line.startswith(b"01F6")]
    assert len(wanted) > 200
    assert export(zkv_cluster, tmp_path / "out.tsv", "--table", names_table, "--prefix", "01F6") == wanted


def test_an_export_that_fails_leaves_the_file_of_yesterday_alone(zkv_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "out.tsv").write_text("yesterday\t1\n")
    assert run(["export", str(tmp_path / "out.tsv"), "--table", "nowhere", "--address", zkv_cluster.address]) == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.tsv", "yesterday\t1\n")]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_other_formats_carry_the_same_rows(
    form: str, names_table: str, zkv_cluster: Cluster, tmp_path: Path
) -> None:
    part = ["--prefix", "000"]
    export(zkv_cluster, tmp_path / "out", "--table", names_table, "--format", form, *part)
    with zkv_cluster.client() as client:
        client.create_table(form)
    words = ["import", str(tmp_path / "out"), "--format", form, "--table", form, "--address", zkv_cluster.address]
    assert run(words) == 0
    assert export(zkv_cluster, tmp_path / "again.tsv", "--table", form) == [
        line for line in NAMES if line.startswith(b"000")
    ]


def test_refused_lines_are_named_and_the_others_go_in(
    zkv_cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"one\t1\nno tab\n" + b"k" * 5000 + b"\tv\ntwo\t2\none\tlast wins"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run(["import", "--address", zkv_cluster.address]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "3 rows in, 2 lines refused",
        "line 2: no TAB between key and value",
        "line 3: the key has 5,000 bytes; 4,096 is the most",
    ]
    with zkv_cluster.client() as client:
        assert client.mget(["one", "two"]) == {b"one": b"last wins", b"two": b"2"}


def test_the_report_as_json(
    zkv_cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,1\nb\n")))
    assert run(["import", "--format", "csv", "--json", "--address", zkv_cluster.address]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "rows": 1,
        "refused": 1,
        "lines": [{"line": 2, "why": "1 columns instead of two"}],
    }


def test_an_import_into_no_table_says_so_for_each_line(
    zkv_cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\t1\nb\t2\n")))
    assert run(["import", "--table", "nowhere", "--address", zkv_cluster.address]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "0 rows in, 2 lines refused"
    assert [line.partition("; ")[0] for line in told[1:]] == [
        f"line {number}: there is no table 'nowhere'" for number in (1, 2)
    ]
