"""What the core needs of a state engine, and where it keeps its rows there.

Every key begins with one letter for its kind and a fixed-width number, so that ranges of kinds never meet:

    r + space(8) + partition key   a user's row: version (8 bytes), flags (1 byte, 0), value
    s + space(8) + client(16)      a session: beside its rows, so that a snapshot goes live whole; of a replica that a
                                   split has made, in a space of its own, for its rows share one
    a + replica(8)                 Applied: written with every batch, so that data and index never part
    d + replica(8)                 Descriptor: shard, range, membership, space
    i + replica(8)                 Draft: the space that a snapshot on its way to it fills
    t + shard(8) + replica(8)      tombstone: that replica was here and was deleted
    m                              the last shard map seen; n: the node's next space number
    c + ...                        the coordinators' state
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

Changes = dict[bytes, bytes | None]  # key -> value, None: delete

SPACE_BYTES = 9  # of a key before a row's partition key, or a session's client: the kind, and the space
VERSION_BYTES = 8  # of a user's row: big-endian
ROW_HEADER_BYTES = 9  # version and flags


class Row(NamedTuple):
    """A user's row, taken apart."""

    version: int
    value: bytes


def pack_row(version: int, value: bytes) -> bytes:
    """A user's row as it is stored, and as it is sent to who reads it."""
    return version.to_bytes(VERSION_BYTES, "big") + b"\0" + value


def unpack_row(stored: bytes) -> Row:
    """A stored row as version and value."""
    return Row(int.from_bytes(stored[:VERSION_BYTES], "big"), stored[ROW_HEADER_BYTES:])


class Rows(Protocol):
    """Ordered rows, as of the last `apply`."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        ...

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end, in key order or against it.

        The iterator shows the state at the call, whatever is applied later; it is closed by exhausting it or by
        `close()` (it is a generator). Raises StorageError where the engine finds damage, never ends early in silence.
        """
        ...


def row_key(space: int, partition_key: bytes) -> bytes:
    """Where a user's row is stored."""
    return b"r" + space.to_bytes(8, "big") + partition_key


def session_key(space: int, client: bytes) -> bytes:
    """Where a client's remembered results are stored."""
    return b"s" + space.to_bytes(8, "big") + client


def row_range(space: int, start: bytes, end: bytes) -> tuple[bytes, bytes]:
    """[start, end) of the engine keys of the rows of a range of partition keys; an `end` of b"": no end."""
    return row_key(space, start), row_key(space, end) if end else row_key(space + 1, b"")


def numbered_key(kind: bytes, number: int) -> bytes:
    """The key of a row of `kind` that a number names."""
    return kind + number.to_bytes(8, "big")


def numbered_range(kind: bytes, number: int) -> tuple[bytes, bytes]:
    """[start, end) of all keys of `kind` under `number`."""
    return numbered_key(kind, number), numbered_key(kind, number + 1)
