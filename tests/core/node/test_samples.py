"""Which key halves what is asked of a shard, by a sample of the keys."""

from collections import Counter

import pytest

from tests.core.node.trio import SHARD, Trio
from zkv.core.node.asked import EVERY, Asked
from zkv.core.node.samples import ENOUGH, FRESH_MAX, KEPT, KEY_BYTES_MAX, Samples, halves
from zkv.core.shard.commands import MAJORITY, Put, ReadGroup, ScanGroup, WriteGroup
from zkv.core.shard.machine import ShardMachine
from zkv.ids import ShardId

LED = {SHARD: 1}


@pytest.fixture
def machine() -> ShardMachine:
    trio = Trio()
    machine = trio.machines[trio.leader()].node.host.hosted[SHARD].machine
    assert machine is not None
    return machine


def nothing(shard: ShardId, key: bytes, size: int) -> None:
    """For who does not want to know what grows."""


def reads(*keys: bytes, shard: ShardId = SHARD) -> ReadGroup:
    return ReadGroup(1, shard, 1, 1_000, False, keys)


def sampled(keys: list[bytes], *, looks: int = 1) -> Samples:
    samples = Samples()
    samples.look(LED)
    for _ in range(looks):
        for key in keys:
            samples.lot(SHARD).add(key)
        samples.look(LED)
    return samples


def test_the_key_that_halves_what_is_asked_is_told_not_the_middle_of_the_range() -> None:
    rare = [b"%03d" % number for number in range(0, 900, 100)]
    hot = [b"9%02d" % number for number in range(50)]
    count, key = sampled(rare + hot).of(SHARD)
    assert count == len(rare) + len(hot)
    assert b"915" <= key <= b"925"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([b"a"] * 30 + [b"b"] * 30, b"b"),
        ([b"a"] * 16 + [b"b"] * 44, b"b"),
        ([b"a"] * 10 + [b"b"] * 50, b""),
        ([b"a"] * 50 + [b"b"] * 10, b""),
        ([b"b"] * 60, b""),
        ([b"a"] * 28 + [b"b"] * 4 + [b"c"] * 28, b"b"),
        ([b"a"] * 10 + [b"b"] * 40 + [b"c"] * 10, b""),
    ],
    ids=["two", "a quarter and more", "too few below", "too few above", "one", "thirds", "one has most"],
)
def test_each_half_must_have_its_part_or_there_is_none(keys: list[bytes], expected: bytes) -> None:
    assert halves(keys) == expected


def test_of_too_few_keys_nothing_is_said() -> None:
    keys = [b"%d" % number for number in range(ENOUGH)]
    assert sampled(keys[:-1]).of(SHARD) == (0, b"")
    assert sampled(keys).of(SHARD)[0] == ENOUGH


def test_the_sample_is_of_the_last_looks_and_bounded() -> None:
    samples = sampled([b"a"] * 10_000, looks=3 * KEPT)
    count, _ = samples.of(SHARD)
    assert ENOUGH <= count <= KEPT * 2 * FRESH_MAX
    for _ in range(KEPT):
        for number in range(60):
            samples.lot(SHARD).add(b"z%02d" % number)
        samples.look(LED)
    assert samples.of(SHARD) == (60 * KEPT, b"z30")


def test_however_much_is_asked_in_a_lot_its_keys_lie_at_even_distances() -> None:
    first, second = [b"a"] * 4_000, [b"b"] * 4_000
    samples = sampled(first + second)
    lot = Counter(key for keys in samples._lots[SHARD][1] for key in keys)
    assert lot[b"a"] == pytest.approx(lot[b"b"], rel=0.1)


def test_what_was_noted_of_another_range_is_forgotten() -> None:
    samples = sampled([b"%03d" % number for number in range(200)])
    assert samples.of(SHARD)[1]
    samples.lot(SHARD).add(b"250")
    samples.look({SHARD: 2})
    assert samples.of(SHARD) == (0, b"")


def test_whose_lead_is_gone_is_forgotten() -> None:
    samples = sampled([b"%03d" % number for number in range(200)])
    samples.look({})
    samples.look(LED)
    assert samples.of(SHARD) == (0, b"")


def test_a_long_key_counts_as_what_it_begins_with() -> None:
    long = [bytes([number]) * 4_096 for number in range(1, 100)]
    _, key = sampled(long).of(SHARD)
    assert len(key) == KEY_BYTES_MAX


def noted(asked: Asked) -> list[bytes]:
    asked.samples.look(LED)
    return [key for keys in asked.samples._lots[SHARD][1] for key in keys]


@pytest.mark.parametrize("size", [1, 2, 3, 16, 31, 64, 1_000])
def test_each_place_in_a_batch_is_noted_as_often_whatever_its_size(machine: ShardMachine, size: int) -> None:
    asked = Asked(nothing)
    batch = reads(*(b"%03d" % number for number in range(size)))
    found: Counter[bytes] = Counter()
    for _ in range(64):
        asked.samples.look(LED)
        for _ in range(60 * EVERY // size + 1):
            asked.take(batch, machine)
        found.update(noted(asked))
        asked.samples = Samples()
    assert found.total() >= 64 * 40
    below = sum(count for key, count in found.items() if int(key) < size // 2) / found.total()
    assert below == pytest.approx(size // 2 / size, abs=0.06)


def test_one_operation_of_every_so_many_is_noted(machine: ShardMachine) -> None:
    asked = Asked(nothing)
    asked.samples.look(LED)
    for _ in range(1_000):
        asked.take(reads(b"a", b"b"), machine)
    assert asked.counts == {SHARD: 2_000}
    assert len(noted(asked)) == pytest.approx(2_000 / EVERY, rel=0.3)


def test_writes_and_scans_are_noted_too(machine: ShardMachine) -> None:
    asked = Asked(nothing)
    asked.every = 1
    asked.samples.look(LED)
    asked.take(WriteGroup(1, SHARD, 1, 1_000, b"c" * 16, 1, 1, MAJORITY, False, (Put(b"w", b"v"),)), machine)
    asked.take(ScanGroup(1, SHARD, 1, 1_000, False, b"s", b"", b"", 10, False), machine)
    assert noted(asked) == [b"w", b"s"]
