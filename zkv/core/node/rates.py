"""How often each shard that is led here is asked, in requests a second, lately.

The hot path only counts; a rate is an average in which what was asked `HALF_MS` ago counts half. One that has just
begun is an average over the time since, not one that rises from nothing: a shard whose lead has moved is not idle.
"""

from collections.abc import Mapping
from typing import Final

from zkv.ids import ShardId

HALF_MS: Final = 10_000
KNOWN_MS: Final = 4_000  # a rate over less time says nothing


class Rates:
    """Rates of some shards, from what was counted between two looks. `known_ms`: KNOWN_MS, unless in tests."""

    def __init__(self) -> None:
        self.known_ms = KNOWN_MS
        self._sums: dict[ShardId, tuple[int, float, float]] = {}  # range version; requests, ms: the older the less
        self._looked_ms: int | None = None

    def look(self, asked: dict[ShardId, int], led: Mapping[ShardId, int], now_ms: int) -> None:
        """Take what was asked since the last look, and begin to count anew.

        `led`: the shards that count, with the versions of their ranges. What was asked of another range is forgotten.
        """
        passed_ms = now_ms - self._looked_ms if self._looked_ms is not None else 0
        self._looked_ms = now_ms
        kept = 0.5 ** (passed_ms / HALF_MS)
        sums, self._sums = self._sums, {}
        for shard, version in led.items():
            before, requests, time_ms = sums.get(shard, (-1, 0.0, 0.0))
            if before != version:
                self._sums[shard] = (version, 0.0, 0.0)  # for how long it has been led is not known
                continue
            self._sums[shard] = (version, requests * kept + asked.get(shard, 0), time_ms * kept + passed_ms)
        asked.clear()

    def of(self, shard: ShardId) -> int:
        """Requests a second; -1: not known yet."""
        _, requests, time_ms = self._sums.get(shard, (0, 0.0, 0.0))
        return round(requests * 1_000 / time_ms) if time_ms >= self.known_ms else -1
