"""One replica on its own: what it answers to single messages, and what it must not do before a flush.

What whole groups do is in tests/scenarios.
"""

import pytest

from tests.core.raft.alone import (
    ONE,
    SHARD,
    START_MS,
    THREE,
    TWO,
    append,
    bodies,
    commit_first,
    elected,
    entry,
    flush,
    granted,
    group,
    member,
    replica,
    reply,
    vote,
)
from zkv.core.raft.membership import encode_membership
from zkv.core.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryKind,
    HardState,
    Member,
    Membership,
    VoteReply,
)
from zkv.core.raft.ready import EntryId
from zkv.core.raft.replica import Role
from zkv.ids import NodeId, ReplicaId, ShardId

# Before and after the flush


def test_an_append_is_acknowledged_after_its_flush_and_a_heartbeat_at_once_for_what_is_on_disk() -> None:
    one = replica()
    one.step(append(entries=(entry(1, 1),)))
    ready = one.ready()
    assert ready.messages == []
    assert [(body.accepted, body.match) for body in bodies(ready.promises)] == [(True, 1)]
    one.step(append(EntryId(1, 1), round_=2))
    ready = one.ready()
    assert ready.promises == []
    assert [(body.accepted, body.match, body.round) for body in bodies(ready.messages)] == [(True, 0, 2)]
    one.persisted(1, EntryId(1, 1))
    one.step(append(EntryId(1, 1), round_=3))
    assert [body.match for body in bodies(one.ready().messages)] == [1]


def test_nothing_is_answered_in_a_new_term_before_that_term_is_on_disk() -> None:
    one = replica()
    one.step(append(term=4))
    ready = one.ready()
    assert ready.hard_state == HardState(4, ReplicaId(0))
    assert ready.messages == []
    assert [body.term for body in bodies(ready.promises)] == [4]
    one.persisted(4, one.last)
    one.step(append(term=4))
    assert len(one.ready().messages) == 1


def test_a_vote_leaves_after_its_flush_and_a_refusal_at_once() -> None:
    one = replica()
    one.step(vote(2, 2))
    one.step(vote(3, 2))
    ready = one.ready()
    assert ready.hard_state == HardState(2, TWO)
    assert bodies(ready.promises) == [VoteReply(SHARD, ONE, TWO, 2, True, False)]
    assert bodies(ready.messages) == [VoteReply(SHARD, ONE, THREE, 2, False, False)]


def test_requests_for_votes_leave_after_the_flush_and_pre_votes_at_once() -> None:
    one = replica()
    while one.role is Role.FOLLOWER:
        one.tick(one.next_deadline_ms())
    ready = one.ready()
    assert (len(ready.messages), ready.promises, ready.hard_state) == (2, [], None)
    one.step(granted(2, 2, pre=True))
    ready = one.ready()
    assert (ready.messages, len(ready.promises), ready.hard_state) == ([], 2, HardState(2, ONE))


def test_a_candidate_leads_only_with_its_own_vote_on_disk() -> None:
    one = replica(membership=group(1, 2, 3, 4, 5))
    while one.role is Role.FOLLOWER:
        one.tick(one.next_deadline_ms())
    one.step(granted(2, 2, pre=True))
    one.step(granted(3, 2, pre=True))
    one.ready()
    for voter in (2, 3, 4):
        one.step(granted(voter, 2, pre=False))
    assert one.role is Role.CANDIDATE
    one.persisted(2, one.last)
    assert one.role is Role.LEADER


def test_a_leaders_own_copy_counts_after_its_flush_and_others_may_commit_without_it() -> None:
    leader = commit_first(elected(replica()))
    assert leader.propose(EntryKind.BATCH, b"x") == Entry(2, 2, EntryKind.BATCH, b"x")
    assert len(leader.ready().messages) == 2
    leader.step(reply(leader, 2, 2))
    assert leader.committed == 1
    leader.step(reply(leader, 3, 2))
    assert leader.committed == 2
    assert leader.ready().committed == [], "it is not on its own disk"
    leader.persisted(2, EntryId(2, 2))
    assert [one.index for one in leader.ready().committed] == [2]


def test_a_second_ready_without_new_events_is_empty() -> None:
    leader = commit_first(elected(replica()))
    leader.propose(EntryKind.BATCH, b"x")
    assert leader.ready()
    assert not leader.ready()


# Messages that do not fit


def test_what_is_meant_for_others_or_comes_from_itself_is_dropped_and_counted() -> None:
    one = replica()
    before = one.dropped
    one.step(append(target=2))
    one.step(append(sender=1))
    one.step(AppendRequest(ShardId(8), TWO, ONE, 1, 0, 0, 0, 1, -1, ()))
    assert one.dropped == before + 3
    assert not one.ready()


