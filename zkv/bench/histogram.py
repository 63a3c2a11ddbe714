"""Many durations in little memory: a histogram whose buckets are the upper half of a 32-bit float.

The 16 upper bits of such a float are its exponent and 7 bits of its fraction: 128 buckets to an octave, each less than
0.8 % wide, over every duration there is. Converting and counting happens in C, in bulk, so that a measuring loop only
appends to a list.
"""

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate

_UPPER = 1 if sys.byteorder == "little" else 0  # which half of a float's two 16-bit words is the upper one


class Histogram:
    """Counts of durations in seconds, which are above 0."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: Counter[int] = Counter(counts or {})

    @property
    def total(self) -> int:
        """How many durations it has."""
        return self.counts.total()

    def add(self, seconds: Iterable[float]) -> None:
        """Count each of them."""
        halves = array("H")
        halves.frombytes(array("f", seconds).tobytes())
        self.counts.update(halves[_UPPER::2])

    def merge(self, other: "Histogram") -> None:
        """Take over the counts of another one."""
        self.counts.update(other.counts)

    def quantile(self, share: float) -> float:
        """The duration that `share` (0 to below 1) of all stay below, within 0.4 %; 0.0 if there are none."""
        if not self.counts:
            return 0.0
        buckets = sorted(self.counts)
        rank = int(share * self.total)
        sums = accumulate(self.counts[bucket] for bucket in buckets)
        return _middle(next(bucket for bucket, below in zip(buckets, sums, strict=True) if below > rank))

    def quantile_ms(self, share: float) -> float:
        """The same in milliseconds, rounded to microseconds."""
        return round(self.quantile(share) * 1e3, 3)

    @property
    def most(self) -> float:
        """The longest duration, within 0.4 %."""
        return _middle(max(self.counts)) if self.counts else 0.0


def _middle(bucket: int) -> float:
    word = (bucket << 16 | 1 << 15).to_bytes(4, sys.byteorder)
    return array("f", word)[0]
