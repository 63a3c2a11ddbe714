"""Requests a second, from counts."""

import pytest

from zkv.core.node.rates import HALF_MS, KNOWN_MS, Rates
from zkv.ids import ShardId

SHARD = ShardId(1)


def looked(rates: Rates, counts: list[int], *, from_ms: int = 0, step_ms: int = 2_000) -> int:
    """Look after each step, in which so much was asked; the time after the last."""
    for place, count in enumerate(counts):
        rates.look({SHARD: count}, {SHARD: 1}, from_ms + place * step_ms)
    return from_ms + len(counts) * step_ms


def test_a_rate_is_not_known_before_it_was_led_for_a_while() -> None:
    rates = Rates()
    assert rates.of(SHARD) == -1
    looked(rates, [500] * (KNOWN_MS // 2_000))
    assert rates.of(SHARD) == -1


def test_a_rate_that_has_just_begun_does_not_rise_from_nothing() -> None:
    rates = Rates()
    looked(rates, [10_000] + [500] * 3)  # what was asked before the first look was asked in nobody knows what time
    assert rates.of(SHARD) == 250


def test_after_half_of_the_time_half_of_a_change_is_seen() -> None:
    rates = Rates()
    end_ms = looked(rates, [2_000] * 100)
    assert rates.of(SHARD) == 1_000
    looked(rates, [0] * (HALF_MS // 2_000), from_ms=end_ms)
    assert rates.of(SHARD) == pytest.approx(500, rel=0.02)


def test_whose_lead_is_gone_begins_anew() -> None:
    rates = Rates()
    end_ms = looked(rates, [2_000] * 10)
    rates.look({SHARD: 5}, {}, end_ms)
    assert rates.of(SHARD) == -1


def test_what_was_asked_of_another_range_is_forgotten() -> None:
    rates = Rates()
    end_ms = looked(rates, [2_000] * 10)
    rates.look({SHARD: 2_000}, {SHARD: 2}, end_ms)
    assert rates.of(SHARD) == -1


def test_what_was_counted_is_counted_once() -> None:
    asked = {SHARD: 7, ShardId(2): 9}
    Rates().look(asked, {SHARD: 1}, 0)
    assert asked == {}
