"""Where a replica's rows are: spaces, each with a part of the shard's range (rule 20).

Mostly there is one. A merge leaves the rows of both shards where they are, so the replica has a space more; a split
shares out what lies on either side. What two replicas share is a space, never a part of the range.
"""

from bisect import bisect_right
from collections.abc import Iterator

from zkv.core.shard.rows import Rows, row_key, row_range

More = tuple[tuple[bytes, int], ...]  # the partition key that each further space begins at, rising, and the space


class Pieces:
    """`space`, from the start of the range on, and `more`. Values: a change makes another one."""

    __slots__ = ("_first", "_prefixes", "_starts", "more", "space")

    def __init__(self, space: int, more: More = ()) -> None:
        self.space = space
        self.more = more
        self._first = row_key(space, b"")
        self._starts = [start for start, _ in more]
        self._prefixes = [self._first, *(row_key(other, b"") for _, other in more)]

    def row_key(self, partition_key: bytes) -> bytes:
        """Where the row of that partition key is stored."""
        if not self._starts:
            return self._first + partition_key
        return self._prefixes[bisect_right(self._starts, partition_key)] + partition_key

    def ranges(self, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
        """[start, end) of the engine keys of the rows of a range of partition keys, in order; an `end` of b"": no end.

        There is one at least, if only an empty one.
        """
        bounds = [b"", *self._starts, b""]
        spaces = [self.space, *(space for _, space in self.more)]
        found: list[tuple[bytes, bytes]] = []
        for place, space in enumerate(spaces):
            first = max(start, bounds[place])
            after = min(filter(None, (end, bounds[place + 1])), default=b"")
            if not after or first < after:
                found.append(row_range(space, first, after))
        return found or [row_range(self.space, start, start)]

    def parted(self, at: bytes) -> tuple["Pieces", "Pieces"]:
        """What holds the keys below `at`, and what holds the rest."""
        place = bisect_right(self._starts, at)
        left = tuple(piece for piece in self.more[:place] if piece[0] < at)
        space = self.more[place - 1][1] if place else self.space
        return Pieces(self.space, left), Pieces(space, self.more[place:])

    def joined(self, at: bytes, space: int) -> "Pieces":
        """The same, and `space` for what begins at `at`, the end of the range so far."""
        return Pieces(self.space, (*self.more, (at, space)))


def scan(rows: Rows, ranges: list[tuple[bytes, bytes]], *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """The rows of these ranges, in order or against it; of each as it is when its turn comes."""
    for start, end in reversed(ranges) if reverse else ranges:
        yield from rows.scan(start, end, reverse=reverse)
