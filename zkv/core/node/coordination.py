"""A coordinator: its group's replica, the shard map as the state machine, and the leader's logic around it.

The shell uses it like a node: drain, `tick` with a clock read after it, every message, `turn`. What is published is
committed and applied: durable before anybody hears of it (rule 24). The group begins as `core.cluster.founding` says,
changes as `core.cluster.regroup` says, and changes its leader as `core.node.succession` says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from zkv.core.cluster import versions
from zkv.core.cluster.commands import CoordinatorState, MapCommand
from zkv.core.cluster.coordinator import Coordinator, Request
from zkv.core.cluster.figures import Figure
from zkv.core.cluster.founding import Founding, offer
from zkv.core.cluster.frames import Peers
from zkv.core.cluster.group import GROUP, CoordinatorInfo, Found, GroupMessage, Leave, Meet, Whereabouts
from zkv.core.cluster.regroup import next_step
from zkv.core.cluster.shardmap import Beacon, MapDelta
from zkv.core.message import Message
from zkv.core.node.acquaintance import Acquaintance
from zkv.core.node.contracts import RecoveredReplica
from zkv.core.node.empty_learners import EmptyLearners
from zkv.core.node.host import Effects, Host, Hosted
from zkv.core.node.links import LinkWatch
from zkv.core.node.map_machine import MapMachine, bring_forward
from zkv.core.node.succession import Change, Succession, leader_known
from zkv.core.node.transfers import Transfers
from zkv.core.raft.membership import find
from zkv.core.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryKind,
    Member,
    Membership,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from zkv.core.raft.ready import Rng, Timing
from zkv.core.raft.replica import Role
from zkv.core.shard import records
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.rows import Changes, Rows
from zkv.core.shard.snapshot_messages import (
    DraftCredit,
    SnapshotChunk,
    SnapshotCredit,
    SnapshotDigest,
    SnapshotInstalled,
    SnapshotOffer,
)
from zkv.ids import NodeId, ReplicaId, TableId

__all__ = ["GROUP", "Coordination", "CoordinatorTurn"]

_RAFT = (AppendRequest, AppendReply, VoteRequest, VoteReply, TimeoutNow)
_SNAPSHOT = (SnapshotOffer, SnapshotChunk, SnapshotCredit, SnapshotInstalled, DraftCredit, SnapshotDigest)
_STEP_MS = 200  # how often the next step of a change of the group is looked for
_WAITING_MS = 20


@dataclass(slots=True)
class CoordinatorTurn:
    """What the shell must now do, in this order."""

    effects: Effects
    answers: list[tuple[bytes, Message]]
    broadcasts: list[MapDelta | Beacon | Whereabouts]
    words: list[tuple[NodeId, GroupMessage]] = field(default_factory=list)  # to other coordinators


class Coordination:
    """One coordinator. `given` is the group as its operator told it, this one among it; `incarnation` of its folder."""

    def __init__(
        self,
        me: NodeId,
        incarnation: int,
        rows: Rows,
        rng: Rng,
        timing: Timing,
        *,
        given: tuple[CoordinatorInfo, ...],
    ) -> None:
        self.state = CoordinatorState()
        self.host: Host[MapMachine] = Host(
            rows=rows, rng=rng, timing=_sleepless(timing), make_machine=self._make_machine, apply=self._apply
        )
        self.links = LinkWatch()
        self.transfers: Transfers[MapMachine] = Transfers(  # a map is small: nobody counts its bytes
            self.host, lambda _: -1, self.links.protocol_of
        )
        self.empty_learners: EmptyLearners[MapMachine] = EmptyLearners(self.host)
        self.succession = Succession()
        self.acquaintance = Acquaintance(me, incarnation, given)
        self.logic = Coordinator(
            self.state,
            rng=rng,
            now_ms=0,
            coordinators=tuple(info.address for info in given),
            publishers=tuple(info.publish for info in given),
            name=me,
            given=given,
        )
        self.logic.gauges = self.figures
        self.gauges: Callable[[], Mapping[str, Figure]] = dict  # what the shell knows
        self._me = me
        self._incarnation = incarnation
        self._rows = rows
        self._founding = Founding(self.acquaintance.info, incarnation, given)
        self._words: list[tuple[NodeId, GroupMessage]] = []
        self._began = False  # it has a replica, or one is coming into being, or has been
        self._step_at_ms = 0
        self._events: list[str] = []

    def load(self, recovered: Mapping[ReplicaId, RecoveredReplica], now_ms: int) -> None:
        """Take up what the folder holds; a group of one begins in an empty one. Raises LostState."""
        self.host.load(recovered, now_ms)
        hosted = self.host.hosted.get(GROUP)
        if hosted is not None and hosted.machine is not None:
            bring_forward(self._rows, hosted.machine.space, self.host.effects.changes)
        self._began = bool(recovered) or next(iter(self._rows.scan(b"d", b"e")), None) is not None
        self._found()

    # A turn ---------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Begin a turn; `now_ms` was read after the last message of the turn was received."""
        self.host.tick(now_ms)
        now_ms = self.host.now_ms
        self.transfers.begin(now_ms)
        hosted = self.hosted
        if hosted is not None:
            self.host.touch(hosted)
        self._succeed(self.succession.look(hosted))
        self.logic.tick(now_ms)
        self._events += self.empty_learners.look(now_ms, self.transfers.receiving())
        self._introduce(now_ms)
        if self.succession.leading and now_ms >= self._step_at_ms:
            self._step_at_ms = now_ms + _STEP_MS
            self._regroup(now_ms)

    def receive(self, source: bytes, message: Request | Peers | GroupMessage) -> None:
        """One message that has come to this coordinator, from whomever."""
        match message:
            case Peers():
                self._from_peer(message)
            case Meet():
                self._met(message)
            case Found():
                self._founded(message)
            case Leave():
                self._left(message)
            case _:
                if not self.succession.leading:
                    self.logic.leader = self._address_of(leader_known(self.hosted))
                self.logic.receive(source, message)

    def turn(self) -> CoordinatorTurn:
        """End the turn."""
        hosted = self.hosted
        if hosted is not None and hosted.replica.role is Role.LEADER:
            for payload in self.logic.propose():
                self.host.touch(hosted).propose(EntryKind.COMMAND, payload)
        effects, wanted = self.host.turn()
        for one, member in wanted:
            self.transfers.want(one, member)
        words, self._words = self._words, []
        if self.succession.leading and not self.succession.sure:
            return CoordinatorTurn(effects, [], [], words)  # kept until it is
        answers, broadcasts = self.logic.outbox(), self.logic.broadcasts()
        published = broadcasts if self.succession.leading or self.logic.alone else []
        return CoordinatorTurn(effects, answers, published, words)

    def hand_over(self) -> bool:
        """Ask another to lead, before a clean stop. Whether that is done, or there is nobody to ask."""
        hosted = self.hosted
        if hosted is None or hosted.replica.role is not Role.LEADER:
            return True
        return not self._transfer(hosted)

    def next_ms(self) -> int:
        """When, on the shell's clock, the next turn is needed if nothing comes first: its replica's beat suffices."""
        due_ms = min(self.host.next_deadline_ms(), self.acquaintance.next_ms())
        if self.transfers.busy:
            due_ms = min(due_ms, self.host.now_ms + _WAITING_MS)
        return due_ms - self.host.clock.shift_ms

    @property
    def hosted(self) -> Hosted[MapMachine] | None:
        """Its member of the group, if it has one."""
        return self.host.hosted.get(GROUP)

    def addresses(self) -> dict[NodeId, tuple[str, int]]:
        """Every other coordinator that it knows: where it listens, and its folder's incarnation."""
        return self.acquaintance.addresses(self.state.coordinators)

    def events(self) -> list[str]:
        """What is worth a line in the log, since the last call."""
        told, self._events = self._events + self.acquaintance.told() + self.logic.events(), []
        return told

    def figures(self) -> dict[str, Figure]:
        """For people and tests: this coordinator, and as the leader the whole group."""
        hosted = self.hosted
        replica = hosted.replica if hosted is not None else None
        membership = replica.membership if replica is not None else Membership(0, ())
        progress = dict(replica.progress()) if replica is not None else {}
        return {
            "coordinator": self._me,
            "term": replica.term if replica is not None else 0,
            "replica": replica.id if replica is not None else 0,
            "leader": self._me if self.succession.leading else leader_known(hosted),
            "coordinators": self.acquaintance.rows(
                membership, self.state.coordinators, progress, leading=self.succession.leading, now_ms=self.host.now_ms
            ),
            **self.gauges(),
        }

    # The group ------------------------------------------------------------------------------------------------------

    def _from_peer(self, frame: Peers) -> None:
        """One frame of another coordinator; dropped unless it is meant for this folder (rule 1), in words we know."""
        if frame.incarnation != self._incarnation or not self.links.heard(frame, self.host.now_ms):
            return
        for message in frame.messages:
            if isinstance(message, _RAFT):
                self.host.step(message, frame.sender)
            elif isinstance(message, _SNAPSHOT):
                self.transfers.receive(message)

    def _introduce(self, now_ms: int) -> None:
        hosted = self.hosted
        replica = hosted.replica.id if hosted is not None else ReplicaId(0)
        self._words += self.acquaintance.introductions(now_ms, replica, self.state.coordinators)

    def _met(self, meet: Meet) -> None:
        """Another coordinator says who it is."""
        if not versions.works_with(meet.protocol):
            self.acquaintance.refuse(meet)
            return
        hosted = self.hosted
        membership = hosted.replica.membership if hosted is not None else Membership(0, ())
        if not self.acquaintance.hear(meet, membership, self.host.now_ms):
            return
        self.logic.stated[meet.name] = meet.info
        if hosted is None:
            self._found()
            return
        found = offer(meet, membership)
        if found is not None:
            self._words.append((meet.name, found))
        elif meet.replica and find(membership, meet.replica) is None and self._all_know(hosted):
            gone = Member(meet.replica, meet.name, meet.incarnation)
            self._words.append((meet.name, Leave(gone, membership.version)))

    def _all_know(self, hosted: Hosted[MapMachine]) -> bool:
        """Whether it leads, and each member holds the last change of the members: who was removed is not needed."""
        machine = hosted.machine
        matches = [match for _, match in hosted.replica.progress()]
        return self.succession.sure and machine is not None and min(matches) >= machine.changed_at

    def _found(self) -> None:
        """Begin the group, if this coordinator is to, and all others agree."""
        membership = None if self._began else self._founding.decided(self.acquaintance.met)
        if membership is not None:
            self._begin(membership.voters[0], membership)

    def _founded(self, found: Found) -> None:
        own = None if self._began else self._founding.accepted(found, self.acquaintance.met)
        if own is not None:
            self._begin(own, found.membership)

    def _begin(self, own: Member, membership: Membership) -> None:
        self._began = True
        self.host.create(own.replica, ShardInfo(GROUP, TableId(0), b"", b"", 1, membership))
        if len(membership.voters) > 1:
            names = ", ".join(voter.node for voter in membership.voters)
            self._events.append(f"the group of coordinators begins: {names}")

    def _left(self, word: Leave) -> None:
        """Its replica is no member any more, by the word of its own group's leader: it goes (rule 22)."""
        hosted = self.hosted
        if hosted is None or hosted.frozen or word.member.incarnation != self._incarnation:
            return
        members = hosted.replica.membership
        if hosted.replica.id != word.member.replica or members.version > word.version:
            return
        self.host.destroy(hosted)
        self._events.append(f"coordinator {self._me} is of the group no longer")

    def _regroup(self, now_ms: int) -> None:
        """As the leader: the next step towards the members that are wanted."""
        hosted = self.hosted
        if hosted is None or not self.succession.sure or not self.state.coordinators:
            return
        membership = hosted.replica.membership
        self.logic.regroup.members = membership
        step = next_step(membership, self.state.coordinators, self.acquaintance.folders(now_ms))
        if step is None:
            return
        replica = self.host.touch(hosted)
        if step.member.replica == replica.id:
            self._transfer(hosted)
            return
        refusal = replica.propose_membership(step.action, step.member, membership.version)
        if refusal is None:
            what = f"{step.action} coordinator {step.member.node} as replica {step.member.replica}"
            self._events.append(f"the group of coordinators changes: {what}")

    def _transfer(self, hosted: Hosted[MapMachine]) -> bool:
        """Hand the lead to whoever holds most, or go on with that. False: nobody answers."""
        replica = self.host.touch(hosted)
        voters = {voter.replica for voter in replica.membership.voters} - {replica.id}
        held = sorted((match, peer) for peer, match in replica.progress() if peer in voters)
        return any(replica.transfer(peer) for _, peer in reversed(held))

    # Leading --------------------------------------------------------------------------------------------------------

    def _succeed(self, change: Change) -> None:
        if change in (Change.ENDED, Change.BEGAN_ANEW):
            self.logic.stop_leading()
        if change in (Change.BEGAN, Change.BEGAN_ANEW):
            self.logic.start_leading()
        if change is not Change.NONE and not self.logic.alone:
            self._events.append(f"coordinator {self._me} {'leads' if self.succession.leading else 'leads no longer'}")

    def _address_of(self, name: NodeId) -> str:
        info = self.state.coordinators.get(name) or self.logic.stated.get(name)
        return info.address if info is not None else ""

    def _apply(self, hosted: Hosted[MapMachine], entry: Entry, changes: Changes) -> None:
        machine = hosted.machine
        assert machine is not None
        machine.apply(entry, changes, self._applied)

    def _applied(self, command: MapCommand, took_effect: bool) -> None:
        self.logic.applied(command, took_effect)

    def _make_machine(self, replica: ReplicaId, descriptor: records.Descriptor) -> MapMachine:
        machine = MapMachine(replica, descriptor, self._rows, self.state)
        self.logic.replaced()
        return machine


def _sleepless(timing: Timing) -> Timing:
    """The coordinators' group watches over all others."""
    return replace(timing, sleep_after_ms=0)
