"""Three node cores in one process, with a network and disks that the test commands: every frame passes the codec."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Answers, Peers, Requests
from zkv.core.cluster.shardmap import MapSnapshot, NodeInfo, Partitioner, TableInfo
from zkv.core.cluster.versions import PROTOCOL_VERSION
from zkv.core.node.node import Node, Turn
from zkv.core.node.registration import Identity
from zkv.core.raft.messages import LogBatch, Member, Membership
from zkv.core.raft.ready import Timing
from zkv.core.raft.replica import Role
from zkv.core.shard.commands import Answer, Group
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.split import Split
from zkv.ids import NodeId, ReplicaId, ShardId, TableId
from zkv.storage.memory import MemoryEngine
from zkv.storage.replay import RecoveredReplica, Replay
from zkv.wire import codec

NAMES = ("n1", "n2", "n3")
CLUSTER = 77
SHARD = ShardId(1)
RIGHT = ShardId(2)  # what a split of it makes
CLIENT = b"\0\1\2\3\4"


@dataclass
class Machine:
    """One node with its disk: `flushed` survives a crash, what is in flight does not."""

    name: str
    rows: MemoryEngine = field(default_factory=MemoryEngine)
    flushed: list[bytes] = field(default_factory=list)
    in_flight: bytes | None = None
    inbox: deque[bytes] = field(default_factory=deque)
    incarnation: int = 1
    slow_disk: bool = False  # flushes end only when the test says so
    paused: bool = False
    cut_from: set[str] = field(default_factory=set)

    def boot(self, now_ms: int) -> None:
        identity = Identity(NodeId(self.name), self.incarnation, f"{self.name}:1", "", 1.0)
        self.node = Node(identity, CLUSTER, self.rows, random.Random(f"{self.name} {now_ms}"), Timing(tell_ms=10))
        self.node.load(self.recovered(), now_ms)
        self.in_flight = None

    def recovered(self) -> dict[ReplicaId, RecoveredReplica]:
        """What the log holds: the flushed batches, replayed by the code that replays segments."""
        replay = Replay()
        for batch in self.flushed:
            replay.apply(msgspec.msgpack.decode(batch, type=LogBatch))
        replay.check()
        return replay.replicas


class Trio:
    """The cluster: one table, one shard on all three nodes."""

    def __init__(self, partitioner: Partitioner = Partitioner.RANGE) -> None:
        self.now_ms = 1_000_000
        self.machines = {name: Machine(name) for name in NAMES}
        self.answers: dict[str, list[Answer]] = {name: [] for name in NAMES}
        self.lost: Callable[[str, str, object], bool] = lambda source, target, message: False
        self.watch: Callable[[str, Turn], None] = lambda name, turn: None  # told what each turn comes to
        voters = tuple(Member(ReplicaId(number), NodeId(name), 1) for number, name in enumerate(NAMES, 11))
        self.info = ShardInfo(SHARD, TableId(1), b"", b"", 1, Membership(1, voters), partitioner=partitioner)
        self.map_version = 1
        for machine in self.machines.values():
            machine.boot(self.now_ms)
            self.tell_map(machine)
        for member in voters:
            node = self.machines[member.node].node
            node.from_coordinator(m.CreateReplica(1, member.replica, self.info))

    def map(self) -> MapSnapshot:
        nodes = tuple(NodeInfo(NodeId(n), f"{n}:1", machine.incarnation) for n, machine in self.machines.items())
        tables = (TableInfo(TableId(1), "default", Partitioner(self.info.partitioner), 3),)
        return MapSnapshot(5, self.map_version, CLUSTER, (), (), tables, nodes, (self.info,))

    def tell_map(self, machine: Machine) -> None:
        machine.node.from_coordinator(m.MapAnswer(0, self.map()))

    def turn(self, ms: int = 1) -> None:
        """Every machine that runs takes one turn."""
        self.now_ms += ms
        for machine in self.machines.values():
            if not machine.paused:
                self._turn(machine)

    def run(self, until: Callable[[], bool], *, ms_max: int = 10_000, step_ms: int = 5) -> None:
        """Turns until the condition holds."""
        end = self.now_ms + ms_max
        while not until():
            assert self.now_ms < end, "the condition did not come true"
            self.turn(step_ms)

    def pass_ms(self, ms: int, step_ms: int = 5) -> None:
        end = self.now_ms + ms
        while self.now_ms < end:
            self.turn(step_ms)

    def leader(self) -> str:
        """The node that leads with a lease; waits for one."""
        self.run(lambda: any(self.leads(name) for name in NAMES))
        return next(name for name in NAMES if self.leads(name))

    def leads(self, name: str, shard: ShardId = SHARD) -> bool:
        hosted = self.machines[name].node.host.hosted.get(shard)
        return hosted is not None and hosted.replica.role is Role.LEADER and hosted.replica.holds_lease()

    def others(self, name: str) -> list[str]:
        return [other for other in NAMES if other != name]

    def ask(self, name: str, *groups: Group, cluster: int = CLUSTER) -> None:
        """A client's frame arrives at that node; answers gather in `answers`."""
        frame = codec.decode_to_node(codec.encode(Requests(cluster, 1, groups)))
        assert isinstance(frame, Requests)
        self.machines[name].node.from_client(CLIENT, frame)

    def queue(self, name: str, *groups: Group, forwarding: bool = True) -> None:
        """A client's frame waits at that node for its next turn; answers gather in `answers`."""
        self.machines[name].inbox.append(codec.encode(Requests(CLUSTER, 1, groups, forwarding)))

    def answer(self, name: str, *groups: Group) -> list[Answer]:
        """Ask, and wait for as many answers."""
        before = len(self.answers[name])
        self.ask(name, *groups)
        self.run(lambda: len(self.answers[name]) >= before + len(groups))
        return self.answers[name][before:]

    def crash(self, name: str, *, empty: bool = False) -> None:
        """Power off: what was not flushed is gone; `empty`: the folder too. It is back at once."""
        machine = self.machines[name]
        machine.inbox.clear()
        machine.rows.crash(0)
        if empty:
            machine.rows, machine.flushed, machine.incarnation = MemoryEngine(), [], machine.incarnation + 1
        machine.boot(self.now_ms)

    def split(self, at: bytes) -> None:
        """The shard's leader is ordered to split it, into shards 1 and 2, and does so."""
        leader = self.leader()
        self.pass_ms(100)  # so that everybody has all there is
        homes = self.info.membership.voters
        members = tuple(Member(ReplicaId(own.replica + 10), own.node, own.incarnation) for own in homes)
        machine = self.machines[leader]
        for other in self.others(leader):
            machine.node.from_peer(Peers(CLUSTER, NodeId(other), machine.incarnation, (), protocol=PROTOCOL_VERSION))
        machine.node.from_coordinator(m.SplitShard(SHARD, Split(at, 1, 1, RIGHT, Membership(1, members))))
        self.run(lambda: self.leads(leader, RIGHT))

    def cut(self, one: str, other: str) -> None:
        self.machines[one].cut_from.add(other)
        self.machines[other].cut_from.add(one)

    def heal(self) -> None:
        for machine in self.machines.values():
            machine.cut_from.clear()

    def finish_flush(self, name: str) -> None:
        """The flush in flight reaches the disk."""
        machine = self.machines[name]
        if machine.in_flight is not None:
            machine.flushed.append(machine.in_flight)
            machine.in_flight = None
            machine.node.host.persisted()

    def _turn(self, machine: Machine) -> None:
        node = machine.node
        node.tick(self.now_ms)
        if not machine.slow_disk:
            self.finish_flush(machine.name)
        while machine.inbox:
            frame = codec.decode_to_node(machine.inbox.popleft())
            if isinstance(frame, Peers):
                node.from_peer(frame)
            else:
                node.from_client(CLIENT, frame)
        turn = node.turn()
        self.watch(machine.name, turn)
        for sends in (turn.effects.messages, turn.effects.bulk):
            for (target, incarnation), messages in sends.items():
                self._send(machine, target, incarnation, messages)
        if turn.effects.log is not None:
            assert machine.in_flight is None
            machine.in_flight = codec.encode(turn.effects.log)
        for origin, answer in turn.answers:
            if origin == CLIENT and isinstance(answer, Answers):
                decoded = codec.decode_to_client(codec.encode(answer))
                assert isinstance(decoded, Answers)
                self.answers[machine.name] += decoded.answers
        machine.rows.apply(turn.effects.changes)
        for start, end in (*turn.effects.clears, *turn.effects.drops):
            machine.rows.drop(start, end)
        if turn.effects.flush_engine:
            machine.rows.flush()
            node.host.engine_flush_begins()
            node.host.engine_flushed()

    def _send(self, machine: Machine, target: NodeId, incarnation: int, messages: list[object]) -> None:
        other = self.machines.get(target)
        if other is None or target in machine.cut_from:
            return
        kept = tuple(message for message in messages if not self.lost(machine.name, target, message))
        if kept or not messages:  # an empty frame is a sign of life
            frame = Peers(
                CLUSTER, NodeId(machine.name), incarnation or other.incarnation, kept, protocol=PROTOCOL_VERSION
            )  # type: ignore[arg-type]  # a peer's messages
            other.inbox.append(codec.encode(frame))
