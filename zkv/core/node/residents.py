"""Which replicas live in a process: births, deaths, snapshots going live, and what a restart finds (rules 1, 20-22).

Each of these is a chain of durable steps: rows first, then the log, or a tombstone first, then the log. A crash between
two of them is made good at the next start (`load`). What a split brings into being needs no such chain: its log may be
ahead of the engine, for the split itself is in the log of the replica that was split.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from zkv.core.cluster.frames import PeerMessage
from zkv.core.node.awaited import Awaited, awaited
from zkv.core.node.contracts import Machine, RecoveredReplica, gaps, holds
from zkv.core.node.drafts import Drafts
from zkv.core.node.pipeline import Pipeline
from zkv.core.node.steady import SteadyClock
from zkv.core.raft.elections import Birth
from zkv.core.raft.messages import Entry, HardState, LogBatch, LogItem, Membership
from zkv.core.raft.ready import EntryId, Rng, Timing
from zkv.core.raft.replica import Replica
from zkv.core.shard import records
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.merge import MergeState
from zkv.core.shard.rows import Changes, Rows, numbered_key, numbered_range
from zkv.core.shard.snapshot_messages import SnapshotOffer
from zkv.ids import NodeId, ReplicaId, ShardId, Space

FIRST = EntryId(1, 1)  # where a created replica's log starts: above 0, so that an empty learner needs a snapshot

UNVOTED = HardState(FIRST.term, ReplicaId(0))

Address = tuple[NodeId, int]  # a node, and the incarnation that a message is meant for (rule 1)


M = TypeVar("M", bound=Machine)


class Hosted(Generic[M]):
    """One replica here. `machine` is None for a learner that waits for its first snapshot."""

    __slots__ = ("frozen", "gone", "machine", "replica", "shard", "since_ms", "standing", "turn")

    def __init__(self, shard: ShardId, replica: Replica, machine: M | None) -> None:
        self.shard = shard
        self.replica = replica
        self.machine = machine
        self.since_ms = 0  # when it came into being here, or was loaded
        self.turn = 0  # the last turn that touched it
        self.standing = (0, 0, False)  # term, leader and whether it leads, as of the last such turn
        self.frozen = False  # a snapshot is going live: raft messages are dropped, and come again
        self.gone = False  # destroyed


@dataclass(slots=True)
class Effects:
    """What the owner must now do, in this order."""

    messages: dict[Address, list[PeerMessage]] = field(default_factory=dict)  # to peers, at once
    bulk: dict[Address, list[PeerMessage]] = field(default_factory=dict)  # to peers, over the bulk sockets
    changes: Changes = field(default_factory=dict)  # to the engine, as one batch
    clears: list[tuple[bytes, bytes]] = field(default_factory=list)  # key ranges to delete from the engine, after that
    drops: list[tuple[bytes, bytes]] = field(default_factory=list)  # likewise, but some time: never written to again
    flush_engine: bool = False  # flush the engine, beside what follows: `engine_flush_begins`, then `engine_flushed`
    log: LogBatch | None = None  # write and flush, then call `persisted`


class LostState(Exception):
    """The folder does not hold what its replicas promised: it must not vote or acknowledge again (rule 1)."""


class Residents(Generic[M]):
    """The replicas of one process: who lives here, and how they come, go, and take over a snapshot.

    `make_machine` builds a replica's machine from its rows.
    """

    def __init__(
        self,
        *,
        rows: Rows,
        rng: Rng,
        timing: Timing,
        make_machine: Callable[[ReplicaId, records.Descriptor], M],
    ) -> None:
        self.rows = rows
        self.rng = rng
        self.now_ms = 0
        self.clock = SteadyClock()
        self.hosted: dict[ShardId, Hosted[M]] = {}
        self.effects = Effects()
        self.pipeline = Pipeline()
        self.drafts = Drafts(rows)
        self.destroyed: list[tuple[ShardId, ReplicaId]] = []  # durably gone since the owner last looked
        self.stirred = True  # some replica's term, leader, role or members have changed since the owner last looked
        self._timing = timing
        self._make_machine = make_machine
        self._turn = 1
        self._touched: list[Hosted[M]] = []
        self._unfinished: dict[ReplicaId, M] = {}
        self._after_engine: list[Callable[[], None]] = []
        self._after_this_flush: list[Callable[[], None]] = []  # of the engine, which runs
        self._by_replica: dict[ReplicaId, Hosted[M]] = {}
        self._tombstones: dict[ShardId, set[ReplicaId]] = {}
        self._creating: set[ReplicaId] = set()
        self._dying: set[ReplicaId] = set()
        self.awaited: Awaited = {}  # until it is empty, nothing may happen to who is to bring them back
        self._next_space = 1

    def touch(self, hosted: Hosted[M]) -> Replica:
        """The replica, brought to the turn's time; it will be settled at the turn's end."""
        if hosted.turn != self._turn:
            hosted.turn = self._turn
            hosted.replica.tick(self.now_ms)
            self._touched.append(hosted)
        return hosted.replica

    def engine_flush_begins(self) -> None:
        """A flush of the engine begins, of all that `Effects.changes` has said so far. There is one at a time; until
        its end, and that of the next if one is wanted, no checkpoint is taken."""
        self._after_this_flush, self._after_engine = self._after_engine, []

    def engine_flushed(self) -> None:
        """The flush is done: what it covers is on disk."""
        actions, self._after_this_flush = self._after_this_flush, []
        for action in actions:
            action()

    # Birth and death of replicas ----------------------------------------------------------------------------------

    def create(self, replica: ReplicaId, info: ShardInfo) -> bool:
        """Bring a replica of a new shard into being: rows on disk, then its log. False: it is, or may not (rule 22)."""
        if info.shard in self.hosted or self._buried(info.shard, replica) or replica in self._creating:
            return False
        self._creating.add(replica)
        space = self.new_space()
        changes = self.effects.changes
        changes[numbered_key(b"d", replica)] = records.encode(records.Descriptor(info, space))
        changes[numbered_key(b"a", replica)] = records.encode(records.Applied(*FIRST, 0, b"\0" * 6))
        self.after_engine_flush(lambda: self._log_birth(replica))
        return True

    def destroy(self, hosted: Hosted[M]) -> None:
        """Delete the replica and its rows: tombstone on disk first, then its log. Told in `destroyed` when done."""
        replica = hosted.replica.id
        hosted.gone = True
        self._dying.add(replica)
        self.hosted.pop(hosted.shard, None)
        self._by_replica.pop(replica, None)
        self._unfinished.pop(replica, None)
        changes = self.effects.changes
        changes[numbered_key(b"t", hosted.shard) + replica.to_bytes(8, "big")] = b""
        self._tombstones.setdefault(hosted.shard, set()).add(replica)
        for kind in (b"d", b"a"):
            changes[numbered_key(kind, replica)] = None
        if hosted.machine is not None:
            self._drop_state(hosted.machine)
        self.drop_draft(replica)
        self.after_engine_flush(lambda: self._log_death(hosted.shard, replica))

    def forget_empty(self, hosted: Hosted[M]) -> None:
        """Let a learner without state go: it has promised nothing, and is made anew if a leader still speaks to it."""
        hosted.gone = True
        self.hosted.pop(hosted.shard, None)
        self._by_replica.pop(hosted.replica.id, None)
        self.pipeline.add(LogItem(hosted.replica.id, gone=True))

    def after_engine_flush(self, action: Callable[[], None]) -> None:
        """Ask for a flush of the engine that covers this turn's changes, and do this then."""
        self.effects.flush_engine = True
        self._after_engine.append(action)

    def new_space(self) -> Space:
        """A space number that was never used here (rule 20)."""
        space, self._next_space = Space(self._next_space), self._next_space + 1
        self.effects.changes[b"n"] = self._next_space.to_bytes(8, "big")
        return space

    def drop_space(self, space: int) -> None:
        """Delete all rows and sessions of a space."""
        self.effects.drops += [numbered_range(b"r", space), numbered_range(b"s", space)]

    def drop_draft(self, replica: ReplicaId) -> None:
        """Delete what a snapshot has brought of that replica so far, if there is anything."""
        space = self.drafts.end(replica, self.effects.changes)
        if space is not None:
            self.drop_space(space)

    def _drop_state(self, machine: M) -> None:
        """Delete a replica's rows and sessions: of its space, which another may share, its own range (rule 20)."""
        self.effects.drops += machine.held_ranges()

    def replica(self, replica: ReplicaId) -> Hosted[M] | None:
        """The replica of that id, if it lives here."""
        return self._by_replica.get(replica)

    def learner_for(self, offer: SnapshotOffer) -> Hosted[M] | None:
        """The replica that a snapshot is offered to; an empty learner is made for a new id (rule 22)."""
        return self._by_replica.get(offer.target) or self._learner(offer.shard, offer.target)

    def settled(self, replica: ReplicaId) -> bool:
        """Whether nothing of that replica's birth or death is on its way to the disk."""
        return replica not in self._creating and replica not in self._dying

    def _buried(self, shard: ShardId, replica: ReplicaId) -> bool:
        return replica <= max(self._tombstones.get(shard, ()), default=0)

    def _log_birth(self, replica: ReplicaId, hard_state: HardState = UNVOTED, birth: Birth = Birth.CREATED) -> None:
        self.pipeline.add(LogItem(replica, start=FIRST, hard_state=hard_state, commit=FIRST.index))
        self.pipeline.then(lambda: self._born(replica, hard_state, birth))

    def _born(self, replica: ReplicaId, hard_state: HardState, birth: Birth) -> None:
        self._creating.discard(replica)
        if replica not in self._dying:
            self._host(replica, self._descriptor(replica), hard_state, FIRST, [], FIRST.index, birth=birth)

    def _log_death(self, shard: ShardId, replica: ReplicaId) -> None:
        self.pipeline.add(LogItem(replica, gone=True))
        self.pipeline.then(lambda: self._dead(shard, replica))

    def _dead(self, shard: ShardId, replica: ReplicaId) -> None:
        self._dying.discard(replica)
        self.destroyed.append((shard, replica))

    def _learner(self, shard: ShardId, replica: ReplicaId) -> Hosted[M] | None:
        held = self.hosted.get(shard)
        if held is not None and held.machine is None and not held.frozen and held.replica.id < replica:
            self.destroy(held)  # it was to be, and another is wanted by now
        if shard in self.hosted or self._buried(shard, replica) or replica in self._creating or shard in self.awaited:
            return None
        born = self._replica(replica, shard, HardState(0, ReplicaId(0)), Membership(0, ()), EntryId(0, 0), [], 0, 0)
        hosted: Hosted[M] = Hosted(shard, born, None)
        self.hosted[shard] = self._by_replica[replica] = hosted
        return hosted

    def _host(
        self,
        replica: ReplicaId,
        descriptor: records.Descriptor,
        hard_state: HardState,
        start: EntryId,
        entries: list[Entry],
        commit: int,
        *,
        birth: Birth = Birth.RESTARTED,
    ) -> Hosted[M]:
        machine = self._make_machine(replica, descriptor)
        info = descriptor.info
        applied = machine.applied.index
        raft = self._replica(
            replica, info.shard, hard_state, info.membership, start, entries, commit, applied, birth=birth
        )
        hosted = Hosted(info.shard, raft, machine)
        hosted.since_ms = self.now_ms
        self.hosted[info.shard] = self._by_replica[replica] = hosted
        self.touch(hosted)
        return hosted

    def _replica(  # noqa: PLR0913  # all that a disk knows of a replica
        self,
        replica: ReplicaId,
        shard: ShardId,
        hard_state: HardState,
        membership: Membership,
        start: EntryId,
        entries: list[Entry],
        commit: int,
        applied: int,
        *,
        birth: Birth = Birth.RESTARTED,
    ) -> Replica:
        return Replica(
            id=replica,
            shard=shard,
            hard_state=hard_state,
            membership=membership,
            start=start,
            entries=entries,
            commit=commit,
            applied=applied,
            timing=self._timing,
            rng=self.rng,
            now_ms=self.now_ms,
            birth=birth,
        )

    def _descriptor(self, replica: ReplicaId) -> records.Descriptor:
        stored = self.rows.get(numbered_key(b"d", replica))
        assert stored is not None, f"replica {replica} has no descriptor"
        return records.decode_descriptor(stored)

    # Snapshots going live (rule 21) -------------------------------------------------------------------------------

    def install(
        self, hosted: Hosted[M], offer: SnapshotOffer, merging: MergeState, space: int, then: Callable[[], None]
    ) -> None:
        """All rows of the snapshot are in `space`: make it the replica's state; `then` once it is on disk and live."""
        hosted.frozen = True
        replica = hosted.replica
        changes = self.effects.changes
        descriptor = records.Descriptor(offer.info, space, merging=merging)
        changes[numbered_key(b"d", replica.id)] = records.encode(descriptor)
        changes[numbered_key(b"a", replica.id)] = records.encode(
            records.Applied(offer.index, offer.index_term, offer.counter, offer.floor)
        )
        if hosted.machine is not None:
            self._drop_state(hosted.machine)
        self.drafts.end(replica.id, changes)
        self._unfinished.pop(replica.id, None)
        self.after_engine_flush(lambda: self._log_install(hosted, descriptor, then))

    def _log_install(self, hosted: Hosted[M], descriptor: records.Descriptor, then: Callable[[], None]) -> None:
        replica = hosted.replica
        machine = self._make_machine(replica.id, descriptor)
        self.pipeline.forget(replica.id)
        hard_state = replica.hard_state
        self.pipeline.add(
            LogItem(replica.id, start=machine.applied, hard_state=hard_state, commit=machine.applied.index)
        )
        self.pipeline.then(lambda: self._live(hosted, machine, then))

    def _live(self, hosted: Hosted[M], machine: M, then: Callable[[], None]) -> None:
        hosted.frozen = False
        hosted.machine = machine
        self.touch(hosted).restore(machine.applied, machine.info.membership)
        then()

    # Restart -------------------------------------------------------------------------------------------------------

    def load(self, recovered: Mapping[ReplicaId, RecoveredReplica], now_ms: int) -> None:
        """Take up what the folder holds. Raises LostState where that is less than what was promised."""
        self.now_ms, _ = self.clock.read(now_ms)
        stored = self.rows.get(b"n")
        self._next_space = int.from_bytes(stored, "big") if stored else 1
        for key, _ in self.rows.scan(b"t", b"u"):
            shard, replica = int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big")
            self._tombstones.setdefault(ShardId(shard), set()).add(ReplicaId(replica))
        # Nothing is in spaces to come. Drops follow the changes of their turn, and the first turn may fill one: a merge
        # that is applied anew does.
        to_come = self._next_space
        named = [(numbered_key(b"r", to_come), b"s"), (numbered_key(b"s", to_come), b"t")]
        for key, value in list(self.rows.scan(b"d", b"e")):
            replica = ReplicaId(int.from_bytes(key[1:], "big"))
            descriptor = records.decode_descriptor(value)
            named += records.held_ranges(descriptor)
            self._resume(replica, descriptor, recovered.get(replica))
        replicas = [hosted.replica for hosted in self.hosted.values()]
        logs = [(replica.suffix(replica.applied), replica.committed) for replica in replicas]
        self.awaited = awaited(logs, recovered, self.hosted)
        self._creating.update(replica for replica, _ in self.awaited.values())
        for replica, log in recovered.items():
            if replica not in self._by_replica and replica not in self._creating:
                self._leave(replica, log)
        self.drafts.load(self.now_ms)
        for replica, draft in list(self.drafts.items()):
            if self._buried(draft.shard, replica):
                self.drafts.end(replica, self.effects.changes)
            else:
                named.append(numbered_range(b"r", draft.space))
        for start, end in gaps(named, b"r", b"t"):  # what a crash has left of a drop, or of a stream
            if next(iter(self.rows.scan(start, end)), None) is not None:
                self.effects.drops.append((start, end))

    def _resume(self, replica: ReplicaId, descriptor: records.Descriptor, log: RecoveredReplica | None) -> None:
        machine_applied = self.rows.get(numbered_key(b"a", replica))
        if machine_applied is None:
            raise LostState(f"the state engine holds replica {replica} without its applied index")
        applied = records.decode_applied(machine_applied)
        point = EntryId(applied.index, applied.term)
        if log is None:
            if point != FIRST:
                raise LostState(f"the log knows nothing of replica {replica}, which had applied entry {point.index}")
            self._creating.add(replica)
            self._log_birth(replica)
            return
        self._creating.discard(replica)
        start = EntryId(*log.start)
        if point.index < start.index:
            raise LostState(f"replica {replica} has applied entry {point.index} but its log begins after {start.index}")
        entries = log.entries
        if not holds(start, entries, point):
            start, entries = point, []
            self.pipeline.add(LogItem(replica, start=start, hard_state=log.hard_state, commit=start.index))
        self._host(replica, descriptor, log.hard_state, start, entries, max(log.commit, point.index))

    def _take_back(self, shard: ShardId) -> None:
        """The split is applied anew: its replica here goes on with what the log has of it."""
        self.pipeline.then(lambda: self._resume_awaited(shard))

    def _resume_awaited(self, shard: ShardId) -> None:
        replica, log = self.awaited.pop(shard)
        self._resume(replica, self._descriptor(replica), log)

    def _leave(self, replica: ReplicaId, log: RecoveredReplica) -> None:
        """A replica that only the log knows: one that was buried, or a learner that never got its snapshot."""
        buried = any(replica in replicas for replicas in self._tombstones.values())
        if log.start[0] > 0 and not buried:
            raise LostState(f"the state engine has lost replica {replica}, of which the log holds entries")
        self.pipeline.add(LogItem(replica, gone=True))
