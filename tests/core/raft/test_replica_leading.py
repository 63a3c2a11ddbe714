"""One replica on its own that leads: what it sends, counts, promises and hands over."""

from tests.core.raft.alone import (
    FOUR,
    ONE,
    SHARD,
    THREE,
    TWO,
    append,
    bodies,
    commit_first,
    elected,
    entry,
    flush,
    member,
    replica,
    reply,
)
from zkv import limits
from zkv.core.raft.messages import (
    AppendReply,
    EntryKind,
    TimeoutNow,
)
from zkv.core.raft.ready import EntryId
from zkv.core.raft.replica import ReadState


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
    assert leader.next_deadline_ms() == leader._patience.now_ms + limits.TELL_MS
    leader.propose(EntryKind.BATCH, b"x")
    assert [body.commit for body in bodies(leader.ready().messages)] == [1, 1]
    leader.tick(leader.next_deadline_ms())
    assert not leader.ready(), "it is told already"
    leader.persisted(2, EntryId(2, 2))
    leader.step(reply(leader, 2, 2))
    assert bodies(leader.ready().messages) == []
    leader.tick(leader._patience.now_ms + limits.TELL_MS)
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
    assert (heartbeat.previous_index, heartbeat.entries) == (3, ())
    leader.step(AppendReply(SHARD, THREE, ONE, 2, False, 3, 0, 0, heartbeat.round, 5))
    assert leader.ready().snapshots == [member(3)]
    leader.snapshot_sent(THREE, 4)
    assert [each.index for _, body in leader.ready().messages for each in body.entries] == [5]


def test_quorum_without_counts_live_level_voters_and_itself() -> None:
    leader = commit_first(elected(replica()), followers=(2,))
    assert not leader.quorum_without(TWO), "3 has answered nothing yet"
    assert leader.quorum_without(THREE)
    assert leader.quorum_without(THREE, 2)
    assert not leader.quorum_without(THREE, 3), "as many as the table wants have to be left"
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
