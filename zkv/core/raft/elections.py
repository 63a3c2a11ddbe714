"""Elections: what a replica has promised, how long it is patient, and who voted (Raft 5.2, 5.4.1, 9.6; rules 7, 9)."""

from enum import Enum

from zkv.core.raft.messages import HardState
from zkv.core.raft.quorum import majority
from zkv.core.raft.reads import NEVER_MS
from zkv.core.raft.ready import EntryId, Rng, Timing
from zkv.ids import ReplicaId

NOBODY = ReplicaId(0)
FOREVER_MS = 10**15  # after any clock reading


class Role(Enum):
    """What a replica is at the moment. Learners are followers that never campaign."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1  # asks whether it would be elected, and disturbs nobody
    CANDIDATE = 2
    LEADER = 3


class Birth(Enum):
    """How a replica came to be in this process; `bool` says whether it has never answered anybody (rule 9)."""

    RESTARTED = 0
    CREATED = 1  # by an order, all of its group together: whoever is first leads
    PARTED = 2  # by a split, and another one is called to lead
    CALLED = 3  # by a split, beside the leader: it campaigns at once

    def __bool__(self) -> bool:
        return self is not Birth.RESTARTED


class Standing:
    """Term and vote, and how far they are on disk. The term never falls; there is one vote in a term."""

    __slots__ = ("_durable_term", "_handed_term", "is_new", "term", "vote")

    def __init__(self, hard_state: HardState) -> None:
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.is_new = False
        self._handed_term = hard_state.term
        self._durable_term = hard_state.term

    @property
    def durable(self) -> bool:
        """Whether the present term is on disk."""
        return self._durable_term == self.term

    @property
    def durable_term(self) -> int:
        """The latest term that is on disk."""
        return self._durable_term

    def enter(self, term: int) -> None:
        """Go to a later term, with no vote given in it."""
        assert term > self.term, f"the term would fall from {self.term} to {term}"
        self.term = term
        self.vote = NOBODY
        self.is_new = True

    def give(self, candidate: ReplicaId) -> None:
        """Vote in the present term."""
        assert self.vote in (NOBODY, candidate), f"two votes in term {self.term}: {self.vote} and {candidate}"
        if self.vote != candidate:
            self.vote = candidate
            self.is_new = True

    def to_write(self) -> HardState | None:
        """What to put on disk, once for each change."""
        if not self.is_new:
            return None
        self.is_new = False
        self._handed_term = self.term
        return HardState(term=self.term, vote=self.vote)

    def flushed(self, term: int) -> bool:
        """What was handed out in `term` is on disk. False, and no effect, if another term has begun since."""
        if term != self.term or term != self._handed_term:
            return False
        self._durable_term = term
        return True


class Patience:
    """The clock as `tick` brought it, and how long this replica waits before it campaigns.

    `heard_ms` is when it last heard a leader: until an election timeout later it refuses votes, which is what
    leases rest on. A start counts as hearing one, for the leader of before may still hold a lease that this
    replica's answer carried (rule 9).
    """

    __slots__ = ("_eager_until_ms", "_rng", "_timing", "_wait_ms", "deadline_ms", "heard_ms", "now_ms")

    def __init__(self, timing: Timing, rng: Rng, now_ms: int, *, birth: Birth, alone: bool) -> None:
        """`alone`: the only voter, which need not wait for anybody."""
        self._timing = timing
        self._rng = rng
        self.now_ms = now_ms
        self.heard_ms = NEVER_MS if birth else now_ms
        self._eager_until_ms = now_ms + timing.election_ms_min if birth is Birth.CALLED else now_ms
        self.restart()
        if alone or birth is Birth.CALLED:
            self.deadline_ms = now_ms
        elif birth is Birth.CREATED:
            self.deadline_ms = now_ms + rng.randrange(timing.heartbeat_ms, timing.election_ms_min)

    @property
    def hears_leader(self) -> bool:
        """Whether a leader was heard within the shortest election timeout."""
        return self.now_ms - self.heard_ms < self._timing.election_ms_min

    @property
    def ended(self) -> bool:
        """Whether the election timeout has passed."""
        return self.now_ms >= self.deadline_ms

    @property
    def due_ms(self) -> int:
        """When `tick` is next needed: at the deadline, and often enough to tell a stop of the process from silence."""
        return min(self.deadline_ms, self.now_ms + self._timing.election_ms_min // 4)

    @property
    def due_asleep_ms(self) -> int:
        """The same for who waits for no heartbeat: as ever until the leader's lease is surely over, then at no time."""
        return self.now_ms + self._timing.election_ms_min // 4 if self.hears_leader else FOREVER_MS

    def advance(self, now_ms: int) -> bool:
        """The clock says `now_ms`; it never goes back. Whether the process must have been stopped in between.

        After a stop, what arrived meanwhile is still in the queue and goes first: the deadline moves. Nor may it have
        been a stop, but a clock that jumped: whom this replica heard before it, it goes on hearing (rule 9).
        """
        elapsed_ms = now_ms - self.now_ms
        if elapsed_ms <= self._timing.election_ms_min // 2:
            if elapsed_ms > 0:
                self.now_ms = now_ms
            return False
        heard = self.hears_leader
        self.now_ms = now_ms
        wait_ms = 2 * self._timing.heartbeat_ms
        if heard:
            self.heard_ms = self.now_ms
            wait_ms = self._timing.election_ms_min  # its own vote would end that leader's lease as well as another's
        self.deadline_ms = max(self.deadline_ms, self.now_ms + wait_ms)
        return True

    def hear(self) -> None:
        """A leader spoke."""
        self.heard_ms = self.now_ms
        self.deadline_ms = self.now_ms + self._wait_ms

    def ask_again(self) -> None:
        """Ask around again, unless a leader is heard. Who was called to lead does so soon: the others are just being
        born, and asking disturbs nobody."""
        if self.now_ms < self._eager_until_ms:
            self.deadline_ms = self.now_ms + self._timing.heartbeat_ms // 4
        else:
            self.retry_soon()

    def retry_soon(self) -> None:
        """Campaign in half a timeout or more, unless a leader is heard: one is missing already.

        Nor before a timeout after one was heard: its own vote counts as another's would (rule 9).
        """
        shortest = self._timing.election_ms_min
        wait_ms = self._rng.randrange(shortest // 2, shortest)
        self.deadline_ms = max(self.now_ms + wait_ms, self.heard_ms + shortest)

    def restart(self) -> None:
        """Wait anew, for a freshly drawn time: equal times would split votes for ever (Raft 5.2)."""
        shortest = self._timing.election_ms_min
        self._wait_ms = self._rng.randrange(shortest, 2 * shortest)
        self.deadline_ms = self.now_ms + self._wait_ms


class Tally:
    """Answers to one campaign, by voter; the first answer of each counts."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        self._answers: dict[ReplicaId, bool] = {}

    def count(self, voter: ReplicaId, *, granted: bool) -> None:
        """One answer."""
        self._answers.setdefault(voter, granted)

    def won(self, voters: frozenset[ReplicaId]) -> bool:
        """Whether a majority of `voters` granted."""
        return sum(self._answers.get(voter, False) for voter in voters) >= majority(len(voters))

    def lost(self, voters: frozenset[ReplicaId]) -> bool:
        """Whether so many refused that no majority is left."""
        refused = sum(not self._answers.get(voter, True) for voter in voters)
        return refused > len(voters) - majority(len(voters))


def up_to_date(candidate: EntryId, own: EntryId) -> bool:
    """Whether a log ending in `candidate` may lead one ending in `own`: the later term wins, then the longer log."""
    return (candidate.term, candidate.index) >= (own.term, own.index)


def ahead(candidate: EntryId, own: EntryId) -> bool:
    """Whether a log ending in `candidate` holds what one ending in `own` lacks, if it may lead it."""
    return candidate != own and up_to_date(candidate, own)
