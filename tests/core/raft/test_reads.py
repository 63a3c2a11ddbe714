"""Rounds, and how fresh a follower is."""

from zkv.core.raft.reads import NEVER_MS, Freshness, Rounds


def test_the_lease_counts_from_when_the_answered_round_was_sent() -> None:
    rounds = Rounds()
    assert rounds.answered_sent_ms == NEVER_MS
    for now_ms in (100, 200, 300):
        rounds.start(now_ms)
    rounds.answer(2)
    assert rounds.answered_sent_ms == 200
    rounds.answer(1)
    assert (rounds.answered, rounds.answered_sent_ms) == (2, 200)
    rounds.answer(3)
    assert rounds.answered_sent_ms == 300


def test_rounds_of_one_millisecond_have_its_time() -> None:
    rounds = Rounds()
    assert [rounds.start(now_ms) for now_ms in (100, 100, 100, 101, 101)] == [1, 2, 3, 4, 5]
    for answered, sent_ms in ((1, 100), (3, 100), (4, 101), (5, 101)):
        rounds.answer(answered)
        assert rounds.answered_sent_ms == sent_ms


def test_only_rounds_that_may_still_be_answered_are_kept() -> None:
    rounds = Rounds()
    for now_ms in range(1_000):
        rounds.answer(rounds.start(now_ms) - 10)
    assert len(rounds._sent) <= 12


def test_a_stamp_makes_fresh_once_what_came_with_it_is_applied() -> None:
    freshness = Freshness()
    freshness.stamp(100)
    freshness.echoed(5, 100, 3)
    assert freshness.as_of_ms(4) is None
    assert freshness.as_of_ms(5) == 100


def test_a_stamp_given_back_without_a_lease_or_by_another_boot_is_ignored() -> None:
    freshness = Freshness()
    freshness.echoed(5, 100, 9)
    assert freshness.as_of_ms(9) is None
    freshness.stamp(50)
    freshness.echoed(5, -1, 9)
    freshness.echoed(5, 51, 9)
    assert freshness.as_of_ms(9) is None


def test_under_load_the_awaited_stamp_is_not_displaced_by_newer_ones() -> None:
    freshness = Freshness()
    for now_ms in (100, 110, 120):
        freshness.stamp(now_ms)
        freshness.echoed(now_ms, now_ms, 0)
    assert freshness.as_of_ms(100) == 100
    freshness.echoed(120, 120, 100)
    assert freshness.as_of_ms(120) == 120


def test_freshness_does_not_fall() -> None:
    freshness = Freshness()
    freshness.stamp(200)
    freshness.echoed(1, 200, 1)
    assert freshness.as_of_ms(1) == 200
    freshness.echoed(1, 150, 1)
    assert freshness.as_of_ms(1) == 200


def test_after_the_clock_has_turned_back_only_a_round_sent_since_then_carries_a_lease() -> None:
    rounds = Rounds()
    rounds.start(100)
    rounds.start(110)
    rounds.answer(1)
    rounds.distrust()
    assert rounds.answered_sent_ms == NEVER_MS
    rounds.answer(2)
    assert (rounds.answered, rounds.answered_sent_ms) == (2, NEVER_MS)
    rounds.start(110)
    rounds.answer(3)
    assert rounds.answered_sent_ms == 110


def test_after_the_clock_has_turned_back_only_a_stamp_made_since_then_makes_fresh() -> None:
    freshness = Freshness()
    freshness.stamp(100)
    freshness.echoed(5, 100, 5)
    freshness.distrust(100)
    assert freshness.as_of_ms(5) is None
    freshness.stamp(101)
    freshness.echoed(5, 100, 5)
    assert freshness.as_of_ms(5) is None
    freshness.echoed(5, 101, 5)
    assert freshness.as_of_ms(5) == 101
