"""A draft: the rows that a broken snapshot stream has left at its member, and what of them the next stream may keep.

Who sends now has the shard as it is now: rows have been changed, written and deleted since, a split has taken some
away. So the sender describes what it has of the keys that the draft has reached, piece by piece, by digests; the member
compares each piece with its own rows between the same keys. What is alike stays and is not sent. What is not comes
anew, and whatever else the member has between these keys is deleted. Behind the draft's end the stream is as any other.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from zkv import limits
from zkv.core.shard.rows import SPACE_BYTES, Changes, Rows, numbered_range, row_key
from zkv.core.shard.snapshot_messages import Piece, SnapshotChunk, SnapshotDigest
from zkv.core.shard.snapshot_rows import DATA, ROW_OVERHEAD_BYTES, SnapshotRow, chained, row_size

Range = tuple[bytes, bytes]  # [start, end) of engine keys

_DIGEST_BYTES: Final = 16
_lengths: Final = Struct(">II").pack


class Comparison(NamedTuple):
    """What the member found: the places of the pieces that are not alike, and the bytes of rows in those that are.

    `excess`: pieces of which the member has so much more that it is dropped as a whole, unread.
    """

    unlike: tuple[int, ...]
    kept_bytes: int
    excess: list[Range]


def behind(key: bytes) -> bytes:
    """The first key that can follow it."""
    return key + b"\0"


def reach(rows: Rows, space: int) -> bytes | None:
    """The last key that the draft in that space has; None: it has none."""
    found = next(iter(rows.scan(*numbered_range(DATA, space), reverse=True)), None)
    return None if found is None else found[0][SPACE_BYTES:]


def cut_in_pieces(rows: Sequence[SnapshotRow], end: bytes | None) -> tuple[Piece, ...]:
    """The rows of a chunk, described. `end`: the last piece reaches up to there, though no row of the sender does."""
    pieces: list[Piece] = []
    gathered: list[tuple[bytes, ...]] = []
    size, most = 0, limits.SNAPSHOT_CHUNK_BYTES // limits.SNAPSHOT_PIECES
    for row in rows:
        taken = row_size(row)
        if gathered and size + taken > most:
            pieces.append((gathered[-1][0], size, digest_of(gathered)))
            gathered, size = [], 0
        gathered.append(row[1:])
        size += taken
    pieces.append((gathered[-1][0] if end is None else end, size, digest_of(gathered)))
    return tuple(pieces)


def chained_pieces(checksum: int, pieces: Sequence[Piece]) -> int:
    """CRC-32 over the pieces, continued from `checksum`: in a stream, they stand for their rows."""
    for key, size, digest in pieces:
        head = len(key).to_bytes(4, "big") + size.to_bytes(8, "big")
        checksum = zlib.crc32(digest, zlib.crc32(key, zlib.crc32(head, checksum)))
    return checksum


def is_sound(digest: SnapshotDigest) -> bool:
    """Whether its pieces follow each other, so that they can be compared."""
    ends = [end for end, _, _ in digest.pieces]
    return bool(ends) and digest.start <= ends[0] and all(one < other for one, other in pairwise(ends))


def compare(rows: Rows, space: int, digest: SnapshotDigest) -> Comparison:
    """What the draft has of it."""
    unlike: list[int] = []
    excess: list[Range] = []
    kept_bytes = 0
    for place, ((_, size, wanted), span) in enumerate(zip(digest.pieces, _spans(space, digest), strict=True)):
        own = _own(rows, span, 2 * size + limits.SNAPSHOT_CHUNK_BYTES // limits.SNAPSHOT_PIECES)
        if own is None:
            excess.append(span)
        if own is None or digest_of(own) != wanted:
            unlike.append(place)
        else:
            kept_bytes += size
    return Comparison(tuple(unlike), kept_bytes, excess)


def wanted_rows(digest: SnapshotDigest, rows: Iterable[SnapshotRow], wanted: Iterable[int]) -> list[SnapshotRow]:
    """Of the chunk that the digest stands for, the rows of these pieces. Places that it has not are ignored."""
    places = {place for place in wanted if 0 <= place < len(digest.pieces)}
    return [row for place, row in _placed(digest, rows) if place in places]


def replaced(
    rows: Rows, space: int, digest: SnapshotDigest, wanted: Sequence[int], came: SnapshotChunk
) -> Changes | None:
    """What makes the draft have these pieces as the sender has them; None: what came is not what the digest says."""
    if came.checksum != chained(0, came.rows):
        return None
    given: dict[int, list[SnapshotRow]] = {place: [] for place in wanted}
    for place, row in _placed(digest, came.rows):
        if place not in given or row[0] != DATA:
            return None
        given[place].append(row)
    changes: Changes = {}
    spans = list(_spans(space, digest))
    for place, theirs in given.items():
        _, size, expected = digest.pieces[place]
        if digest_of((key, value) for _, key, value in theirs) != expected:
            return None
        own = _own(rows, spans[place], 2 * size + limits.SNAPSHOT_CHUNK_BYTES // limits.SNAPSHOT_PIECES)
        changes.update((row_key(space, key), None) for key, _ in own or ())  # an excess was dropped when it was found
        changes.update((row_key(space, key), value) for _, key, value in theirs)
    return changes


def digest_of(rows: Iterable[tuple[bytes, ...]]) -> bytes:
    """Of keys and values, lengths among them, so that no byte can change its field."""
    parts: list[bytes] = []
    for key, value in rows:
        parts += (_lengths(len(key), len(value)), key, value)
    return blake2b(b"".join(parts), digest_size=_DIGEST_BYTES).digest()


def _spans(space: int, digest: SnapshotDigest) -> Iterator[Range]:
    """Where each of its pieces is in the engine."""
    start = digest.start
    for end, _, _ in digest.pieces:
        yield row_key(space, start), row_key(space, behind(end))
        start = behind(end)


def _own(rows: Rows, span: Range, bytes_max: int) -> list[tuple[bytes, bytes]] | None:
    """The rows there; None if they count for more."""
    found: list[tuple[bytes, bytes]] = []
    size = 0
    for stored, value in rows.scan(*span):
        size += len(stored) - SPACE_BYTES + len(value) + ROW_OVERHEAD_BYTES
        if size > bytes_max:
            return None
        found.append((stored[SPACE_BYTES:], value))
    return found


def _placed(digest: SnapshotDigest, rows: Iterable[SnapshotRow]) -> Iterator[tuple[int, SnapshotRow]]:
    """Each row with the place of the piece that its key is in; what is in none has the place -1. In order."""
    pieces, place = digest.pieces, 0
    for row in rows:
        while place < len(pieces) and row[1] > pieces[place][0]:
            place += 1
        yield (place if place < len(pieces) and row[1] >= digest.start else -1), row
