"""How the commands print."""

import pytest

from zkv.cli.render import bar, cell_text, human_bytes, row_json, show_rows


def test_a_table_is_aligned_and_has_no_colour_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [
        {"node": "node1", "keys_held": 1234567, "zone": "a", "replicas": ["x", "y"]},
        {"node": "a-much-longer-name", "keys_held": 5, "zone": None, "replicas": []},
    ]
    show_rows(rows, as_json=False)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "node                keys held  zone  replicas",
        "node1               1,234,567  a     x y",
        "a-much-longer-name          5  -",
    ]


def test_rows_as_json_keep_their_types(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"node": "é", "keys": 12, "up": True, "leader": None}], as_json=True)
    assert capsys.readouterr().out == '[{"node": "é", "keys": 12, "up": true, "leader": null}]\n'


def test_a_table_without_rows_prints_nothing_and_json_an_empty_array(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], as_json=False)
    show_rows([], as_json=True)
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize(
    ("cell", "text"), [(True, "yes"), (False, "no"), (12345, "12,345"), (1.5, "1.50"), (None, "-"), ((1, 2), "1 2")]
)
def test_cells(cell: object, text: str) -> None:
    assert cell_text(cell) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB"), (2 << 40, "2.0 TiB")],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_a_bar_is_as_long_as_its_share() -> None:
    assert [bar(share, 4.0, width=4) for share in (0.0, 0.5, 1.0, 2.125, 4.0)] == ["", "▌", "█", "██▏", "████"]
    assert bar(1.0, 0.0) == ""


def test_a_row_without_a_value_is_null_in_json() -> None:
    assert row_json(b"a", None) == {"key": "a", "value": None}
    assert row_json(b"\xff", b"") == {"key_base64": "/w==", "value": ""}
