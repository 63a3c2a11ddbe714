"""What a replica is, and the questions it answers without changing anything."""

from collections.abc import Sequence

from zkv.core.raft.elections import NOBODY, Birth, Patience, Role, Standing, Tally, up_to_date
from zkv.core.raft.leading import Leadership
from zkv.core.raft.log import Log
from zkv.core.raft.membership import decode_membership, find
from zkv.core.raft.messages import Entry, HardState, Member, Membership, VoteRequest
from zkv.core.raft.reads import Freshness, ReadState, ReadTicket
from zkv.core.raft.ready import EntryId, Ready, Rng, Timing
from zkv.ids import ReplicaId, ShardId


class ReplicaState:
    """The state of one replica; nothing in this class changes it (`Replica` does).

    Invariants: applied <= committed <= last index; term never falls; one vote in a term; `_leading` exists exactly
    while the role is LEADER, and never longer than its term.
    """

    def __init__(  # noqa: PLR0913  # all that a disk and an owner know of a replica; by keyword only
        self,
        *,
        id: ReplicaId,
        shard: ShardId,
        hard_state: HardState,
        membership: Membership,
        start: EntryId,
        entries: Sequence[Entry],
        commit: int,
        applied: int,
        timing: Timing,
        rng: Rng,
        now_ms: int,
        birth: Birth = Birth.RESTARTED,
    ) -> None:
        """As recovered: `membership` as of `applied` (version 0: an empty learner, which knows none yet), `entries`
        all that the disk holds after `start`, flushed, and `commit` >= `applied`.

        Who was just born has answered nobody, so it need not wait (rule 9).
        """
        self.id = id
        self.shard = shard
        self.membership = membership
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.full = False  # its disk is nearly full; the owner says so, and it tells its leader
        self.removed = False  # its removal is applied: it takes no more part
        self.dropped = 0
        self._timing = timing
        self._log = Log(start, entries, committed=commit, applied=applied)
        self._standing = Standing(hard_state)
        self._voters = voter_ids(membership)
        alone = self._voters == {id}
        if not birth and hard_state.term == 0:
            birth = Birth.CREATED
        self._patience = Patience(timing, rng, now_ms, birth=birth, alone=alone)
        self._freshness = Freshness()
        self._tally = Tally()
        self._leading: Leadership | None = None
        self._out = Ready()
        self._asleep = False  # as a follower

    @property
    def term(self) -> int:
        """The latest term it has heard of."""
        return self._standing.term

    @property
    def asleep(self) -> bool:
        """Whether it neither sends heartbeats nor waits for any (`core.raft.sleeping`)."""
        return self._asleep if self._leading is None else self._leading.rest.asleep

    @property
    def leader_member(self) -> Member | None:
        """Where its leader lives, if that is a member that it knows."""
        return find(self.membership, self.leader)

    @property
    def settled_term(self) -> int:
        """The latest term that no crash can undo: it has a leader, or is on disk here. What others may be told."""
        return self.term if self.leader != NOBODY else self._standing.durable_term

    @property
    def standing(self) -> tuple[int, ReplicaId, bool]:
        """Settled term, leader, and whether it leads: what its owner looks at after each turn."""
        leader = self.leader
        term = self._standing.term if leader != NOBODY else self._standing.durable_term
        return (term, leader, self._leading is not None)

    @property
    def hard_state(self) -> HardState:
        """Term and vote, as a checkpoint of the log must keep them."""
        return HardState(self._standing.term, self._standing.vote)

    @property
    def committed(self) -> int:
        """Known to be committed; handed out only as far as this replica's own disk holds it."""
        return self._log.committed

    @property
    def applied(self) -> int:
        """What the state machine holds."""
        return self._log.applied

    @property
    def persisted_index(self) -> int:
        """What is on this replica's disk."""
        return self._log.persisted

    @property
    def start(self) -> EntryId:
        """The entry before the first one held in memory."""
        return self._log.start

    @property
    def first_index(self) -> int:
        """The index of the first entry held in memory, if any is."""
        return self._log.start.index + 1

    @property
    def last(self) -> EntryId:
        """The last entry, on disk or not."""
        return self._log.last

    @property
    def tail_bytes(self) -> int:
        """Memory that the entries held take."""
        return self._log.tail_bytes

    @property
    def uncommitted_bytes(self) -> int:
        """Bytes of the entries that are not committed: above a bound the owner answers Overloaded."""
        return self._log.uncommitted_bytes

    @property
    def has_learners(self) -> bool:
        """Whether somebody in the group is catching up."""
        return bool(self.membership.learners)

    def has_ready(self) -> bool:
        """Whether `ready` may have something to say. A busy leader is asked in many turns in which it has not."""
        out = self._out
        if out.messages or out.promises or out.snapshots or self._standing.is_new or self._log.has_work:
            return True
        return self._leading is not None and self._leading.may_speak()

    # Reads

    def holds_lease(self) -> bool:
        """Whether a read of the applied state is linearizable at the last tick's time (rules 8 and 10)."""
        return self._leading is not None and self._leading.holds_lease(self._patience.now_ms)

    def holds_lease_at(self, now_ms: int) -> bool:
        """Whether it would say so at that time, if nothing came in between."""
        return self._leading is not None and self._leading.holds_lease(now_ms)

    def read_state(self, ticket: ReadTicket) -> ReadState:
        """Whether the read may be answered from the applied state now."""
        if self._leading is None or ticket.term != self.term:
            return ReadState.LOST
        return self._leading.read_state(ticket)

    def fresh_as_of_ms(self) -> int | None:
        """The moment, on this clock, as of which the applied state is complete (rule 19); None: not known."""
        if self.holds_lease():
            return self._patience.now_ms
        return self._freshness.as_of_ms(self._log.applied)

    # The tail of the log

    def suffix(self, after: int) -> tuple[Entry, ...]:
        """The entries held with index > `after`."""
        return tuple(self._log.slice(after, self._log.last.index))

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None if it is not held."""
        return self._log.term_at(index)

    def wants_snapshot(self, snapshot: EntryId) -> bool:
        """Whether one as of this entry brings anything (rule 21)."""
        return not self.removed and self._log.committed < snapshot.index and not self._log.holds(snapshot)

    def log_bytes_between(self, after: int, until: int) -> int | None:
        """Bytes of the entries with after < index <= until; None if some of them are no longer held. For checkers."""
        return self._log.bytes_between(after, until) if after >= self._log.start.index else None

    @property
    def hears_leader(self) -> bool:
        """Whether a leader has spoken to it within an election timeout."""
        return self._patience.hears_leader

    # What a leader knows of the members

    def progress(self) -> tuple[tuple[ReplicaId, int], ...]:
        """Leader: each member and the last index known to be on its disk. Else empty."""
        if self._leading is None:
            return ()
        members = (*self.membership.voters, *self.membership.learners)
        return tuple((member.replica, self._held_by(self._leading, member.replica)) for member in members)

    def holders(self, index: int) -> tuple[ReplicaId, ...]:
        """Leader: the voters known to hold everything up to `index` on disk. Else empty."""
        leading = self._leading
        if leading is None:
            return ()
        own, peers = self.id, leading.peers
        held = self._log.persisted
        voters = [member.replica for member in self.membership.voters]
        return tuple([one for one in voters if (held if one == own else peers[one].match) >= index])

    def quorum_without(self, member: ReplicaId, kept: int = 0) -> bool:
        """Leader: whether without `member` a quorum, and `kept`, of voters that answer and have caught up remain."""
        return self._leading is not None and self._leading.quorum_without(member, kept, self._patience.now_ms)

    @property
    def is_parting(self) -> bool:
        """Whether an entry that changes which keys are served is in its log, and not applied yet."""
        return bool(self._log.splits)

    @property
    def is_level(self) -> bool:
        """Leader: whether each voter has all of the log on disk, and this replica, too."""
        last = self._log.last.index
        return bool(self._leading) and all(held == last for _, held in self.progress())

    def objection_to_split(self) -> str | None:
        """Leader: why a split may not begin now, for it must find the members that it was made for; None if it may."""
        if self._leading is None:
            return "this replica does not lead"
        if self._log.splits:
            return "it is being split or merged"
        return self._leading.objection("split", self.id, 0, self._patience.now_ms)

    def short_of_room(self) -> bool:
        """Leader: whether too few of the voters that answer have room on their disks for more (rule 6)."""
        return self._leading is not None and self._leading.short_of_room(self._patience.now_ms)

    def full_members(self) -> list[ReplicaId]:
        """Leader: who said that its disk is full. They get no entries while others can do without them."""
        return [] if self._leading is None else self._leading.full_members()

    # Members

    def _knows(self, replica: ReplicaId) -> bool:
        """Whether the replica belongs to this group, as far as is known here (an empty learner knows nothing yet).

        Changes that are in the log count: of two voters left, one may know the other only from there.
        """
        if not self.membership.version or find(self.membership, replica) is not None:
            return True
        return self._in_changes(replica) is not None

    def _in_changes(self, replica: ReplicaId) -> Member | None:
        for index in self._log.changes:
            for entry in self._log.slice(index - 1, index):
                member = find(decode_membership(entry.payload), replica)
                if member is not None:
                    return member
        return None

    def _would_vote(self, request: VoteRequest) -> bool:
        """Whether the candidate may have this replica's vote in the request's term.

        One without state never votes: it may be let go at any time, and made anew by a split that is applied late. Nor
        does it lack anything that it ever promised to keep.
        """
        own = self._standing
        free = own.vote == request.sender or (own.vote == NOBODY and self.leader == NOBODY)
        last = EntryId(request.last_index, request.last_term)
        fits = up_to_date(last, self._log.last) and (free or request.term > own.term)
        return fits and bool(self.membership.version)

    def _electable(self) -> bool:
        """Whether it may campaign: a voter, with no committed change of membership still to take effect (rule 11)."""
        changes = self._log.changes
        return self.id in self._voters and not self.removed and not (changes and changes[0] <= self._log.committed)

    def _held_by(self, leading: Leadership, member: ReplicaId) -> int:
        return self._log.persisted if member == self.id else leading.peers[member].match


def voter_ids(membership: Membership) -> frozenset[ReplicaId]:
    """The voters by id."""
    return frozenset(member.replica for member in membership.voters)
