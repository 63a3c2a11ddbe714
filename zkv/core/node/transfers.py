"""Snapshots to members that are too far behind for the log, and from leaders to this node (rules 20-22)."""

from collections.abc import Callable, Iterable
from typing import Final, Generic

from zkv import limits
from zkv.core.cluster.versions import DRAFTS_SINCE
from zkv.core.node.host import Host, Hosted
from zkv.core.node.residents import FIRST, M
from zkv.core.raft.membership import find
from zkv.core.raft.messages import Member
from zkv.core.raft.ready import EntryId
from zkv.core.raft.replica import Role
from zkv.core.shard.draft import reach
from zkv.core.shard.incoming import Incoming
from zkv.core.shard.merge import MergeState
from zkv.core.shard.outgoing import Outgoing, StreamState
from zkv.core.shard.pace import Pace
from zkv.core.shard.rows import numbered_range
from zkv.core.shard.snapshot_messages import (
    DraftCredit,
    MergedOffer,
    SnapshotChunk,
    SnapshotCredit,
    SnapshotDigest,
    SnapshotInstalled,
    SnapshotMessage,
    SnapshotOffer,
)
from zkv.core.shard.snapshot_rows import SESSION, PinnedRows
from zkv.ids import NodeId, ReplicaId, ShardId

_LEARNING_MS: Final = 60_000  # after its snapshot, a learner's part of the log is kept for as long
_BIRTH_MS: Final = 1_000  # so late a voter may be to apply the split that its state comes from


