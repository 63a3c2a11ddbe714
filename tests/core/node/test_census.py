"""How large a shard is, and where half of its bytes lie."""

from itertools import accumulate

import pytest

from tests.core.node.trio import CLIENT, SHARD, Trio
from zkv.core.cluster.messages import ShardSize
from zkv.core.node.asked import Asked
from zkv.core.node.figures import Sizes
from zkv.core.shard.commands import MAJORITY, Delete, Increment, Operation, Put, PutIf, WriteGroup
from zkv.ids import ShardId


@pytest.mark.parametrize(
    "values",
    [[10_000] * 10, [90_000] + [1_000] * 9, [1_000] * 9 + [90_000], [100] * 900, [7] * 20],
    ids=["even", "the first", "the last", "many", "small"],
)
def test_the_middle_is_where_half_of_the_bytes_lie(values: list[int]) -> None:
    trio = Trio()
    name = trio.leader()
    keys = [f"{number:04d}".encode() for number in range(len(values))]
    puts = tuple(Put(key, bytes(size)) for key, size in zip(keys, values, strict=True))
    group = WriteGroup(1, SHARD, 1, 5_000, bytes(5) + b"a" + CLIENT + CLIENT, 1, 1, MAJORITY, False, puts)
    trio.answer(name, group)
    node = trio.machines[name].node
    while node.idle():
        pass
    (size,) = Sizes(node.host, node.census, Asked(node.census.grown))()
    assert (size.shard, size.range_version) == (SHARD, 1)
    before = list(accumulate((value + 4 + 9 for value in values), initial=0))
    assert size.bytes == before[-1]
    off = [abs(place - size.bytes / 2) for place in before[:-1]]
    assert off[keys.index(size.middle)] <= min(off) + 5_000


def test_of_shards_led_elsewhere_nothing_is_said() -> None:
    trio = Trio()
    name = trio.leader()
    other = trio.machines[trio.others(name)[0]].node
    while other.idle():
        pass
    assert Sizes(other.host, other.census, other.service.asked)() == ()


def test_a_node_that_is_never_idle_counts_in_small_slices() -> None:
    trio = Trio()
    name = trio.leader()
    puts = tuple(Put(f"{number:04d}".encode(), b"value") for number in range(1_000))
    trio.answer(name, WriteGroup(1, SHARD, 1, 5_000, bytes(5) + b"a" + CLIENT + CLIENT, 1, 1, MAJORITY, False, puts))
    node = trio.machines[name].node
    slices = 0
    while node.idle(busy=True):
        slices += 1
    (size,) = Sizes(node.host, node.census, Asked(node.census.grown))()
    assert size.bytes == 1_000 * (4 + 5 + 9)
    assert slices >= 4


def test_what_is_asked_of_a_shard_is_told_with_its_size() -> None:
    trio = Trio()
    name = trio.leader()
    node = trio.machines[name].node
    puts = (Put(b"k", b"v"),) * 3
    trio.answer(name, WriteGroup(1, SHARD, 1, 5_000, bytes(5) + b"a" + CLIENT + CLIENT, 1, 1, MAJORITY, False, puts))
    assert node.service.asked.counts == {SHARD: 3}
    while node.idle():
        pass
    asked = Asked(node.census.grown)
    told = Sizes(node.host, node.census, asked)
    assert [size.requests for size in told()] == [-1]  # for how long it has led is not known
    for _ in range(10):
        asked.counts[SHARD] = 3_000
        trio.pass_ms(1_000, step_ms=100)
        (size,) = told()
    assert size.requests == pytest.approx(3_000, rel=0.1)
    assert asked.counts == {}


class Filled:
    """A shard that is counted while it is empty, and then written all the time, so that nothing is counted any more."""

    def __init__(self) -> None:
        self.trio = Trio()
        self.name = self.trio.leader()
        self.node = self.trio.machines[self.name].node
        self._first = 1
        self.count()

    def count(self) -> None:
        self.trio.pass_ms(6_000, step_ms=50)
        while self.node.idle():
            pass

    def write(self, *operations: Operation) -> None:
        for start in range(0, len(operations), 100):
            some = operations[start : start + 100]
            client = bytes(5) + b"a" + CLIENT + CLIENT
            group = WriteGroup(1, SHARD, 1, 5_000, client, self._first, self._first, MAJORITY, False, some)
            self._first += len(some)
            self.trio.answer(self.name, group)

    def sizes(self) -> dict[ShardId, ShardSize]:
        return {size.shard: size for size in Sizes(self.node.host, self.node.census, self.node.service.asked)()}

    def split(self, at: bytes) -> None:
        self.trio.split(at)
        self.trio.run(lambda: ShardId(2) in self.sizes())


ROWS = [b"%05d" % number for number in range(10_000)]
ROW_BYTES = 5 + 9 + 100
PUTS = tuple(Put(key, bytes(100)) for key in ROWS)


def test_a_shard_that_is_never_counted_again_is_known_to_grow() -> None:
    filled = Filled()
    assert filled.sizes()[SHARD].bytes == 0
    filled.write(*PUTS)
    size = filled.sizes()[SHARD]
    assert size.bytes == pytest.approx(len(ROWS) * ROW_BYTES, rel=0.2)
    assert int(size.middle) == pytest.approx(len(ROWS) / 2, abs=len(ROWS) / 8)


@pytest.mark.parametrize(
    ("operations", "left"),
    [
        (PUTS, 1.0),
        (tuple(PutIf(key, bytes(100), 1_000_000) for key in ROWS), 1.0),
        (tuple(Delete(key) for key in ROWS[::2]), 0.5),
        (tuple(Delete(key, 1_000_000) for key in ROWS[::2]), 1.0),
        (tuple(Put(key, bytes(214)) for key in ROWS), 2.0),
        (tuple(Increment(b"n" + key, 1) for key in ROWS), 1 + 16 / ROW_BYTES),
    ],
    ids=["the same again", "refused", "deleted", "not deleted", "longer", "counted up"],
)
def test_of_what_is_written_only_the_growth_counts(operations: tuple[Operation, ...], left: float) -> None:
    filled = Filled()
    filled.write(*PUTS)
    filled.count()
    assert filled.sizes()[SHARD].bytes == len(ROWS) * ROW_BYTES
    filled.write(*operations)
    assert filled.sizes()[SHARD].bytes == pytest.approx(left * len(ROWS) * ROW_BYTES, rel=0.12)


def test_what_is_written_while_a_count_runs_is_known_after_it() -> None:
    filled = Filled()
    filled.write(*PUTS[:5_000])
    filled.trio.pass_ms(6_000, step_ms=50)
    assert filled.node.idle(busy=True)
    filled.write(*PUTS[5_000:])
    while filled.node.idle(busy=True):
        pass
    assert filled.sizes()[SHARD].bytes == pytest.approx(len(ROWS) * ROW_BYTES, rel=0.12)


def test_of_both_halves_of_a_split_is_known_what_they_have() -> None:
    filled = Filled()
    filled.write(*PUTS)
    filled.count()
    filled.split(ROWS[4_000])
    left, right = filled.sizes()[SHARD], filled.sizes()[ShardId(2)]
    assert (left.range_version, right.range_version) == (2, 2)
    assert left.bytes == pytest.approx(4_000 * ROW_BYTES, rel=0.1)
    assert right.bytes == pytest.approx(6_000 * ROW_BYTES, rel=0.1)
    assert int(left.middle) == pytest.approx(2_000, abs=500)
    assert int(right.middle) == pytest.approx(7_000, abs=500)
    filled.count()
    assert filled.sizes()[ShardId(2)].bytes == 6_000 * ROW_BYTES
