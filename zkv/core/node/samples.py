"""Which keys are asked for lately, of each shard that is led here: a sample, and the key that halves it.

What was noted between two looks is thinned, to fewer than 2 * FRESH_MAX keys at even distances, and the last KEPT of
those lots are the sample; so it is of the last seconds, however much was asked.
"""

from collections import deque
from typing import Final

from zkv.ids import ShardId

FRESH_MAX: Final = 64
KEPT: Final = 5
ENOUGH: Final = 40  # of fewer keys nothing is said
SIDE_MIN: Final = 0.25  # each half must have so much of the sample
KEY_BYTES_MAX: Final = 256  # a longer key counts as what it begins with


class Lot:
    """Keys at even distances among those that were noted."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self._step = 1
        self._passed = 0

    def add(self, key: bytes) -> None:
        """The next one."""
        self._passed += 1
        if self._passed >= self._step:
            self._passed = 0
            self.keys.append(key[:KEY_BYTES_MAX])
            if len(self.keys) >= 2 * FRESH_MAX:
                del self.keys[::2]
                self._step *= 2


class Samples:
    """Of all shards that are led here. Bounded: KEPT + 1 lots of at most 2 * FRESH_MAX keys for each shard."""

    def __init__(self) -> None:
        self._fresh: dict[ShardId, Lot] = {}
        self._lots: dict[ShardId, tuple[int, deque[list[bytes]]]] = {}  # range version, and the last lots

    def lot(self, shard: ShardId) -> Lot:
        """Where keys are noted until the next look."""
        lot = self._fresh.get(shard)
        if lot is None:
            lot = self._fresh[shard] = Lot()
        return lot

    def look(self, led: dict[ShardId, int]) -> None:
        """Begin another lot. `led`: the shards that count, with the versions of their ranges.

        What was noted before a range changed is forgotten: the other half is not asked for here any more.
        """
        fresh, self._fresh = self._fresh, {}
        before, self._lots = self._lots, {}
        for shard, version in led.items():
            held_version, lots = before.get(shard, (version, deque[list[bytes]](maxlen=KEPT)))
            if held_version != version:
                lots = deque(maxlen=KEPT)
            elif shard in fresh or lots:
                lots.append(fresh[shard].keys if shard in fresh else [])
            self._lots[shard] = (version, lots)

    def of(self, shard: ShardId) -> tuple[int, bytes]:
        """How many keys the sample has (0: too few), and the key that parts it about evenly; b"": no key does."""
        _, lots = self._lots.get(shard, (0, ()))
        keys = sorted(key for lot in lots for key in lot)
        return (len(keys), halves(keys)) if len(keys) >= ENOUGH else (0, b"")


def halves(keys: list[bytes]) -> bytes:
    """Of sorted keys the one from which on about half of them lie; b"" where one side would have too few."""
    middle = len(keys) // 2
    first = next(place for place, key in enumerate(keys) if key == keys[middle])
    after = next((place for place in range(middle, len(keys)) if keys[place] != keys[middle]), len(keys))
    place = min((first, after), key=lambda one: abs(2 * one - len(keys)))
    is_even = SIDE_MIN * len(keys) <= place <= (1 - SIDE_MIN) * len(keys)
    return keys[place] if is_even else b""
