"""What replicas of one Raft group keep on disk and say to one another.

Replicas are named by id alone: the coordinator never gives an id twice and gives it to one incarnation
of one node (rule 1), so a message cannot reach the wrong replica.
"""

from enum import IntEnum

from zkv.core.message import Message
from zkv.ids import NodeId, ReplicaId, ShardId


class EntryKind(IntEnum):
    """What an entry's payload is; the number is the wire format. 8-15 are kept for transactions."""

    NOOP = 0  # empty: a leader's first entry, which lets it commit what it found
    BATCH = 1  # list[WriteGroup]: `core.shard.commands`
    MEMBERSHIP = 2  # Membership: one voter or learner more or less
    EVICT = 3  # Evict: sessions to forget: `core.shard.commands`
    SPLIT = 4  # Split: a part of the range becomes a shard of its own: `core.shard.split`
    FREEZE = 5  # Freeze or Thaw, of the source of a merge: `core.shard.merge`
    ABSORB = 6  # Begin or Carried: what comes to the target
    MERGE = 7  # Verdict of the target
    COMMAND = 16  # MapCommand of the coordinators' group: `core.cluster.commands`


class Entry(Message, frozen=True, gc=False):
    """One entry of one group's log. (index, term) names it for ever."""

    term: int
    index: int
    kind: int
    payload: bytes


class Member(Message, frozen=True, gc=False):
    """A replica and where it lives."""

    replica: ReplicaId
    node: NodeId
    incarnation: int  # of the node's data folder: random, made when the folder was


class Membership(Message, frozen=True, gc=False):
    """Who belongs to a group. `version` rises by one with each change."""

    version: int
    voters: tuple[Member, ...]
    learners: tuple[Member, ...] = ()


class HardState(Message, frozen=True, gc=False):
    """What must be on disk before a promise of it leaves: the term, and the replica voted for in it (0: none)."""

    term: int
    vote: ReplicaId


class AppendRequest(Message, tag=20, frozen=True, gc=False):
    """Leader to member: entries after `previous`; without entries it is a heartbeat.

    `round` numbers the leader's sends in this term and comes back in the reply: a majority that answered
    round n had not moved on when n was sent, which carries leases and read-index (rule 8).
    `echo_ms` is the last stamp that this follower's clock put on a reply, given back with `commit` only while
    the leader holds its lease (else -1): the follower's staleness counts from it (rule 19).
    `rest`: nothing is going on, and nobody need hear of this leader before something is (`core.raft.sleeping`).
    """

    shard: ShardId
    sender: ReplicaId
    target: ReplicaId
    term: int
    previous_index: int
    previous_term: int
    commit: int
    round: int
    echo_ms: int
    entries: tuple[Entry, ...] = ()
    rest: bool = False


class AppendReply(Message, tag=21, frozen=True, gc=False):
    """Member to leader, after its flush: accepted up to `match`, or refused with where to probe next.

    When refused, `match` is the refused `previous_index` and `hint_index`/`hint_term` an entry that the
    follower holds at or below it: the leader goes on from there (Raft 5.3, the optimisation).
    `asleep`: it waits for no heartbeat any more, as it was asked to.
    """

    shard: ShardId
    sender: ReplicaId
    target: ReplicaId
    term: int
    accepted: bool
    match: int
    hint_index: int
    hint_term: int
    round: int
    stamp_ms: int  # the follower's clock when it answered
    full: bool = False  # its disk is nearly full: it wants no entries that others can hold (rule 6)
    asleep: bool = False


class VoteRequest(Message, tag=22, frozen=True, gc=False):
    """Candidate to voters. `pre`: would you vote for me in `term`? `ordered`: a leader said TimeoutNow (rule 9)."""

    shard: ShardId
    sender: ReplicaId
    target: ReplicaId
    term: int
    last_index: int
    last_term: int
    pre: bool
    ordered: bool


class VoteReply(Message, tag=23, frozen=True, gc=False):
    """Voter to candidate; a granted vote leaves only after the flush of its HardState (rule 7)."""

    shard: ShardId
    sender: ReplicaId
    target: ReplicaId
    term: int
    granted: bool
    pre: bool


class TimeoutNow(Message, tag=24, frozen=True, gc=False):
    """Leader to the voter that shall lead: campaign at once, if you still are at this term and last index (rule 10)."""

    shard: ShardId
    sender: ReplicaId
    target: ReplicaId
    term: int
    last_index: int


RaftMessage = AppendRequest | AppendReply | VoteRequest | VoteReply | TimeoutNow


class LogItem(Message, frozen=True, gc=False):
    """What one flush puts on disk for one replica. Fields apply in this order.

    `start`: (index, term) before the first entry that the log keeps for this replica from now on: everything
    that was stored for it before is void (a snapshot was installed, or a checkpoint rewrote it: rules 5 and 21).
    `entries` cancel all earlier ones of the replica at or above entries[0].index (rule 2). `commit`: a mark; replay
    applies no further (rule 3); 0 says nothing new. `gone`: the replica is deleted; forget it.
    """

    replica: ReplicaId
    start: tuple[int, int] | None = None
    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    commit: int = 0
    gone: bool = False


class LogBatch(Message, frozen=True, gc=False):
    """One record of the node's log: everything that one flush makes durable, all replicas together."""

    items: tuple[LogItem, ...]
