"""Snapshots to members that are too far behind for the log, and from leaders to this node (rules 20-22)."""

from collections.abc import Iterable
from typing import Generic

from zkv.core.node.host import Host, Hosted, M
from zkv.core.raft.messages import Member
from zkv.core.raft.ready import EntryId
from zkv.core.raft.replica import Role
from zkv.core.shard.snapshot import Incoming, Outgoing, PinnedRows, StreamState
from zkv.core.shard.snapshot_messages import (
    SnapshotChunk,
    SnapshotCredit,
    SnapshotInstalled,
    SnapshotMessage,
    SnapshotOffer,
)
from zkv.ids import NodeId, ReplicaId


class Transfers(Generic[M]):
    """All snapshot streams of one host. `begin` runs while the engine shows exactly what the machines have applied."""

    def __init__(self, host: Host[M]) -> None:
        self._host = host
        self._wanted: dict[tuple[ReplicaId, ReplicaId], tuple[Hosted[M], Member]] = {}
        self._outgoing: dict[int, tuple[Hosted[M], Member, Outgoing]] = {}
        self._incoming: dict[ReplicaId, Incoming] = {}

    def want(self, hosted: Hosted[M], member: Member) -> None:
        """That member needs a snapshot; it begins in the next turn."""
        self._wanted[hosted.replica.id, member.replica] = (hosted, member)

    def progress(self) -> list[dict[str, int | str]]:
        """For people: every stream with its bytes."""
        sent: list[dict[str, int | str]] = [
            {"shard": hosted.shard, "to": member.node, "bytes": stream.bytes_credited, "of": stream.offer.bytes}
            for hosted, member, stream in self._outgoing.values()
        ]
        got: list[dict[str, int | str]] = [
            {"shard": stream.offer.shard, "to": "", "bytes": stream.bytes_received, "of": stream.offer.bytes}
            for stream in self._incoming.values()
        ]
        return sent + got

    def begin(self, now_ms: int) -> None:
        """Start what is wanted, repeat what was lost, and give up what nobody waits for. First thing in a turn."""
        for hosted, member in self._wanted.values():
            if hosted.replica.role is Role.LEADER and not hosted.gone:
                self._start(hosted, member, now_ms)
        self._wanted.clear()
        for stream_id, (hosted, member, stream) in list(self._outgoing.items()):
            if hosted.replica.role is not Role.LEADER or hosted.gone:
                stream.close()
            for message in stream.tick(now_ms):
                self._bulk(member, message)
            self._settle(stream_id, hosted, member, stream)
        for replica, incoming in list(self._incoming.items()):
            credit = incoming.tick(now_ms)
            if incoming.expired(now_ms):
                self._abandon(replica)
            elif credit is not None:
                self._answer(incoming, credit)

    def receiving(self) -> Iterable[ReplicaId]:
        """The replicas here whose snapshot is on its way."""
        return self._incoming.keys()

    @property
    def busy(self) -> bool:
        """Whether any stream is on its way."""
        return bool(self._wanted or self._outgoing or self._incoming)

    def receive(self, message: SnapshotMessage) -> None:
        """One message of a stream, already known to be meant for this incarnation."""
        match message:
            case SnapshotOffer():
                self._on_offer(message)
            case SnapshotChunk():
                self._on_chunk(message)
            case SnapshotCredit() | SnapshotInstalled():
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
        start, end = machine.row_range()
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
            bytes=0,
        )
        rows = PinnedRows(self._host.rows, space=machine.space, start=start, end=end)
        outgoing = Outgoing(offer=offer, rows=rows, now_ms=now_ms)
        self._outgoing[offer.stream] = (hosted, member, outgoing)
        self._bulk(member, outgoing.start())

    def _settle(self, stream_id: int, hosted: Hosted[M], member: Member, stream: Outgoing) -> None:
        if stream.state is StreamState.STREAMING:
            return
        del self._outgoing[stream_id]
        if hosted.gone:
            return
        replica = self._host.touch(hosted)
        if stream.installed:
            replica.snapshot_sent(member.replica, stream.offer.index)
        else:
            replica.snapshot_failed(member.replica)

    def _on_offer(self, offer: SnapshotOffer) -> None:
        hosted = self._host.learner_for(offer)
        if hosted is None or hosted.frozen:
            return
        if not self._host.touch(hosted).wants_snapshot(EntryId(offer.index, offer.index_term)):
            self._reply(offer, SnapshotInstalled(offer.target, offer.sender, offer.stream, False, offer.index))
            return
        current = self._incoming.get(offer.target)
        if current is not None:
            if current.offer.stream == offer.stream:
                self._answer(current, current.credit())
                return
            if not current.replaced_by(offer):
                return
            self._abandon(offer.target)
        incoming = Incoming(offer=offer, space=self._host.new_space(), now_ms=self._host.now_ms)
        self._incoming[offer.target] = incoming
        self._answer(incoming, incoming.credit())

    def _on_chunk(self, chunk: SnapshotChunk) -> None:
        incoming = self._incoming.get(chunk.target)
        if incoming is None or incoming.offer.stream != chunk.stream:
            self._disown(chunk)
            return
        incoming.tick(self._host.now_ms)
        changes = incoming.receive(chunk)
        if incoming.damaged:
            self._answer(incoming, incoming.refusal())
            self._abandon(chunk.target)
        elif changes is not None:
            self._host.effects.changes.update(changes)
            if incoming.complete:
                self._go_live(incoming)
            else:
                self._answer(incoming, incoming.credit())

    def _disown(self, chunk: SnapshotChunk) -> None:
        """Tell the sender of a stream that nobody takes here, as after a restart: it begins anew at once.

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
            self._host.drop_space(incoming.space)
            return
        # Entries that came meanwhile may have brought as much. The log's reset record would void what follows them,
        # though it was acknowledged (rule 21).
        if not self._host.touch(hosted).wants_snapshot(EntryId(offer.index, offer.index_term)):
            self._host.drop_space(incoming.space)
            self._answer(incoming, incoming.refusal())
            return
        self._host.install(hosted, offer, incoming.space, lambda: self._answer(incoming, incoming.installed()))

    def _abandon(self, replica: ReplicaId) -> None:
        self._host.drop_space(self._incoming.pop(replica).space)

    def _answer(self, incoming: Incoming, message: SnapshotCredit | SnapshotInstalled) -> None:
        self._reply(incoming.offer, message)

    def _reply(self, offer: SnapshotOffer, message: SnapshotCredit | SnapshotInstalled) -> None:
        for member in (*offer.info.membership.voters, *offer.info.membership.learners):
            if member.replica == offer.sender:
                self._host.send(member, message)

    def _bulk(self, member: Member, message: SnapshotMessage) -> None:
        self._host.effects.bulk.setdefault((member.node, member.incarnation), []).append(message)
