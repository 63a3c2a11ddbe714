"""How fast snapshots may leave a node: a bucket of bytes that all its streams draw from, and a bound for each turn.

Cutting a chunk takes a turn a few milliseconds, and who asks for a key waits for the turn.
"""

from typing import Final

_BURST_MS: Final = 100  # of unused rate that is kept


class Pace:
    """A chunk goes while anything is left, and what it takes beyond that is owed: chunks are never cut for it.

    `turn_bytes`: between two ticks; 0: no bound.
    """

    def __init__(self, *, turn_bytes: int = 0) -> None:
        self.bytes_per_s = 0  # 0: as fast as it goes
        self.resting = False  # nothing goes for now: the node has others to serve
        self._turn_bytes = self._turn_left = turn_bytes
        self._left = 0.0
        self._now_ms = 0

    def tick(self, now_ms: int) -> None:
        """It is `now_ms`, and another turn."""
        self._turn_left = self._turn_bytes
        left = self._left + self.bytes_per_s * (now_ms - self._now_ms) / 1_000
        most = self.bytes_per_s * _BURST_MS / 1_000
        self._left = left if left < most else most
        self._now_ms = now_ms

    @property
    def is_open(self) -> bool:
        """Whether a chunk may go now."""
        has_turn = not self._turn_bytes or self._turn_left > 0
        return not self.resting and has_turn and (not self.bytes_per_s or self._left > 0)

    def spend(self, size: int) -> None:
        """So many bytes go."""
        self.describe(size)
        if self.bytes_per_s:
            self._left -= size

    def describe(self, size: int) -> None:
        """So many bytes are looked at, and do not go."""
        self._turn_left -= size
