"""One replica on its own: what it answers to single messages, and what it must not do before a flush.

What whole groups do is in tests/scenarios.
"""

import random

import pytest

from zkv import limits
from zkv.core.raft.membership import encode_membership
from zkv.core.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryKind,
    HardState,
    Member,
    Membership,
    RaftMessage,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from zkv.core.raft.ready import EntryId, Ready, Timing
from zkv.core.raft.replica import ReadState, Replica, Role
from zkv.ids import NodeId, ReplicaId, ShardId

SHARD = ShardId(7)
ONE, TWO, THREE, FOUR = (ReplicaId(number) for number in (1, 2, 3, 4))
START_MS = 10_000
NOTHING = EntryId(0, 0)


def member(replica: int) -> Member:
    return Member(ReplicaId(replica), NodeId(f"node{replica}"), replica)


def group(*voters: int, learners: tuple[int, ...] = (), version: int = 1) -> Membership:
    return Membership(version, tuple(map(member, voters)), tuple(map(member, learners)))


def entry(index: int, term: int, payload: bytes = b"") -> Entry:
    return Entry(term, index, EntryKind.BATCH, payload)


def replica(
    id: int = 1,
    *,
    membership: Membership | None = None,
    term: int = 1,
    entries: tuple[Entry, ...] = (),
    commit: int = 0,
    applied: int = 0,
) -> Replica:
    """Replica `id` of {1, 2, 3}, long enough after its start to vote and campaign again, unless in term 0."""
    made = Replica(
        id=ReplicaId(id),
        shard=SHARD,
        hard_state=HardState(term, ReplicaId(0)),
        membership=membership or group(1, 2, 3),
        start=EntryId(0, 0),
        entries=entries,
        commit=commit,
        applied=applied,
        timing=Timing(),
        rng=random.Random(id),
        now_ms=START_MS,
    )
    made.tick(START_MS + 300)
    made.tick(START_MS + 600)
    assert not made.ready()
    return made


def append(
    previous: EntryId = NOTHING,
    entries: tuple[Entry, ...] = (),
    *,
    sender: int = 2,
    target: int = 1,
    term: int = 1,
    commit: int = 0,
    round_: int = 1,
    echo_ms: int = -1,
) -> AppendRequest:
    return AppendRequest(SHARD, ReplicaId(sender), ReplicaId(target), term, *previous, commit, round_, echo_ms, entries)


def reply(leader: Replica, sender: int, match: int, *, round_: int = 1) -> AppendReply:
    return AppendReply(SHARD, ReplicaId(sender), leader.id, leader.term, True, match, 0, 0, round_, 5)


def vote(sender: int, term: int, last: EntryId = NOTHING, *, pre: bool = False, ordered: bool = False) -> VoteRequest:
    return VoteRequest(SHARD, ReplicaId(sender), ONE, term, last.index, last.term, pre, ordered)


def granted(sender: int, term: int, *, pre: bool) -> VoteReply:
    return VoteReply(SHARD, ReplicaId(sender), ONE, term, True, pre)


def flush(one: Replica) -> Ready:
    """Take what is ready, and let its flush end."""
    ready = one.ready()
    one.persisted(one.term, one.last)
    return ready


def bodies(pairs: list[tuple[Member, RaftMessage]]) -> list[RaftMessage]:
    return [message for _, message in pairs]


def elected(one: Replica, *, voters: tuple[int, ...] = (2,)) -> Replica:
    """Make it leader of the next term, its first entry on disk and its messages taken."""
    while one.role is Role.FOLLOWER:
        one.tick(one.next_deadline_ms())
    one.ready()
    for voter in voters:
        one.step(granted(voter, one.term + 1, pre=True))
    flush(one)
    for voter in voters:
        one.step(granted(voter, one.term, pre=False))
    assert one.role is Role.LEADER
    flush(one)
    return one


def commit_first(leader: Replica, *, followers: tuple[int, ...] = (2, 3)) -> Replica:
    """Let everything that it has be answered, committed and applied."""
    for follower in followers:
        leader.step(reply(leader, follower, leader.last.index))
    ready = flush(leader)
    if ready.committed:
        leader.applied_to(ready.committed[-1].index)
    return leader


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


