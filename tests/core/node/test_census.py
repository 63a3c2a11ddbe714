"""How large a shard is, and where half of its bytes lie."""

from itertools import accumulate

import pytest

from tests.core.node.trio import CLIENT, SHARD, Trio
from zkv.core.node.asked import Asked
from zkv.core.node.figures import Sizes
from zkv.core.shard.commands import MAJORITY, Put, WriteGroup


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
    assert Sizes(other.host, other.census, Asked(node.census.grown))() == ()


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
    asked = Asked()
    told = Sizes(node.host, node.census, asked)
    assert [size.requests for size in told()] == [-1]  # for how long it has led is not known
    for _ in range(10):
        asked.counts[SHARD] = 3_000
        trio.pass_ms(1_000, step_ms=100)
        (size,) = told()
    assert size.requests == pytest.approx(3_000, rel=0.1)
    assert asked.counts == {}
