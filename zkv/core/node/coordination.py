"""A coordinator: its group's replica, the shard map as the state machine, and the leader's logic around it.

The shell uses it like a node: drain, `tick` with a clock read after it, every message, `turn`. What is published is
committed and applied: durable before anybody hears of it (rule 24).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from zkv.core.cluster.commands import CoordinatorState, decode_command
from zkv.core.cluster.coordinator import Coordinator
from zkv.core.cluster.shardmap import Beacon, MapDelta
from zkv.core.message import Message
from zkv.core.node.contracts import RecoveredReplica
from zkv.core.node.host import Effects, Host, Hosted
from zkv.core.raft.messages import Entry, EntryKind, Member, Membership
from zkv.core.raft.ready import EntryId, Rng, Timing
from zkv.core.raft.replica import Role
from zkv.core.shard import records
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.rows import Changes, Rows, numbered_key
from zkv.ids import NodeId, ReplicaId, ShardId, TableId

GROUP = ShardId(0)
_ONLY = ReplicaId(1)
_NO_FLOOR = b"\0" * 6


class MapMachine:
    """The coordinators' group as a state machine: each entry is one MapCommand."""

    def __init__(self, replica: ReplicaId, descriptor: records.Descriptor, rows: Rows, state: CoordinatorState) -> None:
        stored = rows.get(numbered_key(b"a", replica))
        applied = records.decode_applied(stored) if stored else records.Applied(0, 0, 0, _NO_FLOOR)
        self.replica = replica
        self.info = descriptor.info
        self.session_space = descriptor.space
        self.applied = EntryId(applied.index, applied.term)
        self.state = state

    def finish(self, changes: Changes) -> None:
        """Add the applied index to the rows of this turn."""
        record = records.Applied(self.applied.index, self.applied.term, 0, _NO_FLOOR)
        changes[numbered_key(b"a", self.replica)] = records.encode(record)

    def counters(self) -> tuple[int, bytes]:
        """Nothing that a snapshot needs beside the rows."""
        return 0, _NO_FLOOR

    def take_parted(self) -> None:
        """The map is never split."""

    def row_range(self) -> tuple[bytes, bytes]:
        """The rows of the state."""
        return b"c", b"d"


@dataclass(slots=True)
class CoordinatorTurn:
    """What the shell must now do, in this order."""

    effects: Effects
    answers: list[tuple[bytes, Message]]
    broadcasts: list[MapDelta | Beacon]


class Coordination:
    """One coordinator. The group has this one member."""

    def __init__(
        self,
        member: Member,
        rows: Rows,
        rng: Rng,
        timing: Timing,
        *,
        coordinators: tuple[str, ...],
        publishers: tuple[str, ...],
    ) -> None:
        self.state = CoordinatorState.load(rows)
        self.host: Host[MapMachine] = Host(
            rows=rows, rng=rng, timing=_sleepless(timing), make_machine=self._make_machine, apply=self._apply
        )
        self.logic = Coordinator(self.state, rng=rng, now_ms=0, coordinators=coordinators, publishers=publishers)
        self._rows = rows
        self._member = member
        self._leading = False

    def load(self, recovered: Mapping[ReplicaId, RecoveredReplica], now_ms: int) -> None:
        """Take up what the folder holds, or begin the group in an empty one. Raises LostState."""
        self.host.load(recovered, now_ms)
        if not recovered and not self.host.hosted:
            membership = Membership(1, (self._member,))
            self.host.create(_ONLY, ShardInfo(GROUP, TableId(0), b"", b"", 1, membership))

    def tick(self, now_ms: int) -> None:
        """Begin a turn; `now_ms` was read after the last message of the turn was received."""
        self.host.tick(now_ms)
        hosted = self.host.hosted.get(GROUP)
        leading = hosted is not None and self.host.touch(hosted).holds_lease()
        if leading != self._leading:
            self._leading = leading
            if leading:
                self.logic.start_leading()
            else:
                self.logic.stop_leading()
        self.logic.tick(self.host.now_ms)

    def next_ms(self) -> int:
        """When, on the shell's clock, the next turn is needed if nothing comes first: its replica's beat suffices."""
        return self.host.next_deadline_ms() - self.host.clock.shift_ms

    def turn(self) -> CoordinatorTurn:
        """End the turn."""
        hosted = self.host.hosted.get(GROUP)
        if hosted is not None and hosted.replica.role is Role.LEADER:
            for payload in self.logic.propose():
                self.host.touch(hosted).propose(EntryKind.COMMAND, payload)
        effects, _ = self.host.turn()
        return CoordinatorTurn(effects, self.logic.outbox(), self.logic.broadcasts())

    def _apply(self, hosted: Hosted[MapMachine], entry: Entry, changes: Changes) -> None:
        machine = hosted.machine
        assert machine is not None
        machine.applied = EntryId(entry.index, entry.term)
        if entry.kind != EntryKind.COMMAND:
            return
        command = decode_command(entry.payload)
        changes.update(self.state.changes(command))
        took_effect = self.state.apply(command)
        self.logic.applied(command, took_effect)

    def _make_machine(self, replica: ReplicaId, descriptor: records.Descriptor) -> MapMachine:
        return MapMachine(replica, descriptor, self._rows, self.state)


def _sleepless(timing: Timing) -> Timing:
    """The coordinators' group watches over all others."""
    return replace(timing, sleep_after_ms=0)


def member_of(node: str, incarnation: int) -> Member:
    """The coordinator as the one member of its group."""
    return Member(_ONLY, NodeId(node), incarnation)
