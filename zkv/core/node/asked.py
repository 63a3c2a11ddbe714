"""What is asked of the shards that are led here: how often, and now and then of one operation the key (`samples`),
and of a write how much larger it makes its shard.

From one noted operation to the next it is 1 to 2 * EVERY - 1 of them, by chance: at even distances, batches of one size
would be seen at one place only. The chance is a row of numbers of its own, the same at each start, so that nothing
else is decided otherwise because something was sampled.
"""

from collections.abc import Callable
from typing import Final

from zkv.core.cluster.shardmap import Partitioner
from zkv.core.node.growth import growth
from zkv.core.node.samples import Samples
from zkv.core.shard.commands import Operation, ReadGroup, ScanGroup, WriteGroup
from zkv.core.shard.machine import ShardMachine
from zkv.ids import ShardId

Grown = Callable[[ShardId, bytes, int], None]

EVERY: Final = 32  # operations for one that is noted, in the mean
_FACTOR, _SUMMAND, _MASK = 1_103_515_245, 12_345, 0x7FFF_FFFF  # of C's standard: good enough to break a rhythm


class Asked:
    """`counts`: operations by shard, for whoever makes rates of them and clears it. `every`: EVERY, unless in tests.

    `grown` is told of a shard of a range table that it has so many bytes more, by a sample, at a partition key.
    """

    def __init__(self, grown: Grown) -> None:
        self._grown = grown
        self.counts: dict[ShardId, int] = {}
        self.samples = Samples()
        self.every = EVERY
        self._chance = 1
        self._left = 1  # operations until the next one whose key is noted

    def take(self, group: WriteGroup | ReadGroup | ScanGroup, machine: ShardMachine) -> None:
        """One group is served here, by that shard. On the hot path: nothing is done for each operation."""
        count = group.count
        self.counts[group.shard] = self.counts.get(group.shard, 0) + count
        self._left -= count
        if self._left <= 0:
            self._note(group, count, machine)

    def _note(self, group: WriteGroup | ReadGroup | ScanGroup, count: int, machine: ShardMachine) -> None:
        written = group.operations if isinstance(group, WriteGroup) and _is_ordered(machine) else ()
        lot, left, chance, width = self.samples.lot(group.shard), self._left, self._chance, 2 * self.every - 1
        while left <= 0:
            lot.add(_key_of(group, left + count - 1))
            if written:
                self._weigh(written[left + count - 1], machine)
            chance = (chance * _FACTOR + _SUMMAND) & _MASK
            left += 1 + (chance >> 16) % width
        self._left, self._chance = left, chance

    def _weigh(self, operation: Operation, machine: ShardMachine) -> None:
        size = growth(machine, operation)
        if size:
            self._grown(machine.info.shard, machine.partition(operation.key), size * self.every)


def _is_ordered(machine: ShardMachine) -> bool:
    return machine.info.partitioner == Partitioner.RANGE


def _key_of(group: WriteGroup | ReadGroup | ScanGroup, place: int) -> bytes:
    """Of one of the group's operations; of a scan, where it begins."""
    if isinstance(group, ReadGroup):
        return group.keys[place]
    return group.operations[place].key if isinstance(group, WriteGroup) else group.start
