"""One replica on its own, and the messages that it may get."""

import random

from zkv.core.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryKind,
    HardState,
    Member,
    Membership,
    RaftMessage,
    VoteReply,
    VoteRequest,
)
from zkv.core.raft.ready import EntryId, Ready, Timing
from zkv.core.raft.replica import Replica, Role
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


def started(
    id: int = 1,
    *,
    membership: Membership | None = None,
    term: int = 1,
    entries: tuple[Entry, ...] = (),
    commit: int = 0,
    applied: int = 0,
) -> Replica:
    """Replica `id` of {1, 2, 3}, just started on what its disk holds."""
    return Replica(
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


def replica(
    id: int = 1,
    *,
    membership: Membership | None = None,
    term: int = 1,
    entries: tuple[Entry, ...] = (),
    commit: int = 0,
    applied: int = 0,
) -> Replica:
    """The same, long enough after its start to vote and campaign again, unless in term 0."""
    made = started(id, membership=membership, term=term, entries=entries, commit=commit, applied=applied)
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
