"""The bytes of the log's segments: headers, records, and what damage looks like. No file is touched here.

A segment file is a header, then records without gaps, then zeros. Numbers are little-endian:

    segment header  magic (8, with the format's version), salt (4), head (4: 0 or 1), number (8), base (8), CRC-32 (4)
    record          magic (4), CRC-32 of the next 16 bytes (4), position (8), CRC-32 of the body (4), length (4), body

A position counts the bytes of all records ever written to this log, so base (the position of a segment's first record)
and length tell where each record belongs: a stale one, from a cut tail or another file, is never taken for a new one.
A record is written only after all before it were flushed. So its position *is* the offset known durable when it was
written (rule 4), and one intact record header vouches for everything before it, even if its own body is torn.
The salt is random and seeds the CRCs of record headers: nobody can put bytes into a value that pass for a record.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

_MAGIC = b"zkvlog\x00\x01"
_HEADER = struct.Struct("<8sIIQQ")
_RECORD_MAGIC = b"\xf5zkR"
_PREFIX = struct.Struct("<4sIQ")
_BODY = struct.Struct("<II")
_CRC = struct.Struct("<I")
_POSITION = struct.Struct("<Q")

HEADER_BYTES = _HEADER.size + _CRC.size
RECORD_BYTES = _PREFIX.size + _BODY.size
BODY_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Which segment this is. `head`: its first record is a checkpoint, so that no older segment is needed."""

    salt: int
    head: bool
    number: int
    base: int

    def encode(self) -> bytes:
        """The file's first HEADER_BYTES bytes."""
        fields = _HEADER.pack(_MAGIC, self.salt, self.head, self.number, self.base)
        return fields + _CRC.pack(crc32(fields))

    def offset_of(self, position: int) -> int:
        """Where in the file the record at `position` begins."""
        return HEADER_BYTES + position - self.base

    def position_of(self, offset: int) -> int:
        """The inverse of `offset_of`."""
        return self.base + offset - HEADER_BYTES


def decode_header(data: bytes) -> SegmentHeader | None:
    """The header at the beginning of `data`, or None: it is damaged, or of another format."""
    if len(data) < HEADER_BYTES:
        return None
    fields = data[: _HEADER.size]
    magic, salt, head, number, base = _HEADER.unpack(fields)
    if magic != _MAGIC or _CRC.unpack_from(data, _HEADER.size)[0] != crc32(fields):
        return None
    return SegmentHeader(salt, bool(head), number, base)


def seal(body: bytes) -> bytes:
    """The part of a record that does not depend on its place: CRC, length, body."""
    assert len(body) < BODY_BYTES_MAX, "one turn's batch is bounded far below this"
    return _BODY.pack(crc32(body), len(body)) + body


def record_bytes(sealed: bytes) -> int:
    """What a record with this sealed body takes."""
    return _PREFIX.size + len(sealed)


def prefix(sealed: bytes, position: int, salt: int) -> bytes:
    """What goes before a sealed body at `position`. Costs nothing worth naming, whatever the body's size."""
    return _PREFIX.pack(_RECORD_MAGIC, crc32(_POSITION.pack(position) + sealed[: _BODY.size], salt), position)


def records(data: bytes, header: SegmentHeader) -> Iterator[tuple[int, bytes]]:
    """The intact records from the first on, each with the offset behind it; ends at the first that is not intact."""
    offset = HEADER_BYTES
    while True:
        length = _length_at(data, offset, header)
        if length is None:
            return
        start = offset + RECORD_BYTES
        body = data[start : start + length]
        (expected,) = _CRC.unpack_from(data, offset + _PREFIX.size)
        if len(body) != length or crc32(body) != expected:
            return
        offset = start + length
        yield offset, body


def vouched_after(data: bytes, header: SegmentHeader, offset: int) -> int | None:
    """Where behind `offset` a record header stands that says: all before me was on disk. None: nowhere.

    A header at `offset` itself is no witness: it vouches for what is before it, and its own body may be torn.
    """
    while (offset := data.find(_RECORD_MAGIC, offset + 1)) >= 0:
        if _length_at(data, offset, header) is not None:
            return offset
    return None


def _length_at(data: bytes, offset: int, header: SegmentHeader) -> int | None:
    """The length of the body of the record whose header is intact and belongs at `offset`; else None."""
    if offset + RECORD_BYTES > len(data):
        return None
    magic, crc, position = _PREFIX.unpack_from(data, offset)
    checked = data[offset + _PREFIX.size - _POSITION.size : offset + RECORD_BYTES]
    if magic != _RECORD_MAGIC or position != header.position_of(offset) or crc != crc32(checked, header.salt):
        return None
    length: int = _BODY.unpack_from(data, offset + _PREFIX.size)[1]
    return length
