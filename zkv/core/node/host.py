"""All replicas of one process: steps them, gathers one log batch a turn, applies what committed.

A turn: `tick` (with a clock read after the last message was received: rule 8), `step` for each message, proposals
through the replicas, then `turn`, which says what to send, write and flush. The owner does that, in the order in which
`Effects` lists it, and reports each flush with `persisted`. Nothing here does anything to the world.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter

from zkv import limits
from zkv.core.cluster.frames import PeerMessage
from zkv.core.node.contracts import RecoveredReplica
from zkv.core.node.residents import FIRST, UNVOTED, Address, Effects, Hosted, LostState, M, Residents
from zkv.core.raft.elections import Birth, Role
from zkv.core.raft.messages import (
    AppendRequest,
    Entry,
    EntryKind,
    LogBatch,
    LogItem,
    Member,
    RaftMessage,
    VoteRequest,
)
from zkv.core.raft.ready import EntryId, Ready, Rng, Timing
from zkv.core.raft.replica import Replica
from zkv.core.shard import records
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.rows import Changes, Rows, numbered_key, session_key
from zkv.ids import NodeId, ReplicaId, ShardId

__all__ = ["FIRST", "Address", "Effects", "Host", "Hosted", "LostState"]

_MEMBERSHIP = int(EntryKind.MEMBERSHIP)
_SPLIT = int(EntryKind.SPLIT)
_MERGING = frozenset({int(EntryKind.ABSORB), int(EntryKind.MERGE)})
_term_of = attrgetter("term")
_SPLIT_KEPT_MS = 600_000
_IDLE_MS = 1_000
_SCAN_MS = 20  # how often all replicas are looked at for what is due, at most


class Host(Residents[M]):
    """All replicas of one process. Owned by one loop.

    `make_machine` builds a replica's machine from its rows; `apply` applies one committed entry to it.
    """

    def __init__(
        self,
        *,
        rows: Rows,
        rng: Rng,
        timing: Timing,
        make_machine: Callable[[ReplicaId, records.Descriptor], M],
        apply: Callable[[Hosted[M], Entry, Changes], None],
    ) -> None:
        super().__init__(rows=rows, rng=rng, timing=timing, make_machine=make_machine)
        self.unknown_messages = 0
        self.held_back: dict[ReplicaId, int] = {}  # what learners will need lies above it
        self._scan_at = 0  # when some replica is due
        self._scan_not_before = 0
        self._grown = True  # tails are to be measured
        self._held: dict[ReplicaId, EntryId] = {}  # of a checkpoint that is being made
        self._senders: dict[ReplicaId, NodeId] = {}
        self.parted: list[tuple[ShardId, ShardInfo]] = []  # in the last turn: shards, and what was split off
        self._split_at: dict[ReplicaId, tuple[int, int]] = {}  # the last split in its log, and until when it is kept
        self._apply = apply

    def load(self, recovered: Mapping[ReplicaId, RecoveredReplica], now_ms: int) -> None:
        """Take up what the folder holds. Raises LostState where that is less than what was promised."""
        super().load(recovered, now_ms)
        for hosted in self.hosted.values():
            for entry in hosted.replica.suffix(0):
                if entry.kind == _SPLIT:
                    self._split_at[hosted.replica.id] = (entry.index, self.now_ms + _SPLIT_KEPT_MS)

    # The turn ---------------------------------------------------------------------------------------------------

    @property
    def turns(self) -> int:
        """The number of the turn that runs, or comes next."""
        return self._turn

    def tick(self, now_ms: int) -> None:
        """Begin a turn: set `self.now_ms`, from a clock that was read after the last message was received."""
        self.now_ms, turned_back = self.clock.read(now_ms)
        if turned_back:
            for hosted in self.hosted.values():
                self.touch(hosted).distrust_clock()
        now_ms = self.now_ms
        if now_ms < self._scan_at:
            return
        self._scan_at = now_ms + _IDLE_MS
        self._scan_not_before = now_ms + _SCAN_MS
        for hosted in self.hosted.values():
            due_ms = hosted.replica.next_deadline_ms()
            if hosted.frozen:
                continue
            if due_ms <= now_ms:
                self.touch(hosted)
            else:
                self._scan_by(due_ms)
        if self._grown:
            self._shorten_tails()

    def _scan_by(self, due_ms: int) -> None:
        """Some replica has something to do then."""
        if due_ms < self._scan_at:
            self._scan_at = max(due_ms, self._scan_not_before)

    def step(self, message: RaftMessage, sender: NodeId) -> None:
        """One message from a replica on `sender`, already known to be meant for this incarnation."""
        hosted = self._by_replica.get(message.target)
        if hosted is None and isinstance(message, AppendRequest):
            hosted = self._learner(message.shard, message.target)
        if hosted is None or hosted.frozen:
            self.unknown_messages += 1
            return
        if type(message) is AppendRequest or type(message) is VoteRequest:
            self._senders[message.sender] = sender
        self.touch(hosted).step(message)

    def turn(self) -> tuple[Effects, list[tuple[Hosted[M], Member]]]:
        """End the turn: what to do now, and which members need a snapshot of which replica."""
        wanted: list[tuple[Hosted[M], Member]] = []
        touched, self._touched = self._touched, []
        self._turn += 1
        self.parted.clear()
        for hosted in touched:
            replica = hosted.replica
            while not hosted.frozen and not hosted.gone and replica.has_ready():
                ready = replica.ready()
                if ready.snapshots:
                    wanted += [(hosted, member) for member in ready.snapshots]
                if not self._settle(hosted, ready):
                    break
                self.stirred = True
            standing = replica.standing
            if standing != hosted.standing:
                hosted.standing = standing
                self.stirred = True
            if self._scan_at > self._scan_not_before:
                self._scan_by(replica.next_deadline_ms())
        for machine in self._unfinished.values():
            machine.finish(self.effects.changes)
        self._unfinished.clear()
        effects, self.effects = self.effects, Effects()
        effects.log = self.pipeline.take()
        return effects, wanted

    def persisted(self) -> None:
        """The flush of the last `Effects.log` is done."""
        flush = self.pipeline.finished()
        for replica, (term, last) in flush.marks.items():
            hosted = self._by_replica.get(replica)
            if hosted is not None:
                self.touch(hosted).persisted(term, last)
        for member, message in flush.promises:
            self.send(member, message)
        for action in flush.then:
            action()

    def next_deadline_ms(self) -> int:
        """When `tick` next has something to do, if nothing comes first; in the time of `now_ms`."""
        return self._scan_at

    def send(self, member: Member, message: PeerMessage) -> None:
        """Put a message among this turn's. Who is not yet known as a member is known by having been heard from."""
        if not member.node:
            member = Member(member.replica, self._senders.get(member.replica, NodeId("")), 0)
        address = (member.node, member.incarnation)
        messages = self.effects.messages.get(address)
        if messages is None:
            self.effects.messages[address] = [message]
        else:
            messages.append(message)

    def _settle(self, hosted: Hosted[M], ready: Ready) -> bool:
        """Do what the replica wants done. Returns whether more may be ready by that: its members have changed."""
        replica = hosted.replica
        if ready.entries or ready.hard_state:
            item = LogItem(replica.id, None, ready.hard_state, tuple(ready.entries), replica.committed)
            self.pipeline.add(item, (replica.term, replica.last))
            self._grown = True
        for member, message in ready.messages:
            self.send(member, message)
        for promise in ready.promises:
            if not self.pipeline.promise(promise):
                self.send(*promise)
        if not ready.committed:
            return False
        machine = hosted.machine
        assert machine is not None, "a learner got entries before its snapshot"
        members_changed = False
        for entry in ready.committed:
            self._apply(hosted, entry, self.effects.changes)
            members_changed = members_changed or entry.kind == _MEMBERSHIP
            if entry.kind == _SPLIT:
                self._split_at[replica.id] = (entry.index, self.now_ms + _SPLIT_KEPT_MS)
                self._part(hosted, machine)
            elif entry.kind in _MERGING:
                self.effects.drops += machine.after_merge_entry(self.new_space)
                self.stirred = True
        self._unfinished[replica.id] = machine
        replica.applied_to(ready.committed[-1].index)
        if not members_changed:
            return False
        # A restart must know these members: who was removed is deleted once enough of the others do.
        self.pipeline.add(LogItem(replica.id, commit=replica.committed))
        return True

    def _part(self, hosted: Hosted[M], machine: M) -> None:
        """Bring into being what a split has cut off: its descriptor goes with the split into one batch of the engine.

        The log knows by then that the split is committed. So it is applied again where a crash takes it back, and finds
        in the log what the new replica had by then (`Residents.load`): its birth waits for no flush of the engine.

        It may be late: others have split long ago, and a leader of the new shard has brought this replica the state
        since, or has had it deleted. Then this half of the rows is nobody's. Without state it has promised nothing.
        """
        parted = machine.take_parted()
        if parted is None:
            return
        self.stirred = True
        shard, replica, changes = parted.info.shard, parted.replica, self.effects.changes
        held = self.hosted.get(shard)
        is_free = held is None or (held.machine is None and not held.frozen and held.replica.id == replica)
        if replica is None or not is_free or self._buried(shard, replica):
            self.effects.drops += parted.pieces.ranges(parted.info.start, parted.info.end)
            return
        hard_state = UNVOTED
        if held is not None:
            held.frozen = True
            hard_state = max(held.replica.hard_state, hard_state, key=_term_of)
        self._creating.add(replica)
        self.parted.append((hosted.shard, parted.info))
        sessions = self.new_space()
        descriptor = records.Descriptor(parted.info, parted.pieces.space, sessions, parted.pieces.more)
        changes[numbered_key(b"d", replica)] = records.encode(descriptor)
        changes[numbered_key(b"a", replica)] = records.encode(records.Applied(*FIRST, parted.counter, parted.floor))
        for client, record in parted.sessions.items():
            changes[session_key(sessions, client)] = records.encode(record)
        self.pipeline.add(LogItem(hosted.replica.id, commit=hosted.replica.committed))
        if shard in self.awaited:
            self._take_back(shard)
        else:
            birth = Birth.CALLED if hosted.replica.role is Role.LEADER else Birth.PARTED
            self._log_birth(replica, hard_state, birth)

    def _shorten_tails(self) -> None:
        """Forget applied entries beyond the budget; who still needs them gets a snapshot."""
        total = sum(hosted.replica.tail_bytes for hosted in self.hosted.values())
        self._grown = total > limits.TAIL_BYTES_PER_NODE_MAX
        if not self._grown:
            return
        share = limits.TAIL_BYTES_PER_NODE_MAX // (2 * len(self.hosted))
        for hosted in self.hosted.values():
            replica = hosted.replica
            free = self._held.get(replica.id, replica.start).index if self._held else replica.applied
            if total <= limits.LEARNING_TAIL_BYTES_MAX:
                free = min(free, self.held_back.get(replica.id, free), self._before_split(replica, free))
            while replica.tail_bytes > share and replica.start.index < free:
                replica.forget((replica.start.index + free + 1) // 2)

    def _before_split(self, replica: Replica, index: int) -> int:
        """What may be dropped, of all up to `index`: not a split that some voter may lack. A snapshot instead of it
        would bring that voter no part in the new shard, whose group might then be too few, should it lose another."""
        split, until_ms = self._split_at.get(replica.id, (0, 0))
        matches = [match for _, match in replica.progress()]
        is_everywhere = bool(matches) and min(matches) >= split
        if is_everywhere or split <= replica.start.index or self.now_ms >= until_ms:
            self._split_at.pop(replica.id, None)
            return index
        return min(index, split - 1)

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def points(self) -> dict[ReplicaId, EntryId]:
        """Applied indexes, read before the engine is flushed (rule 5). What follows them stays in memory until then."""
        self._held = {
            hosted.replica.id: hosted.machine.applied for hosted in self.hosted.values() if hosted.machine is not None
        }
        return self._held

    def checkpoint(self, points: Mapping[ReplicaId, EntryId]) -> LogBatch:
        """All that the log must still hold once the engine has flushed everything up to `points`."""
        items = []
        self._held = {}
        for hosted in self.hosted.values():
            replica = hosted.replica
            # A replica that was created or got a snapshot since then flushed the engine itself, up to its log's start.
            start = max(points.get(replica.id, replica.start), replica.start)
            kept = self._before_split(replica, start.index)
            term, size = replica.term_at(kept), replica.log_bytes_between(kept, start.index)
            if term is not None and size is not None and size <= limits.SPLIT_KEPT_BYTES_MAX:
                start = EntryId(kept, term)
            items.append(
                LogItem(
                    replica.id,
                    start=start,
                    hard_state=replica.hard_state,
                    entries=replica.suffix(start.index),
                    commit=replica.committed,
                )
            )
        for own, log in self.awaited.values():
            start = EntryId(*log.start)
            items.append(
                LogItem(own, start=start, hard_state=log.hard_state, entries=tuple(log.entries), commit=log.commit)
            )
        return LogBatch(tuple(items))