class Transfers(Generic[M]):
    """All snapshot streams of one host. `begin` runs while the engine shows exactly what the machines have applied."""

    def __init__(self, host: Host[M], size_of: Callable[[ShardId], int], protocol_of: Callable[[NodeId], int]) -> None:
        """`size_of`: a shard's bytes; -1: not known. `protocol_of`: a node's; 0: not stated."""
        self.pace = Pace(turn_bytes=limits.SNAPSHOT_TURN_BYTES)
        self.behind = False  # the engine here is: what comes is written, and credited only when it is not any more
        self.worked = False  # chunks were cut or taken since its owner last set it back
        self._host = host
        self._size_of = size_of
        self._protocol_of = protocol_of
        self._learning: dict[tuple[ReplicaId, ReplicaId], tuple[Hosted[M], int]] = {}  # after its snapshot, until when
        self._wanted: dict[tuple[ReplicaId, ReplicaId], tuple[Hosted[M], Member]] = {}
        self._outgoing: dict[int, tuple[Hosted[M], Member, Outgoing]] = {}
        self._merging: dict[int, MergeState] = {}  # of the shards of outgoing streams, as those began
        self._incoming: dict[ReplicaId, Incoming] = {}
        self._uncredited: set[ReplicaId] = set()  # of these, chunks whose credit waits for the engine

    def want(self, hosted: Hosted[M], member: Member) -> None:
        """That member needs a snapshot; it begins in the next turn."""
        self._wanted[hosted.replica.id, member.replica] = (hosted, member)

    def progress(self) -> list[dict[str, int | str]]:
        """For people: every stream with its bytes, what is left by the sender's estimate, and its rate so far."""
        sent = [
            self._row(stream, member.node, stream.bytes_credited, sent=True)
            for hosted, member, stream in self._outgoing.values()
        ]
        return sent + [self._row(stream, "", stream.bytes_received, sent=False) for stream in self._incoming.values()]

    def _row(self, stream: Outgoing | Incoming, to: str, done: int, *, sent: bool) -> dict[str, int | str]:
        took_ms, offer = max(1, self._host.now_ms - stream.began_ms), stream.offer
        return {
            "shard": offer.shard,
            "to": to,
            "sent": sent,
            "bytes": done,
            "kept": stream.bytes_kept,  # of these, were there already
            "of": max(offer.bytes, done),
            "remaining": max(offer.bytes - done, 0),
            "bytes_per_s": done * 1_000 // took_ms,
        }

    def begin(self, now_ms: int) -> None:
        """Start what is wanted, repeat what was lost, and give up what nobody waits for. First thing in a turn."""
        if self._wanted:
            wanted, self._wanted = self._wanted, {}
            for hosted, member in wanted.values():
                if hosted.replica.role is not Role.LEADER or hosted.gone:
                    continue
                if _may_be_born_yet(hosted, member, now_ms):
                    self._host.touch(hosted).snapshot_failed(member.replica)  # it is asked again
                else:
                    self._start(hosted, member, now_ms)
        self.pace.tick(now_ms)
        if self._outgoing or self._learning or self._host.held_back:
            self._hold_tails_back(now_ms)
        if self._outgoing:
            self._tick_outgoing(now_ms)
        if self._incoming:
            self._tick_incoming(now_ms)
        if self._host.drafts:
            for replica in self._host.drafts.expired(now_ms):
                if replica not in self._incoming:
                    self._host.drop_draft(replica)

    def _tick_outgoing(self, now_ms: int) -> None:
        for stream_id, (hosted, member, stream) in list(self._outgoing.items()):
            if hosted.replica.role is not Role.LEADER or hosted.gone:
                stream.close()
            said = stream.tick(now_ms)
            for message in said:
                self._bulk(member, message)
            if said:  # others go first next time: they all draw from one pace
                self._outgoing[stream_id] = self._outgoing.pop(stream_id)
            self._settle(stream_id, hosted, member, stream)

    def _tick_incoming(self, now_ms: int) -> None:
        for replica, incoming in list(self._incoming.items()):
            credit = incoming.tick(now_ms)
            if not self._host.drafts.has(replica, incoming.space):
                self._abandon(replica)  # the replica is gone, or another has come
            elif incoming.expired(now_ms):
                self._leave(replica)
            elif credit is not None:
                self._answer(incoming, credit)
            elif replica in self._uncredited and not self._is_slow:
                self._answer(incoming, incoming.credit())
        if not self._is_slow:
            self._uncredited.clear()

    def receiving(self) -> Iterable[ReplicaId]:
        """The replicas here whose snapshot is on its way."""
        return self._incoming.keys()

    @property
    def busy(self) -> bool:
        """Whether any stream is on its way."""
        return bool(self._wanted or self._outgoing or self._incoming)

    @property
    def _is_slow(self) -> bool:
        """Whether what comes is credited later."""
        return self.behind or self.pace.resting

    def receive(self, message: SnapshotMessage) -> None:
        """One message of a stream, already known to be meant for this incarnation."""
        match message:
            case SnapshotOffer():
                self._on_offer(message, MergeState())
            case MergedOffer():
                self._on_offer(message.offer, message.merging)
            case SnapshotChunk():
                self._on_chunk(message)
            case SnapshotDigest():
                self._on_digest(message)
            case SnapshotCredit() | DraftCredit() | SnapshotInstalled():
                known = self._outgoing.get(message.stream)
                if known is None:
                    return
                hosted, member, stream = known
                for chunk in stream.receive(message):
                    self._bulk(member, chunk)
                self._settle(message.stream, hosted, member, stream)

    def _start(self, hosted: Hosted[M], member: Member, now_ms: int) -> None:
        machine = hosted.machine
        assert machine is not None
        for other, target, stream in self._outgoing.values():
            if other is hosted and target == member and stream.state is StreamState.STREAMING:
                return
        counter, floor = machine.counters()
        offer = SnapshotOffer(
            shard=hosted.shard,
            sender=hosted.replica.id,
            target=member.replica,
            term=hosted.replica.term,
            stream=self._host.rng.randrange(1, 2**62),
            index=machine.applied.index,
            index_term=machine.applied.term,
            info=machine.info,
            counter=counter,
            floor=floor,
            bytes=max(self._size_of(hosted.shard), 0),
        )
        merging = machine.merge_state()
        rows = PinnedRows(
            self._host.rows,
            sessions=machine.session_space,
            ranges=machine.row_ranges(),
            brought=merging.absorbing.space if merging.absorbing is not None else 0,
        )
        outgoing = Outgoing(offer=offer, rows=rows, now_ms=now_ms, pace=self.pace)
        self._outgoing[offer.stream] = (hosted, member, outgoing)
        self._merging[offer.stream] = merging
        self._bulk(member, outgoing.start())

    def _settle(self, stream_id: int, hosted: Hosted[M], member: Member, stream: Outgoing) -> None:
        if stream.state is StreamState.STREAMING:
            return
        del self._outgoing[stream_id], self._merging[stream_id]
        if hosted.gone:
            return
        replica = self._host.touch(hosted)
        if stream.installed:
            replica.snapshot_sent(member.replica, stream.offer.index)
            if member in replica.membership.learners:
                self._learning[replica.id, member.replica] = (hosted, self._host.now_ms + _LEARNING_MS)
        else:
            replica.snapshot_failed(member.replica)

    def _hold_tails_back(self, now_ms: int) -> None:
        """What learners will need of the log is kept, within a bound: else a busy shard's would never catch up."""
        held: dict[ReplicaId, int] = {}
        for hosted, member, stream in self._outgoing.values():
            if member in hosted.replica.membership.learners:
                held[hosted.replica.id] = min(held.get(hosted.replica.id, stream.offer.index), stream.offer.index)
        for (replica, learner), (hosted, until_ms) in list(self._learning.items()):
            match = dict(hosted.replica.progress()).get(learner)
            if match is None or now_ms >= until_ms or match == hosted.replica.last.index:
                del self._learning[replica, learner]
            else:
                held[replica] = min(held.get(replica, match), match)
        self._host.held_back = held

    def _on_offer(self, offer: SnapshotOffer, merging: MergeState) -> None:
        hosted = self._host.learner_for(offer)
        if hosted is None or hosted.frozen:
            return
        if not self._host.touch(hosted).wants_snapshot(EntryId(offer.index, offer.index_term)):
            self._reply(offer, SnapshotInstalled(offer.target, offer.sender, offer.stream, False, offer.index))
            if offer.target not in self._incoming:
                self._host.drop_draft(offer.target)  # the log has brought as much
            return
        current = self._incoming.get(offer.target)
        if current is not None:
            if current.offer.stream == offer.stream:
                self._answer(current, current.credit())
                return
            if not current.replaced_by(offer):
                return
            self._leave(offer.target)
        space, reached = self._draft_for(offer, current)
        incoming = Incoming(
            offer=offer,
            space=space,
            now_ms=self._host.now_ms,
            merging=merging,
            brought=self._host.new_space() if merging.absorbing is not None else 0,
            reached=reached,
        )
        self._incoming[offer.target] = incoming
        self._answer(incoming, incoming.credit())

    def _draft_for(self, offer: SnapshotOffer, ended: Incoming | None) -> tuple[int, bytes | None]:
        """The space to fill, and up to where an earlier stream has filled it, if the sender knows what to do then.

        `ended`: the stream that has filled it until now, whose last rows may not be in the engine yet. Of what came
        behind the rows, nothing is kept: it is little, and comes last.
        """
        drafts, changes = self._host.drafts, self._host.effects.changes
        for older in drafts.before(offer.target, offer.shard):
            self._host.drop_draft(older)
        space = drafts.space_of(offer.target)
        reached = None
        if space is not None:
            reached = ended.reached if ended is not None else reach(self._host.rows, space)
        if space is not None and reached is not None and self._protocol_of(_home_of(offer)) >= DRAFTS_SINCE:
            self._host.effects.clears.append(numbered_range(SESSION, space))
            return space, reached
        self._host.drop_draft(offer.target)
        space = self._host.new_space()
        drafts.begin(offer.target, offer.shard, space, self._host.now_ms, changes)
        return space, None

    def _on_digest(self, digest: SnapshotDigest) -> None:
        incoming = self._taker(digest)
        if incoming is None:
            return
        incoming.tick(self._host.now_ms)
        drops = incoming.compare(digest, self._host.rows)
        if incoming.damaged:
            self._answer(incoming, incoming.refusal())
            self._abandon(digest.target)
        elif drops is not None:
            self._host.effects.clears += drops
            self._host.drafts.used(digest.target, self._host.now_ms)
            self._answer(incoming, incoming.credit(digest.number))

    def _on_chunk(self, chunk: SnapshotChunk) -> None:
        self.worked = True
        incoming = self._taker(chunk)
        if incoming is None:
            return
        incoming.tick(self._host.now_ms)
        changes = incoming.receive(chunk, self._host.rows)
        if incoming.damaged:
            self._answer(incoming, incoming.refusal())
            self._abandon(chunk.target)
        elif changes is not None:
            self._host.effects.changes.update(changes)
            self._host.drafts.used(chunk.target, self._host.now_ms)
            if incoming.complete:
                self._go_live(incoming)
            elif self._is_slow:
                self._uncredited.add(chunk.target)
            else:
                self._answer(incoming, incoming.credit())

    def _taker(self, message: SnapshotChunk | SnapshotDigest) -> Incoming | None:
        """Who takes it here; its sender is told where nobody does."""
        incoming = self._incoming.get(message.target)
        if incoming is None or incoming.offer.stream != message.stream:
            self._disown(message)
            return None
        return incoming if self._host.drafts.has(message.target, incoming.space) else None

    def _disown(self, chunk: SnapshotChunk | SnapshotDigest) -> None:
        """Tell the sender of a stream that nobody takes here, as after a restart: it begins another at once.

        It may also be a late chunk of a stream that is done: its sender then finds by a heartbeat how far this log is.
        """
        hosted = self._host.replica(chunk.target)
        if hosted is None or hosted.frozen:
            return
        membership = hosted.replica.membership
        known = (one for one in (*membership.voters, *membership.learners) if one.replica == chunk.sender)
        sender = next(known, Member(chunk.sender, NodeId(""), 0))
        self._host.send(sender, SnapshotInstalled(chunk.target, chunk.sender, chunk.stream, False, 0))

    def _go_live(self, incoming: Incoming) -> None:
        offer = incoming.offer
        del self._incoming[offer.target]
        hosted = self._host.replica(offer.target)
        if hosted is None or hosted.frozen:
            self._drop(incoming)
            return
        # Entries that came meanwhile may have brought as much. The log's reset record would void what follows them,
        # though it was acknowledged (rule 21).
        if not self._host.touch(hosted).wants_snapshot(EntryId(offer.index, offer.index_term)):
            self._drop(incoming)
            self._answer(incoming, incoming.refusal())
            return
        done = incoming.installed()
        self._host.install(hosted, offer, incoming.merging, incoming.space, lambda: self._answer(incoming, done))

    def _leave(self, replica: ReplicaId) -> None:
        """The stream is over, and another may go on with what it has brought."""
        brought = self._incoming.pop(replica).brought
        if brought:
            self._host.drop_space(brought)

    def _abandon(self, replica: ReplicaId) -> None:
        """The stream is over, and nothing of it is wanted."""
        self._drop(self._incoming.pop(replica))

    def _drop(self, incoming: Incoming) -> None:
        replica = incoming.offer.target
        if self._host.drafts.has(replica, incoming.space):
            self._host.drop_draft(replica)
        else:
            self._host.drop_space(incoming.space)
        if incoming.brought:
            self._host.drop_space(incoming.brought)

    def _answer(self, incoming: Incoming, message: SnapshotCredit | DraftCredit | SnapshotInstalled) -> None:
        self._reply(incoming.offer, message)

    def _reply(self, offer: SnapshotOffer, message: SnapshotCredit | DraftCredit | SnapshotInstalled) -> None:
        for member in (*offer.info.membership.voters, *offer.info.membership.learners):
            if member.replica == offer.sender:
                self._host.send(member, message)

    def _bulk(self, member: Member, message: SnapshotMessage) -> None:
        self.worked = True
        if isinstance(message, SnapshotOffer) and self._merging[message.stream] != MergeState():
            message = MergedOffer(message, self._merging[message.stream])
        self._host.effects.bulk.setdefault((member.node, member.incarnation), []).append(message)


def _home_of(offer: SnapshotOffer) -> NodeId:
    """The node that the offer comes from."""
    members = offer.info.membership
    return next((one.node for one in (*members.voters, *members.learners) if one.replica == offer.sender), NodeId(""))


def _may_be_born_yet(hosted: Hosted[M], member: Member, now_ms: int) -> bool:
    """Whether the voter may only be late to apply the split that made the shard: all that followed is in the log."""
    replica = hosted.replica
    is_new = replica.start == FIRST and now_ms - hosted.since_ms < _BIRTH_MS
    return is_new and find(replica.membership, member.replica) in replica.membership.voters
