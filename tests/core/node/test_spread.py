"""Where the bytes of a shard lie."""

from random import Random

import pytest

from zkv.core.node.spread import MARKS_MAX, Spread


def filled(sizes: dict[bytes, int], *, seed: int) -> Spread:
    spread = Spread()
    keys = list(sizes)
    Random(seed).shuffle(keys)
    for key in keys:
        spread.add(key, sizes[key])
    return spread


def even(rows: int) -> dict[bytes, int]:
    return {b"%06d" % number: 100 for number in range(rows)}


@pytest.mark.parametrize("rows", [1, 2, 100, 1_000, 20_000])
def test_the_middle_is_found_in_whatever_order_the_rows_come(rows: int) -> None:
    spread = filled(even(rows), seed=rows)
    assert spread.bytes == 100 * rows
    assert int(spread.middle()) == pytest.approx(rows / 2, abs=rows / 16 + 1)


def test_nothing_has_no_middle() -> None:
    assert Spread().middle() == b""


@pytest.mark.parametrize("at", [0, 1, 5_000, 9_999, 10_000])
def test_a_spread_is_parted_where_its_shard_is(at: int) -> None:
    left, right = filled(even(10_000), seed=1).parted(b"%06d" % at)
    assert left.bytes + right.bytes == 1_000_000
    assert left.bytes == pytest.approx(100 * at, abs=1_000_000 / 24)


def test_what_is_gone_counts_no_more() -> None:
    spread = filled(even(10_000), seed=2)
    for number in range(5_000):
        spread.add(b"%06d" % number, -100)
    assert spread.bytes == 500_000
    assert int(spread.middle()) == pytest.approx(7_500, abs=600)


def test_two_are_joined_and_the_other_stays_as_it_is() -> None:
    one, other = filled({b"a": 10, b"c": 20}, seed=3), filled({b"b": 30}, seed=3)
    one.join(other)
    assert (one.bytes, one.middle(), other.bytes) == (60, b"c", 30)


@pytest.mark.parametrize("seed", range(8))
def test_it_stays_small_whatever_comes_and_goes(seed: int) -> None:
    rng = Random(seed)
    spread, total = Spread(), 0
    for _ in range(20_000):
        size = rng.choice((1, 100, 10_000, -1, -100, -10_000))
        spread.add(rng.randbytes(4), size)
        total += size
        assert len(spread._marks) < 2 * MARKS_MAX
    assert spread.bytes == total == sum(size for _, size in spread._marks)
