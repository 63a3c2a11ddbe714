"""What is asked of the shards that are led here: how often, and of every so many operations one key (`samples`)."""

from zkv.core.node.samples import EVERY, Samples
from zkv.core.shard.commands import ReadGroup, ScanGroup, WriteGroup
from zkv.ids import ShardId


class Asked:
    """`counts`: operations by shard, for whoever makes rates of them and clears it. `every`: see `samples`."""

    def __init__(self) -> None:
        self.counts: dict[ShardId, int] = {}
        self.samples = Samples()
        self.every = EVERY
        self._left = EVERY  # operations until the next one whose key is noted

    def take(self, group: WriteGroup | ReadGroup | ScanGroup) -> None:
        """One group is served here. On the hot path: nothing is done for each operation."""
        count = group.count
        self.counts[group.shard] = self.counts.get(group.shard, 0) + count
        self._left -= count
        if self._left <= 0:
            self._note(group, count)

    def _note(self, group: WriteGroup | ReadGroup | ScanGroup, count: int) -> None:
        while self._left <= 0:
            self.samples.note(group.shard, _key_of(group, self._left + count - 1))
            self._left += self.every


def _key_of(group: WriteGroup | ReadGroup | ScanGroup, place: int) -> bytes:
    """Of one of the group's operations; of a scan, where it begins."""
    match group:
        case WriteGroup():
            return group.operations[place].key
        case ReadGroup():
            return group.keys[place]
        case _:
            return group.start