# Voting


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
    one = Replica(
        id=ONE,
        shard=SHARD,
        hard_state=HardState(5, ReplicaId(0)),
        membership=group(1, 2, 3),
        start=EntryId(0, 0),
        entries=(),
        commit=0,
        applied=0,
        timing=Timing(),
        rng=random.Random(1),
        now_ms=START_MS,
    )
    for passed_ms in range(200, 601, 200):
        one.tick(START_MS + passed_ms)
    one.step(vote(2, 6))
    assert (one.term, one.settled_term) == (6, 5)
    assert one.ready().hard_state is not None
    one.persisted(6, one.last)
    assert (one.term, one.settled_term) == (6, 6)


def test_a_restart_counts_as_hearing_a_leader() -> None:
    one = Replica(
        id=ONE,
        shard=SHARD,
        hard_state=HardState(1, ReplicaId(0)),
        membership=group(1, 2, 3),
        start=EntryId(0, 0),
        entries=(),
        commit=0,
        applied=0,
        timing=Timing(),
        rng=random.Random(1),
        now_ms=START_MS,
    )
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
    one = Replica(
        id=ONE,
        shard=SHARD,
        hard_state=HardState(1, ReplicaId(0)),
        membership=group(1, 2, 3),
        start=EntryId(0, 0),
        entries=(entry(1, 1), left),
        commit=2,
        applied=0,
        timing=Timing(),
        rng=random.Random(1),
        now_ms=START_MS,
    )
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


# Leading


