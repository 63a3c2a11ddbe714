"""Promises, patience and counting votes."""

import random

import pytest

from zkv.core.raft.elections import NOBODY, Birth, Patience, Standing, Tally, up_to_date
from zkv.core.raft.messages import HardState
from zkv.core.raft.ready import EntryId, Timing
from zkv.ids import ReplicaId

TIMING = Timing()
ONE, TWO, THREE = ReplicaId(1), ReplicaId(2), ReplicaId(3)
VOTERS = frozenset({ONE, TWO, THREE})


def patience(now_ms: int = 1_000, *, birth: Birth = Birth.RESTARTED, alone: bool = False) -> Patience:
    return Patience(TIMING, random.Random(1), now_ms, birth=birth, alone=alone)


def test_a_start_counts_as_hearing_a_leader() -> None:
    waiting = patience(1_000)
    assert waiting.hears_leader
    for passed_ms in (200, 400, TIMING.election_ms_min - 1):
        waiting.advance(1_000 + passed_ms)
    assert waiting.hears_leader
    waiting.advance(1_000 + TIMING.election_ms_min)
    assert not waiting.hears_leader


def test_a_jump_of_the_clock_does_not_end_the_hearing_of_a_leader() -> None:
    """It may have been a stop, in which time passed; it may have been none, and the leader has its lease still."""
    waiting = patience(1_000)
    assert waiting.advance(1_000 + 10 * TIMING.election_ms_min)
    assert waiting.hears_leader
    deaf = patience(1_000, birth=Birth.CREATED)
    assert deaf.advance(1_000 + 10 * TIMING.election_ms_min)
    assert not deaf.hears_leader


def test_after_a_jump_of_the_clock_a_replica_that_hears_a_leader_does_not_campaign_for_a_whole_timeout() -> None:
    """Its own vote would end the leader's lease like any other's."""
    waiting = patience(1_000)
    jumped_ms = 1_000 + 10 * TIMING.election_ms_min
    waiting.advance(jumped_ms)
    while waiting.hears_leader:
        assert not waiting.ended
        waiting.advance(waiting.now_ms + 1)
    assert waiting.now_ms == jumped_ms + TIMING.election_ms_min


def test_a_newborn_replica_has_heard_nobody_and_waits_less() -> None:
    waiting = patience(1_000, birth=Birth.CREATED)
    assert not waiting.hears_leader
    assert TIMING.heartbeat_ms <= waiting.deadline_ms - 1_000 < TIMING.election_ms_min


def test_the_only_voter_does_not_wait() -> None:
    assert patience(1_000, alone=True).ended


def test_waits_lie_between_the_shortest_timeout_and_twice_that_and_differ() -> None:
    waiting = patience(0)
    waits = set()
    for _ in range(200):
        waiting.restart()
        waits.add(waiting.deadline_ms)
    assert min(waits) >= TIMING.election_ms_min
    assert max(waits) < 2 * TIMING.election_ms_min
    assert len(waits) > 50


def test_after_a_stop_of_the_process_what_is_queued_goes_first() -> None:
    waiting = patience(1_000, birth=Birth.CREATED)  # it hears nobody
    assert waiting.advance(60_000)
    assert not waiting.ended
    assert waiting.deadline_ms == 60_000 + 2 * TIMING.heartbeat_ms
    for now_ms in range(60_050, 60_200, 50):
        assert not waiting.advance(now_ms)
        assert not waiting.ended
    waiting.advance(60_200)
    assert waiting.ended


def test_silence_alone_is_no_stop_as_long_as_ticks_come_when_they_are_due() -> None:
    waiting = patience(1_000)
    deadline_ms = waiting.deadline_ms
    while not waiting.ended:
        assert not waiting.advance(waiting.due_ms)
    assert waiting.now_ms == deadline_ms


def test_the_clock_does_not_go_back() -> None:
    waiting = patience(1_000)
    waiting.advance(900)
    assert waiting.now_ms == 1_000


def test_term_and_vote_are_written_once_and_durable_after_the_flush() -> None:
    standing = Standing(HardState(3, TWO))
    assert standing.durable
    assert standing.to_write() is None
    standing.enter(4)
    standing.give(ONE)
    assert not standing.durable
    assert not standing.flushed(4), "it is not handed out yet"
    assert standing.to_write() == HardState(4, ONE)
    assert standing.to_write() is None
    assert standing.flushed(4)
    assert standing.durable


def test_the_flush_of_an_earlier_term_does_not_count_for_the_present_one() -> None:
    standing = Standing(HardState(3, NOBODY))
    standing.enter(4)
    standing.to_write()
    standing.enter(5)
    assert not standing.flushed(4)
    assert not standing.durable


def test_two_votes_in_a_term_and_a_falling_term_are_our_own_fault() -> None:
    standing = Standing(HardState(3, TWO))
    with pytest.raises(AssertionError, match="two votes"):
        standing.give(ONE)
    with pytest.raises(AssertionError, match="fall"):
        standing.enter(3)


def test_votes_are_counted_by_voter_and_the_first_answer_stays() -> None:
    tally = Tally()
    tally.count(ONE, granted=True)
    tally.count(ReplicaId(9), granted=True)
    assert not tally.won(VOTERS)
    tally.count(TWO, granted=False)
    tally.count(TWO, granted=True)
    assert not tally.won(VOTERS)
    assert not tally.lost(VOTERS)
    tally.count(THREE, granted=True)
    assert tally.won(VOTERS)


def test_of_four_voters_two_refusals_are_the_end() -> None:
    voters = VOTERS | {ReplicaId(4)}
    tally = Tally()
    tally.count(ONE, granted=False)
    assert not tally.lost(voters)
    tally.count(TWO, granted=False)
    assert tally.lost(voters)


@pytest.mark.parametrize(
    ("candidate", "own", "may"),
    [
        (EntryId(5, 3), EntryId(5, 3), True),
        (EntryId(4, 3), EntryId(5, 3), False),
        (EntryId(9, 2), EntryId(5, 3), False),
        (EntryId(2, 4), EntryId(5, 3), True),
    ],
    ids=["equal", "shorter", "longer but of an older term", "shorter but of a later term"],
)
def test_the_later_term_wins_then_the_longer_log(candidate: EntryId, own: EntryId, may: bool) -> None:
    assert up_to_date(candidate, own) is may
