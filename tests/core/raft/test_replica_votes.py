"""One replica on its own: to whom it gives its vote, and when it asks for votes."""

from tests.core.raft.alone import (
    ONE,
    SHARD,
    START_MS,
    THREE,
    TWO,
    append,
    bodies,
    entry,
    flush,
    group,
    replica,
    started,
    vote,
)
from zkv.core.raft.membership import encode_membership
from zkv.core.raft.messages import (
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    TimeoutNow,
    VoteReply,
)
from zkv.core.raft.ready import EntryId
from zkv.core.raft.replica import Role
from zkv.ids import ReplicaId


def test_votes_and_pre_votes_are_refused_quietly_while_a_leader_is_heard_except_by_order() -> None:
    one = replica()
    one.step(append(term=1))
    flush(one)
    one.step(vote(3, 2, pre=True))
    one.step(vote(3, 2))
    assert one.term == 1
    assert not one.ready()
    one.step(vote(3, 2, ordered=True))
    assert bodies(one.ready().promises) == [VoteReply(SHARD, ONE, THREE, 2, True, False)]


def test_others_are_told_a_term_only_once_no_crash_can_undo_it() -> None:
    """A term that died with the process must not be in anybody's map: it would be newer than the true leader's."""
    one = started(term=5)
    for passed_ms in range(200, 601, 200):
        one.tick(START_MS + passed_ms)
    one.step(vote(2, 6))
    assert (one.term, one.settled_term) == (6, 5)
    assert one.ready().hard_state is not None
    one.persisted(6, one.last)
    assert (one.term, one.settled_term) == (6, 6)


def test_a_restart_counts_as_hearing_a_leader() -> None:
    one = started()
    for passed_ms in (200, 400, 599):
        one.tick(START_MS + passed_ms)
    one.step(vote(2, 2))
    assert one.term == 1
    one.tick(START_MS + 600)
    one.step(vote(2, 2))
    assert one.term == 2


def test_a_shorter_log_gets_no_vote_but_the_term_is_taken() -> None:
    one = replica(entries=(entry(1, 1), entry(2, 1)))
    one.step(vote(2, 3, EntryId(1, 1)))
    ready = one.ready()
    assert ready.hard_state == HardState(3, ReplicaId(0))
    assert bodies(ready.messages) == [VoteReply(SHARD, ONE, TWO, 3, False, False)]


def test_a_pre_vote_changes_nothing() -> None:
    one = replica()
    one.step(vote(2, 2, pre=True))
    one.step(vote(3, 2, pre=True))
    ready = one.ready()
    assert [body.granted for body in bodies(ready.messages)] == [True, True]
    assert (ready.hard_state, one.term) == (None, 1)


def test_a_candidate_of_an_old_term_is_told_the_present_one() -> None:
    one = replica(term=5)
    one.step(vote(2, 3, pre=True))
    assert bodies(one.ready().messages) == [VoteReply(SHARD, ONE, TWO, 5, False, True)]
    other = replica(2, term=3)
    other.step(VoteReply(SHARD, ONE, TWO, 5, False, True))
    assert other.term == 5


def test_nobody_campaigns_with_a_committed_change_still_to_take_effect() -> None:
    left = Entry(1, 2, EntryKind.MEMBERSHIP, encode_membership(group(1, 2, version=2)))
    one = started(entries=(entry(1, 1), left), commit=2)
    assert [each.index for each in one.ready().committed] == [1, 2]
    for _ in range(30):
        one.tick(one.next_deadline_ms())
    assert one.role is Role.FOLLOWER
    one.step(TimeoutNow(SHARD, TWO, ONE, 1, 2))
    assert one.role is Role.FOLLOWER
    one.applied_to(2)
    while one.role is Role.FOLLOWER:
        one.tick(one.next_deadline_ms())
    assert [to.replica for to, _ in one.ready().messages] == [TWO]


def test_a_replica_without_state_never_votes_and_its_word_carries_no_lease() -> None:
    """It may be let go, and made anew by a split that it applies late: it would vote twice."""
    empty = started(membership=group(version=0), term=0)
    for pre in (True, False):
        empty.step(vote(3, 2, pre=pre, ordered=True))
    ready = empty.ready()
    assert [reply.granted for reply in bodies([*ready.messages, *ready.promises]) if isinstance(reply, VoteReply)] == [
        False,
        False,
    ]
    empty.step(append(term=3, round_=9))
    ready = empty.ready()
    (reply,) = [reply for reply in bodies([*ready.messages, *ready.promises]) if isinstance(reply, AppendReply)]
    assert reply.round == 0
