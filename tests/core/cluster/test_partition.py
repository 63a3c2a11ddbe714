import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkv.core.cluster.partition import hash_slot, initial_ranges, partition_key, partition_of, user_key
from zkv.core.cluster.shardmap import Partitioner
from zkv.errors import InvalidRequest

HASH, RANGE = Partitioner.HASH, Partitioner.RANGE


@pytest.mark.parametrize(
    ("key", "slot"),
    [(b"", 0), (b"a", 0xBE43), (b"123456789", 0x3926), (b"user:42", 0x0D86), (b"\xff\x00", 0xEF8D)],
)
def test_a_key_keeps_its_slot_for_ever(key: bytes, slot: int) -> None:
    assert hash_slot(key) == slot
    assert partition_key(HASH, key) == bytes((slot >> 8, slot & 255)) + key


def test_a_range_table_orders_keys_as_they_are() -> None:
    assert partition_key(RANGE, b"user:42") == b"user:42"


@given(st.binary(min_size=1, max_size=40), st.sampled_from(Partitioner))
def test_the_user_key_comes_back_out_of_the_partition_key(key: bytes, partitioner: Partitioner) -> None:
    assert user_key(partitioner, partition_key(partitioner, key)) == key
    assert partition_of(partitioner)(key) == partition_key(partitioner, key)
    assert hash_slot(key) == zlib.crc32(key) % 65_536


def test_three_shards_part_a_hash_table_at_thirds_of_its_slots() -> None:
    assert initial_ranges(HASH, 3) == ((b"", b"\x55\x55"), (b"\x55\x55", b"\xaa\xaa"), (b"\xaa\xaa", b""))


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 12, 64, 1000, 4096])
def test_ranges_of_a_hash_table_are_even_and_without_gaps(shards: int) -> None:
    ranges = initial_ranges(HASH, shards)
    assert len(ranges) == shards
    assert (ranges[0][0], ranges[-1][1]) == (b"", b"")
    assert all(first[1] == second[0] for first, second in pairwise(ranges))
    edges = [0, *(int.from_bytes(start, "big") for start, _ in ranges[1:]), 65_536]
    assert {high - low for low, high in pairwise(edges)} <= {65_536 // shards, 65_536 // shards + 1}


def test_numbered_keys_spread_over_twelve_shards_within_a_tenth() -> None:
    counts = [0] * 12
    for number in range(10_000):
        counts[hash_slot(b"key%d" % number) * 12 // 65_536] += 1
    assert sum(counts) == 10_000
    assert max(abs(count * 12 / 10_000 - 1) for count in counts) < 0.1


def test_a_range_table_starts_as_one_shard_or_between_its_splits() -> None:
    assert initial_ranges(RANGE, 0) == ((b"", b""),)
    assert initial_ranges(RANGE, 1) == ((b"", b""),)
    assert initial_ranges(RANGE, 0, (b"g", b"p")) == ((b"", b"g"), (b"g", b"p"), (b"p", b""))
    assert initial_ranges(RANGE, 3, (b"g", b"p")) == initial_ranges(RANGE, 0, (b"g", b"p"))


@pytest.mark.parametrize(
    ("partitioner", "shards", "splits", "words"),
    [
        (HASH, 2, (b"a",), "for range tables"),
        (HASH, 0, (), "1 to 4096 shards, not 0"),
        (HASH, 4097, (), "1 to 4096 shards, not 4097"),
        (RANGE, 0, (b"b", b"a"), "must rise"),
        (RANGE, 0, (b"a", b"a"), "must rise"),
        (RANGE, 0, (b"",), "1 to 4096 bytes"),
        (RANGE, 0, (b"x" * 4097,), "1 to 4096 bytes"),
        (RANGE, 4, (b"a", b"b"), "make 3 shards, not 4"),
        (RANGE, 5, (), "make 1 shards, not 5"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_words(
    partitioner: Partitioner, shards: int, splits: tuple[bytes, ...], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        initial_ranges(partitioner, shards, splits)
