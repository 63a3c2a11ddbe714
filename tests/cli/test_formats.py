"""Rows as text and back."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkv import limits
from zkv.cli.formats import Format, Line, json_field, read_lines, write_row

AWKWARD = st.binary(max_size=40) | st.text(alphabet='a\t\n\r"\\,\x10nt\0é', max_size=20).map(str.encode)
_ONE_KEY = "an object needs `key` or `key_base64`, one of them"
ROWS = st.lists(st.tuples(AWKWARD.filter(bool), AWKWARD), max_size=12)


def read(text: bytes, form: Format) -> list[Line]:
    return list(read_lines(io.BytesIO(text), form))


@pytest.mark.parametrize("form", list(Format))
@given(rows=ROWS)
def test_any_bytes_survive_writing_and_reading(form: Format, rows: list[tuple[bytes, bytes]]) -> None:
    text = b"".join(write_row(form)(key, value) for key, value in rows)
    assert [(line.key, line.value, line.fault) for line in read(text, form)] == [(*row, "") for row in rows]


@given(rows=ROWS)
def test_a_tsv_row_is_always_one_line(rows: list[tuple[bytes, bytes]]) -> None:
    text = b"".join(write_row(Format.tsv)(key, value) for key, value in rows)
    assert text.count(b"\n") == len(rows)


def test_plain_tsv_text_is_written_as_it_was_read() -> None:
    text = b'C:\\new\\table\t"quoted", \\n and \ta TAB\r\n0041\tLATIN CAPITAL LETTER A\nempty\t\n\xc3\xa9\t\xff\n'
    assert b"".join(write_row(Format.tsv)(line.key, line.value) for line in read(text, Format.tsv)) == text


def test_a_last_line_without_its_end_counts() -> None:
    assert read(b"a\t1\nb\t2", Format.tsv) == [Line(1, b"a", b"1"), Line(2, b"b", b"2")]


@pytest.mark.parametrize(
    ("form", "text", "fault"),
    [
        (Format.tsv, b"no tab\n", "no TAB between key and value"),
        (Format.tsv, b"\n", "no TAB between key and value"),
        (Format.tsv, b"\tvalue\n", "the key is empty"),
        (Format.tsv, b"a\x10x\tvalue\n", "DLE (0x10) is followed by neither `n`, `t` nor DLE"),
        (Format.tsv, b"key\tends with \x10\n", "DLE (0x10) is followed by neither `n`, `t` nor DLE"),
        (Format.tsv, b"k" * (limits.KEY_BYTES_MAX + 1) + b"\tv\n", "the key has 4,097 bytes; 4,096 is the most"),
        (Format.tsv, b"k\t" + b"v" * 1_048_577, "the value has 1,048,577 bytes; 1,048,576 is the most"),
        (Format.csv, b"one\n", "1 columns instead of two"),
        (Format.csv, b"one,two,three\n", "3 columns instead of two"),
        (Format.csv, b'a,"b"c\n', "',' expected after '\"'"),
        (Format.jsonl, b"{\n", "Input data was truncated"),
        (Format.jsonl, b'{"key": "a", "value": 1}\n', "Expected `str | null`, got `int` - at `$.value`"),
        (Format.jsonl, b'{"key": "a", "vlaue": "b"}\n', "Object contains unknown field `vlaue`"),
        (Format.jsonl, b'{"key": "a"}\n', "an object needs `value` or `value_base64`, one of them"),
        (Format.jsonl, b'{"key": "a", "key_base64": "YQ==", "value": ""}\n', _ONE_KEY),
        (Format.jsonl, b'{"key_base64": "?", "value": ""}\n', "`key_base64`: Only base64 data is allowed"),
        (Format.jsonl, b"[" * 100_000 + b"\n", "Expected `object`, got `array`"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_said_in_words_and_the_next_line_is_read(form: Format, text: bytes, fault: str) -> None:
    good = write_row(form)(b"key", b"value")
    lines = read(good + text.removesuffix(b"\n") + b"\n" + good, form)
    assert [(line.number, line.fault) for line in lines] == [(1, ""), (2, fault), (3, "")]
    assert (lines[2].key, lines[2].value) == (b"key", b"value")


def test_csv_lines_are_numbered_by_the_line_that_a_row_begins_on() -> None:
    lines = read(b'a,"1\n2\n3"\nb,4\n', Format.csv)
    assert lines == [Line(1, b"a", b"1\n2\n3"), Line(4, b"b", b"4")]


def test_json_shows_text_as_text_and_other_bytes_as_base64() -> None:
    assert json_field("value", "naïve".encode()) == {"value": "naïve"}
    assert json_field("value", b"\xff\x00") == {"value_base64": "/wA="}