@pytest.mark.parametrize(
    "entries",
    [
        (entry(2, 1),),
        (entry(1, 1), entry(3, 1)),
        (entry(1, 2),),
        (entry(1, 1), entry(2, 0)),
        (Entry(1, 1, EntryKind.MEMBERSHIP, b"garbage"),),
    ],
    ids=["not after previous", "a gap", "of a term to come", "falling terms", "no membership"],
)
def test_an_append_that_is_no_log_is_dropped_and_its_term_not_taken(entries: tuple[Entry, ...]) -> None:
    one = replica()
    one.step(append(entries=entries, term=1))
    assert (one.last, one.dropped) == (EntryId(0, 0), 1)
    assert not one.ready()


def test_a_stale_leader_is_told_the_term_in_an_answer_that_counts_for_no_round() -> None:
    one = replica(term=5)
    one.step(append(EntryId(9, 3), term=3, round_=77))
    assert bodies(one.ready().messages)[0] == AppendReply(SHARD, ONE, TWO, 5, False, 0, 0, 0, 0, START_MS + 600)


def test_answers_beyond_the_log_or_to_rounds_never_sent_are_dropped() -> None:
    leader = commit_first(elected(replica()))
    dropped = leader.dropped
    leader.step(reply(leader, 2, 99))
    leader.step(reply(leader, 2, 1, round_=10**6))
    leader.step(reply(leader, 9, 1))
    assert leader.dropped == dropped + 3
    assert leader.progress() == ((ONE, 1), (TWO, 1), (THREE, 1))


def test_a_stranger_gets_no_vote_and_does_not_raise_the_term() -> None:
    one = replica()
    one.step(vote(9, 8))
    one.step(vote(9, 8, pre=True))
    one.step(vote(9, 8, ordered=True))
    assert (one.term, one.dropped) == (1, 3)
    assert not one.ready()


def test_a_member_that_is_known_only_from_an_unapplied_change_gets_its_vote() -> None:
    joined = Entry(1, 1, EntryKind.MEMBERSHIP, encode_membership(group(1, 2, 3, 4, version=2)))
    one = replica(entries=(joined,))
    one.step(vote(4, 2, EntryId(1, 1)))
    to, body = one.ready().promises[0]
    assert to == member(4)
    assert body.granted


def test_an_empty_learner_takes_appends_from_any_leader_and_answers_by_id() -> None:
    one = replica(9, membership=Membership(0, ()), term=0)
    one.step(append(EntryId(5, 1), target=9, sender=2))
    to, body = one.ready().promises[0]
    assert to == Member(TWO, NodeId(""), 0)
    assert (body.accepted, body.match, body.hint_index) == (False, 5, 0)


def test_an_empty_learner_and_a_replica_that_is_no_voter_never_campaign() -> None:
    for membership in (Membership(0, ()), group(2, 3, learners=(1,)), group(2, 3)):
        one = replica(membership=membership, term=0)
        for _ in range(50):
            one.tick(one.next_deadline_ms())
        assert one.role is Role.FOLLOWER
        assert not one.ready()


# Snapshots


def test_a_snapshot_is_wanted_only_if_it_brings_something() -> None:
    one = replica(entries=(entry(1, 1), entry(2, 1), entry(3, 1)), commit=1, applied=1)
    assert not one.wants_snapshot(EntryId(1, 1))
    assert not one.wants_snapshot(EntryId(3, 1))
    assert one.wants_snapshot(EntryId(3, 2))
    assert one.wants_snapshot(EntryId(4, 1))


def test_after_a_restore_the_log_begins_behind_it_and_the_answer_tells_how_far_it_is() -> None:
    one = replica(9, membership=Membership(0, ()), term=0)
    one.step(append(term=3, target=9))
    flush(one)
    one.restore(EntryId(40, 2), group(1, 2, 3, learners=(9,), version=4))
    assert (one.start, one.last, one.committed, one.applied, one.persisted_index) == (
        EntryId(40, 2),
        EntryId(40, 2),
        40,
        40,
        40,
    )
    one.step(append(term=3, target=9, round_=2))
    assert [(body.accepted, body.match) for body in bodies(one.ready().messages)] == [(True, 40)]


def test_a_removed_replica_never_campaigns_but_answers_who_has_not_heard_of_it() -> None:
    gone = Entry(1, 1, EntryKind.MEMBERSHIP, encode_membership(group(2, 3, version=2)))
    one = replica()
    one.step(append(entries=(gone,), commit=1))
    flush(one)
    one.ready()
    one.applied_to(1)
    assert one.removed
    for _ in range(20):
        one.tick(one.next_deadline_ms())
    assert (one.term, one.role) == (1, Role.FOLLOWER)
    assert not one.ready()
    one.step(vote(2, 5, EntryId(9, 4), ordered=True))
    assert [body.granted for body in bodies(one.ready().promises)] == [True]
    one.step(append(EntryId(1, 1), term=5))
    assert one.term == 5
