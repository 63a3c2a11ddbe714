"""A Raft group in one process: replicas, each with a disk and a state machine, and a network between them.

It does what the owner of a replica does, one flush in flight at most, and nothing by itself: whoever drives it says
when messages arrive, flushes end, clocks move and processes die.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from zkv.core.raft.membership import decode_membership
from zkv.core.raft.messages import Entry, EntryKind, HardState, Member, Membership, RaftMessage
from zkv.core.raft.ready import EntryId, Ready, Rng, Timing
from zkv.core.raft.replica import Replica, Role
from zkv.ids import NodeId, ReplicaId, ShardId

SHARD = ShardId(7)
STREAM_MS_MAX = 3_000  # a snapshot that is not answered by then is given up


def member(number: int) -> Member:
    """Replica 3 lives on node3."""
    return Member(replica=ReplicaId(number), node=NodeId(f"node{number}"), incarnation=number)


def membership(voters: Iterable[int], learners: Iterable[int] = (), version: int = 1) -> Membership:
    """By numbers alone."""
    return Membership(version, tuple(map(member, voters)), tuple(map(member, learners)))


@dataclass
class Snapshot:
    """A state machine's state on its way to a member."""

    shard: ShardId
    sender: ReplicaId
    target: ReplicaId
    last: EntryId
    membership: Membership
    history: list[Entry]


@dataclass
class Installed:
    """The answer to a Snapshot."""

    sender: ReplicaId
    target: ReplicaId
    index: int
    installed: bool


Mail = RaftMessage | Snapshot | Installed


@dataclass
class Flush:
    """What one flush puts on disk, and what leaves after it."""

    hard_state: HardState | None = None
    entries: list[Entry] = field(default_factory=list)
    commit: int = 0
    mark: tuple[int, EntryId] | None = None
    promises: list[RaftMessage] = field(default_factory=list)


@dataclass
class Disk:
    """What survives a crash."""

    start: EntryId = field(default_factory=lambda: EntryId(0, 0))
    hard_state: HardState = field(default_factory=lambda: HardState(0, ReplicaId(0)))
    entries: list[Entry] = field(default_factory=list)
    commit: int = 0

    def write(self, flush: Flush) -> None:
        """One durable batch: an entry cancels everything at or above its index (rule 2)."""
        self.hard_state = flush.hard_state or self.hard_state
        for entry in flush.entries:
            del self.entries[max(entry.index - self.start.index - 1, 0) :]
            self.entries.append(entry)
        self.commit = max(self.commit, flush.commit)

    def holds(self, index: int, term: int) -> bool:
        """Whether that entry is safe here."""
        if index <= self.start.index:
            return True
        place = index - self.start.index - 1
        return place < len(self.entries) and self.entries[place].term == term


