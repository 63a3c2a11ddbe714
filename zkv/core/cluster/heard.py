"""What leaders say of their shards' bytes and requests, and the long averages of it (pure, lost with the lead)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from zkv.ids import ShardId

STEADY_HALF_MS: Final = 600_000  # after so long, half of the long average is what was said since: see `evenness`
LATELY_HALF_MS: Final = 60_000  # of the short one: what leaders say shakes, and no lead is to follow that


@dataclass(slots=True)
class Figures:
    """Of one shard in that version of its range. `bytes` -1, `requests` -1: nobody has counted them yet."""

    bytes: float = -1.0
    requests: float = -1.0
    lately: float = -1.0
    steady: float = -1.0
    version: int = 0


class Heard:
    """The last figures of every shard of which any were said."""

    def __init__(self) -> None:
        self.figures: dict[ShardId, Figures] = {}
        self._mean = (0.0, 0.0)
        self._averaged_ms = 0

    def clear(self) -> None:
        """Nothing was heard."""
        self.figures.clear()

    def take(self, shard: ShardId, size: float, requests: float, version: int = 0) -> None:
        """A leader has said this of its shard; -1: it does not know that yet, and what was said before counts.

        What was said before the shard was split or merged (`version`, of its range) counts no more.
        """
        own = self.figures.get(shard)
        if own is None or own.version < version:
            own = self.figures[shard] = Figures(version=version)
        if own.version > version:
            return
        if size >= 0:
            own.bytes = size
        if requests >= 0:
            own.requests = requests
            if own.steady < 0:
                own.steady = own.lately = requests

    def average(self, now_ms: int) -> None:
        """Time goes on: the long averages follow what was last said."""
        passed_ms, self._averaged_ms = now_ms - self._averaged_ms, now_ms
        short, long = 1 - 0.5 ** (passed_ms / LATELY_HALF_MS), 1 - 0.5 ** (passed_ms / STEADY_HALF_MS)
        for own in self.figures.values():
            own.lately += (own.requests - own.lately) * short
            own.steady += (own.requests - own.steady) * long
        counted = [own.bytes for own in self.figures.values() if own.bytes >= 0]
        asked = [own.requests for own in self.figures.values() if own.requests >= 0]
        self._mean = (sum(counted) / max(len(counted), 1), sum(asked) / max(len(asked), 1))

    def of(self, shard: ShardId) -> Figures:
        """The shard's figures; what nobody has said of it is taken to be as of the others on average."""
        own = self.figures.get(shard)
        size, asked = self._mean
        if own is None:
            return Figures(size, asked, asked, asked)
        if own.bytes >= 0 and own.requests >= 0:
            return own
        known = own.requests >= 0
        lately, steady = (own.lately, own.steady) if known else (asked, asked)
        return Figures(own.bytes if own.bytes >= 0 else size, own.requests if known else asked, lately, steady)

    def forget(self, there: Collection[ShardId]) -> None:
        """Only these shards are there."""
        for gone in [shard for shard in self.figures if shard not in there]:
            del self.figures[gone]