def test_appends_are_split_by_bytes_and_held_back_by_the_window() -> None:
    leader = commit_first(elected(replica()))
    payload = b"x" * (limits.APPEND_BYTES_MAX * 2 // 3)
    for _ in range(9):
        leader.propose(EntryKind.BATCH, payload)
    sent = [body for to, body in leader.ready().messages if to.replica == TWO]
    assert [[each.index for each in body.entries] for body in sent] == [[2], [3], [4], [5], [6], [7]]
    assert len({body.round for body in sent}) == 1
    leader.step(reply(leader, 2, 4, round_=sent[0].round))
    more = [body for to, body in leader.ready().messages if to.replica == TWO]
    assert [[each.index for each in body.entries] for body in more] == [[8], [9], [10]]


def test_small_entries_travel_together_and_all_peers_share_one_tuple() -> None:
    leader = commit_first(elected(replica()))
    for _ in range(5):
        leader.propose(EntryKind.BATCH, b"x")
    first, second = bodies(leader.ready().messages)
    assert [each.index for each in first.entries] == [2, 3, 4, 5, 6]
    assert first.entries is second.entries


def test_a_commit_is_told_with_the_next_append_and_else_by_itself_within_a_moment() -> None:
    leader = commit_first(elected(replica()))
    assert not leader.ready()
    assert leader.next_deadline_ms() == leader._patience.now_ms + 10
    leader.propose(EntryKind.BATCH, b"x")
    assert [body.commit for body in bodies(leader.ready().messages)] == [1, 1]
    leader.tick(leader.next_deadline_ms())
    assert not leader.ready(), "it is told already"
    leader.persisted(2, EntryId(2, 2))
    leader.step(reply(leader, 2, 2))
    assert bodies(leader.ready().messages) == []
    leader.tick(leader.next_deadline_ms())
    told = leader.ready().messages
    assert [(to.replica, body.commit, body.entries) for to, body in told] == [(TWO, 2, ()), (THREE, 2, ())]


def test_heartbeats_go_to_everybody_also_beside_appends() -> None:
    leader = commit_first(elected(replica()))
    leader.propose(EntryKind.BATCH, b"x")
    leader.tick(leader._patience.now_ms + 100)
    sent = leader.ready().messages
    assert [(to.replica, len(body.entries)) for to, body in sent] == [(TWO, 1), (TWO, 0), (THREE, 1), (THREE, 0)]
    assert [body.previous_index for _, body in sent] == [1, 2, 1, 2]


def test_a_follower_that_needs_what_is_forgotten_is_named_for_a_snapshot_once_per_need() -> None:
    found = tuple(entry(index, 1) for index in (1, 2, 3))
    leader = commit_first(elected(replica(entries=found, commit=3, applied=3)), followers=(2,))
    leader.forget(3)
    leader.step(AppendReply(SHARD, THREE, ONE, 2, False, 3, 0, 0, 1, 5))
    assert leader.ready().snapshots == [member(3)]
    leader.propose(EntryKind.BATCH, b"x")
    ready = leader.ready()
    assert ready.snapshots == []
    assert [to.replica for to, _ in ready.messages] == [TWO]
    leader.snapshot_failed(THREE)
    assert not leader.ready(), "not before a heartbeat is answered"
    leader.tick(leader._patience.now_ms + 100)
    heartbeat = next(body for to, body in leader.ready().messages if to.replica == THREE)
    assert (heartbeat.previous_index, heartbeat.entries) == (0, ())
    leader.step(reply(leader, 3, 0, round_=heartbeat.round))
    assert leader.ready().snapshots == [member(3)]
    leader.snapshot_sent(THREE, 4)
    assert [each.index for _, body in leader.ready().messages for each in body.entries] == [5]


def test_quorum_without_counts_live_level_voters_and_itself() -> None:
    leader = commit_first(elected(replica()), followers=(2,))
    assert not leader.quorum_without(TWO), "3 has answered nothing yet"
    assert leader.quorum_without(THREE)
    leader.step(reply(leader, 3, 1))
    assert leader.quorum_without(TWO)
    assert leader.quorum_without(ONE)
    assert leader.holders(1) == (ONE, TWO, THREE)
    assert leader.holders(2) == ()


def test_a_learner_is_promoted_once_it_has_caught_up() -> None:
    leader = commit_first(elected(replica()))
    assert leader.propose_membership("learn", member(4), 1) is None
    assert leader.propose_membership("learn", member(4), 1) == "another change of membership is under way"
    flush(leader)
    commit_first(leader)
    assert leader.has_learners
    assert leader.propose_membership("promote", member(4), 2) == "replica 4 has not caught up"
    leader.ready()
    leader.step(reply(leader, 4, 2, round_=2))
    assert leader.propose_membership("promote", member(4), 2) is None
    flush(leader)
    commit_first(leader)
    assert [one.replica for one in leader.membership.voters] == [1, 2, 3, 4]


def test_during_a_handover_nothing_is_proposed() -> None:
    leader = commit_first(elected(replica()))
    assert not leader.transfer(ONE)
    assert not leader.transfer(FOUR)
    assert leader.transfer(TWO)
    assert leader.transfer(TWO)
    assert not leader.transfer(THREE)
    assert leader.propose(EntryKind.BATCH, b"x") is None
    assert leader.propose_membership("learn", member(4), 1) == "the lead is being handed over"
    assert [body for body in bodies(leader.ready().messages) if isinstance(body, TimeoutNow)] == [
        TimeoutNow(SHARD, ONE, TWO, 2, 1)
    ]


def test_a_lease_needs_an_own_entry_applied_and_a_recent_round_of_a_majority() -> None:
    leader = elected(replica())
    leader.step(reply(leader, 2, 1))
    committed = leader.ready().committed
    assert [one.index for one in committed] == [1]
    assert not leader.holds_lease(), "not applied"
    leader.applied_to(1)
    assert leader.holds_lease()
    sent_ms = leader._patience.now_ms
    leader.tick(sent_ms + 499)
    assert leader.holds_lease()
    leader.tick(sent_ms + 500)
    assert not leader.holds_lease()


def test_a_follower_is_as_fresh_as_the_stamp_that_came_back_under_a_lease() -> None:
    one = replica()
    one.step(append())
    stamp_ms = bodies(one.ready().messages)[0].stamp_ms
    assert one.fresh_as_of_ms() is None
    one.tick(stamp_ms + 70)
    one.step(append(entries=(entry(1, 1),), commit=1, echo_ms=stamp_ms, round_=2))
    flush(one)
    assert one.fresh_as_of_ms() is None
    assert [each.index for each in one.ready().committed] == [1]
    one.applied_to(1)
    assert one.fresh_as_of_ms() == stamp_ms


def test_reads_are_lost_with_the_term() -> None:
    leader = commit_first(elected(replica()))
    ticket = leader.ask_read()
    assert ticket is not None
    assert leader.read_state(ticket) is ReadState.WAIT
    leader.ready()
    leader.step(reply(leader, 3, 1, round_=ticket.round))
    assert leader.read_state(ticket) is ReadState.READY
    leader.step(append(EntryId(1, 2), term=9))
    assert leader.read_state(ticket) is ReadState.LOST
    assert leader.ask_read() is None


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


def test_a_removed_replica_takes_no_more_part() -> None:
    gone = Entry(1, 1, EntryKind.MEMBERSHIP, encode_membership(group(2, 3, version=2)))
    one = replica()
    one.step(append(entries=(gone,), commit=1))
    flush(one)
    one.ready()
    one.applied_to(1)
    assert one.removed
    one.step(append(EntryId(1, 1), term=2))
    one.step(vote(2, 5, EntryId(9, 4), ordered=True))
    for _ in range(20):
        one.tick(one.next_deadline_ms())
    assert (one.term, one.role) == (1, Role.FOLLOWER)
    assert not one.ready()