class Process:
    """One replica with its disk and state machine. `sent` is filled for whoever carries the mail."""

    def __init__(self, number: int, first: Membership, *, timing: Timing, rng: Rng) -> None:
        self.id = ReplicaId(number)
        self.disk = Disk()
        self.first = first
        self.history: list[Entry] = []  # what the state machine applied, from index 1
        self.applied = 0
        self.sent: list[Mail] = []
        self.alive = False
        self._timing = timing
        self._rng = rng

    def start(self, now_ms: int) -> None:
        """From what the disk holds; the engine remembers everything up to `applied`."""
        self.now_ms = now_ms
        self.gathering = Flush()
        self.running: Flush | None = None
        self.sent = []
        self.streams: dict[ReplicaId, int] = {}  # snapshots on their way, and until when they may be
        self.alive = True
        self.replica = Replica(
            id=self.id,
            shard=SHARD,
            hard_state=self.disk.hard_state,
            membership=self.membership_at(self.applied),
            start=self.disk.start,
            entries=self.disk.entries,
            commit=max(self.disk.commit, self.applied),
            applied=self.applied,
            timing=self._timing,
            rng=self._rng,
            now_ms=now_ms,
        )

    def membership_at(self, index: int) -> Membership:
        """As the state machine knows it there."""
        changes = [entry for entry in self.history[:index] if entry.kind == EntryKind.MEMBERSHIP]
        return decode_membership(changes[-1].payload) if changes else self.first

    def crash(self, *, applied: int) -> None:
        """Lose all that was not flushed; the engine falls back to `applied`."""
        self.alive = False
        self.gathering, self.running = Flush(), None
        self.sent = []
        self.applied = max(self.disk.start.index, min(applied, self.applied))
        del self.history[self.applied :]

    def step(self, mail: Mail) -> None:
        """One arrival."""
        match mail:
            case Snapshot():
                self._install(mail)
            case Installed():
                self._on_installed(mail)
            case _:
                self.replica.step(mail)

    def tick(self, now_ms: int) -> None:
        """Its clock says so."""
        self.now_ms = now_ms
        self.replica.tick(now_ms)

    def settle(self) -> list[Ready]:
        """Do what the replica wants done, flushes apart; what that was."""
        done = []
        for peer in [peer for peer, until_ms in self.streams.items() if until_ms <= self.now_ms]:
            del self.streams[peer]
            self.replica.snapshot_failed(peer)
        while ready := self.replica.ready():
            done.append(ready)
            self.sent += [message for _, message in ready.messages]
            if ready.hard_state or ready.entries:
                self._gather(ready)
            waiting = self.gathering if self.gathering.mark else self.running
            promises = [message for _, message in ready.promises]
            if waiting is not None:
                waiting.promises += promises
            else:
                self.sent += promises
            for entry in ready.committed:
                assert entry.index == len(self.history) + 1, f"{self.id} was given {entry} after {len(self.history)}"
                self.history.append(entry)
            if ready.committed:
                self.applied = ready.committed[-1].index
                self.replica.applied_to(self.applied)
            for one in ready.snapshots:
                self.streams[one.replica] = self.now_ms + STREAM_MS_MAX
                self.sent.append(self._snapshot(one))
        if self.running is None and self.gathering.mark:
            self.running, self.gathering = self.gathering, Flush()
        return done

    def flush(self) -> list[RaftMessage]:
        """The flush in flight ends well; the promises that leave now."""
        done = self.running
        assert done is not None, f"no flush of {self.id} is in flight"
        self.running = None
        self.disk.write(done)
        assert done.mark is not None
        self.replica.persisted(*done.mark)
        self.sent += done.promises
        return done.promises

    def checkpoint(self, index: int) -> None:
        """The log on disk begins after an applied entry."""
        index = min(index, self.applied)
        term = self.replica.term_at(index)
        if term is None or index <= self.disk.start.index:
            return
        del self.disk.entries[: index - self.disk.start.index]
        self.disk.start = EntryId(index, term)

    def _gather(self, ready: Ready) -> None:
        flush = self.gathering
        flush.hard_state = ready.hard_state or flush.hard_state
        flush.entries += ready.entries
        flush.commit = self.replica.committed
        flush.mark = (self.replica.term, self.replica.last)

    def _snapshot(self, to: Member) -> Snapshot:
        term = self.replica.term_at(self.applied)
        assert term is not None
        last = EntryId(self.applied, term)
        return Snapshot(SHARD, self.id, to.replica, last, self.replica.membership, list(self.history))

    def _on_installed(self, answer: Installed) -> None:
        if self.streams.pop(answer.sender, None) is None:
            return
        if answer.installed:
            self.replica.snapshot_sent(answer.sender, answer.index)
        else:
            self.replica.snapshot_failed(answer.sender)

    def _install(self, snapshot: Snapshot) -> None:
        wanted = self.replica.role is not Role.LEADER and self.replica.wants_snapshot(snapshot.last)
        if wanted:
            self.gathering, self.running = Flush(), None  # its promises are void; they come again
            self.disk = Disk(snapshot.last, self.replica.hard_state, [], snapshot.last.index)
            self.history = list(snapshot.history)
            self.applied = snapshot.last.index
            self.replica.restore(snapshot.last, snapshot.membership)
        self.sent.append(Installed(self.id, snapshot.sender, snapshot.last.index, wanted))


class Group:
    """Processes and the mail between them, under one clock."""

    def __init__(self, voters: Iterable[int], *, timing: Timing | None = None, seed: int | None = None) -> None:
        self.now_ms = 10_000
        self.timing = timing or Timing(tell_ms=10)
        self.seed = seed
        self.first = membership(voters)
        self.mail: list[Mail] = []
        self.processes: dict[int, Process] = {}
        for one in self.first.voters:
            self.add(one.replica, self.first)

    def add(self, number: int, first: Membership | None = None) -> Process:
        """A process more; without a membership it is an empty learner."""
        rng: Rng = Steady(number) if self.seed is None else random.Random(self.seed * 1000 + number)
        process = Process(number, first or membership((), version=0), timing=self.timing, rng=rng)
        process.start(self.now_ms)
        self.processes[number] = process
        return process

    def collect(self, process: Process) -> list[Mail]:
        """Put what it sent into the mail; what that was."""
        sent, process.sent = process.sent, []
        self.mail += sent
        return sent


class Steady:
    """No chance: replica n waits n tenths of the range longer than the shortest time."""

    def __init__(self, number: int) -> None:
        self._number = number

    def randrange(self, start: int, stop: int) -> int:
        return start + self._number * (stop - start) // 10
