"""Where the bytes of a shard lie: some dozens of keys, each with the bytes about there, however many rows."""

from bisect import bisect_left
from typing import Final

MARKS_MAX: Final = 64  # when thinned; twice as many before that


class Spread:
    """Bytes by key. A row may come in any order, and may be gone again: then its bytes are below 0."""

    def __init__(self) -> None:
        self.bytes = 0
        self._marks: list[tuple[bytes, int]] = []

    def add(self, key: bytes, size: int) -> None:
        """So much more at that key."""
        self._marks.append((key, size))
        self.bytes += size
        if len(self._marks) >= 2 * MARKS_MAX:
            self._thin()

    def join(self, other: "Spread") -> None:
        """Add what the other has; it is not changed."""
        for key, size in other._marks:
            self.add(key, size)

    def middle(self) -> bytes:
        """The key of those known that is nearest to where half of the bytes lie; b"" where there is none."""
        before, best, off = 0, b"", self.bytes
        for key, size in sorted(self._marks):
            if not best or abs(2 * before - self.bytes) < off:
                best, off = key, abs(2 * before - self.bytes)
            before += size
        return best

    def parted(self, at: bytes) -> tuple["Spread", "Spread"]:
        """What lies below that key, and the rest."""
        marks = sorted(self._marks)
        place = bisect_left(marks, (at,))
        return _of(marks[:place]), _of(marks[place:])

    def _thin(self) -> None:
        """Join neighbours that have little. The key of the one that has more stays, so that no bytes wander."""
        least = sum(abs(size) for _, size in self._marks) / MARKS_MAX
        thinned: list[tuple[bytes, int]] = []
        for key, size in sorted(self._marks):
            if thinned and (thinned[-1][1] < least or size < 0):
                before, held = thinned[-1]
                thinned[-1] = (before if held >= abs(size) else key, held + size)
            else:
                thinned.append((key, size))
        self._marks = thinned


def _of(marks: list[tuple[bytes, int]]) -> Spread:
    spread = Spread()
    for key, size in marks:
        spread.add(key, size)
    return spread
