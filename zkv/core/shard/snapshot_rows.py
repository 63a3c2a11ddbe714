"""The rows of a snapshot: in what order they go, what they count for, and their checksum."""

import struct
import zlib
from collections.abc import Generator, Iterator
from typing import Protocol

from zkv.core.shard.rows import SPACE_BYTES, Rows, numbered_range

SnapshotRow = tuple[bytes, bytes, bytes]  # kind, key within it, value

DATA = b"r"
SESSION = b"s"
BROUGHT_DATA = b"R"  # what a merge that is not settled has brought so far
BROUGHT_SESSION = b"S"
ROW_OVERHEAD_BYTES = 16
_head = struct.Struct(">III").pack


class RowStream(Protocol):
    """An iterator that pins something until it is closed; a generator fits."""

    def __iter__(self) -> Iterator[SnapshotRow]: ...

    def __next__(self) -> SnapshotRow: ...

    def close(self) -> None: ...


class PinnedRows:
    """A shard's rows, then its sessions, as they are when this is made (rule 20: the range is ours).

    `ranges` are of engine keys, as `ShardMachine.row_ranges` gives them; `sessions` is the space of those; `brought`
    that of what an unsettled merge has brought, which comes last; 0: there is none.
    """

    def __init__(self, rows: Rows, *, sessions: int, ranges: list[tuple[bytes, bytes]], brought: int = 0) -> None:
        spans = [(DATA, span) for span in ranges] + [(SESSION, numbered_range(b"s", sessions))]
        if brought:
            spans += [(BROUGHT_DATA, numbered_range(b"r", brought)), (BROUGHT_SESSION, numbered_range(b"s", brought))]
        self._scans = [(kind, rows.scan(start, end)) for kind, (start, end) in reversed(spans)]  # all from now on
        self._rows = self._all()

    def __iter__(self) -> Iterator[SnapshotRow]:
        return self._rows

    def __next__(self) -> SnapshotRow:
        return next(self._rows)

    def close(self) -> None:
        """Let the engine's iterators go."""
        self._rows.close()
        self._scans.clear()

    def _all(self) -> Generator[SnapshotRow, None, None]:
        while self._scans:
            kind, scan = self._scans.pop()
            for key, value in scan:
                yield kind, key[SPACE_BYTES:], value


def row_size(row: SnapshotRow) -> int:
    """What the row counts for."""
    return len(row[1]) + len(row[2]) + ROW_OVERHEAD_BYTES


def size_of(rows: tuple[SnapshotRow, ...]) -> int:
    """What all of them count for."""
    return sum([len(key) + len(value) for _, key, value in rows]) + ROW_OVERHEAD_BYTES * len(rows)


def chained(checksum: int, rows: list[SnapshotRow] | tuple[SnapshotRow, ...]) -> int:
    """CRC-32 over the rows, continued from `checksum`. Lengths are in it, so that no byte can change its field."""
    parts = [part for kind, key, value in rows for part in (_head(len(kind), len(key), len(value)), kind, key, value)]
    return zlib.crc32(b"".join(parts), checksum)
