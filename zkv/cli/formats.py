"""Rows as text and back: tsv, csv and jsonl. Bytes survive all three.

tsv      one row a line: key, TAB, value. The value is everything after the first TAB, so further TABs, quotes and
         backslashes are themselves. Only what would break a line is written differently, behind the rare control
         character DLE (0x10): `DLE n` is a newline, `DLE t` a TAB inside a key, `DLE DLE` is DLE.
csv      RFC 4180, two columns, no header. Bytes that are no UTF-8 are written as they are.
jsonl    one object a line: {"key": text, "value": text}; "key_base64" and "value_base64" for bytes that are no UTF-8.
"""

import base64
import binascii
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import BinaryIO, NamedTuple

import msgspec

from zkv import limits

_CSV_FIELD_CHARACTERS_MAX = 2 * limits.VALUE_BYTES_MAX


class Format(StrEnum):
    """What `zkv import` and `zkv export` take."""

    tsv = "tsv"
    csv = "csv"
    jsonl = "jsonl"


class Line(NamedTuple):
    """One row of a file. `fault` says in words why it is none; "" where it is one."""

    number: int
    key: bytes
    value: bytes
    fault: str = ""


def read_lines(source: BinaryIO, form: Format) -> Iterator[Line]:
    """The rows of a file, in order, numbered by the line that they begin on, from 1. Limits are checked."""
    return map(_within_limits, _READERS[form](source))


def write_row(form: Format) -> Callable[[bytes, bytes], bytes]:
    """The function (key, value) -> the row's text with its line end."""
    return _WRITERS[form]


def _within_limits(line: Line) -> Line:
    key, value = line.key, line.value
    if line.fault:
        return line
    if not key:
        return line._replace(fault="the key is empty")
    if len(key) > limits.KEY_BYTES_MAX:
        return line._replace(fault=f"the key has {len(key):,} bytes; {limits.KEY_BYTES_MAX:,} is the most")
    if len(value) > limits.VALUE_BYTES_MAX:
        return line._replace(fault=f"the value has {len(value):,} bytes; {limits.VALUE_BYTES_MAX:,} is the most")
    return line


# tsv -----------------------------------------------------------------------------------------------------------------

_DLE, _NEWLINE, _TAB = b"\x10", b"\n", b"\t"


def _escape(text: bytes) -> bytes:
    if _DLE in text:
        text = text.replace(_DLE, b"\x10\x10")
    return text.replace(_NEWLINE, b"\x10n") if _NEWLINE in text else text


def _unescape(text: bytes) -> bytes:
    """Raises ValueError where DLE stands before anything but `n`, `t` or DLE."""
    if _DLE not in text:
        return text
    out, rest = [], text
    while rest:
        plain, mark, rest = rest.partition(_DLE)
        out.append(plain)
        if mark:
            out.append({b"n": _NEWLINE, b"t": _TAB, _DLE: _DLE}[rest[:1]])
            rest = rest[1:]
    return b"".join(out)


def _write_tsv(key: bytes, value: bytes) -> bytes:
    return b"%b\t%b\n" % (_escape(key).replace(_TAB, b"\x10t"), _escape(value))


def _read_tsv(source: BinaryIO) -> Iterator[Line]:
    for number, line in enumerate(source, 1):
        key, tab, value = line.removesuffix(_NEWLINE).partition(_TAB)
        if not tab:
            yield Line(number, b"", b"", "no TAB between key and value")
            continue
        try:
            yield Line(number, _unescape(key), _unescape(value))
        except KeyError:
            yield Line(number, b"", b"", "DLE (0x10) is followed by neither `n`, `t` nor DLE")


# csv -----------------------------------------------------------------------------------------------------------------


def _write_csv(key: bytes, value: bytes) -> bytes:
    out = io.StringIO()
    # RFC 4180's line end; with "\n" alone, Python 3.11 leaves a lone "\r" unquoted and splits there when it reads.
    csv.writer(out, lineterminator="\r\n").writerow((_text(key), _text(value)))
    return _bytes(out.getvalue())


def _read_csv(source: BinaryIO) -> Iterator[Line]:
    csv.field_size_limit(_CSV_FIELD_CHARACTERS_MAX)
    text = io.TextIOWrapper(source, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        yield from _csv_lines(text)
    finally:
        text.detach()  # the file is its opener's to close


def _csv_lines(text: io.TextIOWrapper) -> Iterator[Line]:
    rows = csv.reader(text, strict=True)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Line(number, b"", b"", str(error))
            continue
        if len(row) == 2:
            yield Line(number, _bytes(row[0]), _bytes(row[1]))
        elif row:
            yield Line(number, b"", b"", f"{len(row)} columns instead of two")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# jsonl ---------------------------------------------------------------------------------------------------------------


class _Object(msgspec.Struct, forbid_unknown_fields=True):
    key: str | None = None
    value: str | None = None
    key_base64: str | None = None
    value_base64: str | None = None


_decode_object = msgspec.json.Decoder(_Object).decode


def json_field(name: str, data: bytes) -> dict[str, str]:
    """`data` as a field of a JSON object: text under `name`, or base64 under `name`_base64 where it is no UTF-8."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _write_jsonl(key: bytes, value: bytes) -> bytes:
    return json.dumps(json_field("key", key) | json_field("value", value), ensure_ascii=False).encode() + b"\n"


def _read_jsonl(source: BinaryIO) -> Iterator[Line]:
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            found = _decode_object(line)
            yield Line(number, _either("key", found.key, found.key_base64), _value_of(found))
        except (ValueError, RecursionError) as error:
            yield Line(number, b"", b"", str(error))


def _value_of(found: _Object) -> bytes:
    return _either("value", found.value, found.value_base64)


def _either(name: str, text: str | None, encoded: str | None) -> bytes:
    if text is not None and encoded is None:
        return text.encode()
    if text is None and encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError(f"`{name}_base64`: {error}") from error
    raise ValueError(f"an object needs `{name}` or `{name}_base64`, one of them")


_READERS: dict[Format, Callable[[BinaryIO], Iterable[Line]]] = {
    Format.tsv: _read_tsv,
    Format.csv: _read_csv,
    Format.jsonl: _read_jsonl,
}
_WRITERS: dict[Format, Callable[[bytes, bytes], bytes]] = {
    Format.tsv: _write_tsv,
    Format.csv: _write_csv,
    Format.jsonl: _write_jsonl,
}
