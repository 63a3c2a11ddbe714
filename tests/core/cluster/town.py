"""A coordinator and its nodes without sockets or Raft: nodes obey orders, shards elect, the log commits at once.

What the fakes leave out: logs, snapshots, elections that fail. A shard's group elects its first live voter as soon as a
majority of its voters is alive; a learner has caught up after one turn.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from tests.core.cluster.rows import DictRows
from zkv.core.cluster import messages as m
from zkv.core.cluster.commands import CoordinatorState, MapCommand, decode_command
from zkv.core.cluster.coordinator import Coordinator, Request
from zkv.core.cluster.follower import MapFollower
from zkv.core.cluster.shardmap import MapSnapshot, NodeState, Partitioner
from zkv.core.message import Message
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.merge import MergeState, united, wrong_with_source
from zkv.core.shard.split import left_of, right_of, wrong_with
from zkv.ids import NodeId, ReplicaId, ShardId

HASH, RANGE = Partitioner.HASH, Partitioner.RANGE
TURN_MS = 50
CLIENT = b"client"


@dataclass
class Group:
    """The truth about one shard, as its log has it."""

    info: ShardInfo

    def elect(self, alive: Callable[[Member], bool]) -> None:
        """Keep the leader while it lives; else the first live voter of a live majority leads the next term."""
        voters = self.info.membership.voters
        living = [own for own in voters if alive(own)]
        leader = self.info.leading()
        if leader in living or len(living) <= len(voters) // 2:
            return
        self.info = msgspec.structs.replace(self.info, leader=living[0].replica, term=self.info.term + 1)

    def change_leader(self, replica: ReplicaId) -> None:
        """That one leads the next term."""
        self.info = msgspec.structs.replace(self.info, leader=replica, term=self.info.term + 1)

    def change(self, order: m.ChangeMember, alive: Callable[[Member], bool] = lambda member: True) -> None:
        """One step of membership, if the version is the expected one and enough voters would be left."""
        held = self.info.membership
        rest = [own for own in held.voters if own != order.member]
        if order.action == "promote" and not alive(order.member):
            return  # it has not caught up
        if order.expected != held.version or (order.action == "remove" and sum(map(alive, rest)) < order.kept):
            return
        voters = tuple(own for own in held.voters if own != order.member)
        learners = tuple(own for own in held.learners if own != order.member)
        if order.action == "learn":
            learners = (*learners, order.member)
        elif order.action == "promote":
            voters = (*voters, order.member)
        elif order.action == "renew":
            voters, learners = held.voters, held.learners
        after = Membership(held.version + 1, voters, learners)
        self.info = msgspec.structs.replace(self.info, membership=after)


@dataclass
class FakeNode:
    """One node: its folder (incarnation, cluster, replicas), and its talk with the coordinator."""

    name: str
    incarnation: int
    address: str = ""
    cluster: int = 0
    alive: bool = True
    registered: bool = False
    refused: str = ""
    zone: str = ""
    weight: float = 1.0
    generation: int = 0  # of its connection: gives the routing id
    replicas: dict[ReplicaId, ShardId] = field(default_factory=dict)
    gone: list[tuple[ShardId, ReplicaId]] = field(default_factory=list)
    orders: list[Message] = field(default_factory=list)
    number: int = 0
    follower: MapFollower = field(default_factory=MapFollower)

    @property
    def source(self) -> bytes:
        return f"{self.name}#{self.incarnation}#{self.generation}".encode()


class Town:
    """The coordinator, the nodes, the truth about the shards, and what was said."""

    def __init__(self, *names: str, seed: int = 1) -> None:
        self.rows = DictRows()
        self.rng = random.Random(seed)
        self.now_ms = 10_000
        self.nodes: dict[str, FakeNode] = {}
        self.groups: dict[ShardId, Group] = {}
        self.commands: list[MapCommand] = []
        self.answers: list[Message] = []  # to clients
        self.sent: list[tuple[str, Message]] = []  # orders and answers to nodes
        self.events: list[str] = []
        self.on_order: Callable[[FakeNode, Message], bool] = lambda node, order: True
        self.electing = True
        self.silent: set[str] = set()  # nodes whose followers have not applied any change of members
        self.late: set[str] = set()  # nodes that have not applied a split
        self._incarnation = 1000
        self.start_coordinator()
        for name in names:
            self.join(name)

    # What happens to the world ----------------------------------------------------------------------------------------

    def start_coordinator(self) -> None:
        """Start on what the rows hold; nobody is connected."""
        self.state = CoordinatorState.load(self.rows)
        self.coordinator = Coordinator(
            self.state, rng=self.rng, now_ms=self.now_ms, coordinators=("c:1",), publishers=("c:2",)
        )
        self.coordinator.first_shards = 12
        self.coordinator.start_leading()

    def join(self, name: str, **parts: object) -> FakeNode:
        """A new node with an empty folder."""
        self._incarnation += 1
        node = FakeNode(name, self._incarnation, f"{name}:1")
        for part, value in parts.items():
            setattr(node, part, value)
        self.nodes[name] = node
        return node

    def kill(self, name: str) -> None:
        self.nodes[name].alive = False

    def restart(self, name: str) -> None:
        """The same folder again, over a new connection."""
        node = self.nodes[name]
        node.alive, node.registered, node.follower = True, False, MapFollower()
        node.generation += 1

    def wipe(self, name: str) -> None:
        """The node starts again on an empty folder."""
        self._incarnation += 1
        node = self.nodes[name]
        node.incarnation, node.cluster, node.replicas = self._incarnation, 0, {}
        self.restart(name)

    def is_alive(self, member: Member) -> bool:
        node = self.nodes.get(member.node)
        return node is not None and node.alive and node.incarnation == member.incarnation

    # Time -------------------------------------------------------------------------------------------------------------

    def turn(self, ms: int = TURN_MS) -> None:
        """One turn of everybody."""
        self.now_ms += ms
        self.coordinator.tick(self.now_ms)
        for group in self.groups.values():
            if self.electing:
                group.elect(self.is_alive)
        for shard in self.groups:
            self._bring(shard)
        for node in list(self.nodes.values()):
            if node.alive and not node.refused:
                for message in self._words_of(node):
                    self.coordinator.receive(node.source, message)
        self._commit()
        self._deliver()

    def run(self, ms: int) -> None:
        for _ in range(ms // TURN_MS):
            self.turn()

    def run_until(self, condition: Callable[[], bool], ms: int = 20_000) -> int:
        """Turns until the condition holds; how long it took. Fails when it does not within `ms`."""
        started = self.now_ms
        while not condition():
            assert self.now_ms - started < ms, f"not within {ms} ms"
            self.turn()
        return self.now_ms - started

    def ask(self, message: Request, source: bytes = CLIENT) -> None:
        """A client's message; the answer comes into `answers`."""
        self.coordinator.receive(source, message)
        self._commit()
        self._deliver()

    def answer_to(self, number: int) -> Message | None:
        """The answer to the client's request of that id, if there is one."""
        found = [answer for answer in self.answers if getattr(answer, "id", None) == number]
        assert len(found) <= 1, f"answered more than once: {found}"
        return found[0] if found else None

    # What is seen -----------------------------------------------------------------------------------------------------

    @property
    def map(self) -> MapSnapshot:
        return self.state.map.snapshot()

    def shards_of(self, name: str) -> tuple[ShardInfo, ...]:
        table = self.state.map.table(name)
        return self.state.map.shards_of(table.table) if table is not None else ()

    def serves(self, name: str) -> bool:
        """Whether every shard of the table has a leader in the map that leads in truth."""
        shards = self.shards_of(name)
        return bool(shards) and all(
            info.leader and self.groups[info.shard].info.leader == info.leader for info in shards
        )

    def orders_to(self, name: str, kind: type[Message]) -> list[Message]:
        return [message for to, message in self.sent if to == name and isinstance(message, kind)]

    # How it works -----------------------------------------------------------------------------------------------------

    def _words_of(self, node: FakeNode) -> list[Request]:
        reports = tuple(self._report(node, replica) for replica in node.replicas)
        if not node.registered:
            name, folder = NodeId(node.name), node.incarnation
            return [m.Register(name, folder, node.cluster, node.address, node.zone, node.weight, 1, reports)]
        node.number += 1
        words: list[Request] = [m.Alive(NodeId(node.name), node.incarnation, node.number, reports)]
        words.extend(m.Dropped(NodeId(node.name), shard, replica) for shard, replica in node.gone)
        node.gone.clear()
        return words

    def _report(self, node: FakeNode, replica: ReplicaId) -> m.ShardReport:
        info = self.groups[node.replicas[replica]].info
        if replica not in {member.replica for member in self.members_of(info.shard)}:
            info = msgspec.structs.replace(info, leader=ReplicaId(0))  # it has applied its removal, and waits
        elif node.name in self.silent and replica in {own.replica for own in info.membership.voters}:
            old = msgspec.structs.replace(info.membership, version=0)
            info = info if info.leader == replica else msgspec.structs.replace(info, membership=old)
        return m.ShardReport(replica, info, info.leader == replica, applied=1, rows=-1, bytes=-1)

    def _commit(self) -> None:
        """The group of one: what is proposed is committed, durable and applied, until there is nothing more to say."""
        first = len(self.commands)
        while payloads := self.coordinator.propose():
            assert len(self.commands) - first < 20, "the coordinator never comes to rest"
            (payload,) = payloads
            command = decode_command(payload)
            self.rows.apply(self.state.changes(command))
            took_effect = self.state.apply(command)
            self.commands.append(command)
            self.coordinator.applied(command, took_effect)

    def _deliver(self) -> None:
        self.events.extend(self.coordinator.events())
        by_source = {node.source: node for node in self.nodes.values()}
        for source, message in self.coordinator.outbox():
            node = by_source.get(source)
            if source == CLIENT:
                self.answers.append(message)
            if node is not None:
                self.sent.append((node.name, message))
                if node.alive and self.on_order(node, message):
                    self._obey(node, message)
        for news in self.coordinator.broadcasts():
            for node in self.nodes.values():
                node.follower.heard(news)

    def _obey(self, node: FakeNode, message: Message) -> None:
        match message:
            case m.Registered():
                node.registered, node.cluster = True, message.cluster
                node.follower.snapshot_arrived(message.map)
            case m.RegisterRefused():
                node.refused = message.what
            case m.Heard():
                node.registered = node.registered and message.known
            case m.CreateReplica() if message.incarnation == node.incarnation:
                fresh = msgspec.structs.replace(message.info, leader=ReplicaId(0), term=0)  # its log is empty
                self.groups.setdefault(message.info.shard, Group(fresh))
                node.replicas[message.replica] = message.info.shard
            case m.DropShard() if message.incarnation == node.incarnation:
                node.replicas.pop(message.replica, None)
                node.gone.append((message.shard, message.replica))
            case m.ChangeMember():
                self.groups[message.shard].change(message, self.is_alive)
                self._bring(message.shard)
            case m.DismissReplica() if message.member not in self.members_of(message.shard):
                self._dismiss(self.nodes[message.member.node], message.member.replica, message.shard)
            case m.SplitShard():
                self.split_group(message)
            case m.MergeShard():
                self.merge_groups(message)
            case m.TransferLeader():
                self.groups[message.shard].change_leader(message.target)

    def members_of(self, shard: ShardId) -> tuple[Member, ...]:
        membership = self.groups[shard].info.membership
        return (*membership.voters, *membership.learners)

    def split_group(self, order: m.SplitShard) -> None:
        """The group's log makes two of it; its nodes that live get their replica of the new one, others later."""
        group = self.groups[order.shard]
        if wrong_with(group.info, order.split):
            return
        right = right_of(group.info, order.split)
        self.groups[right.shard] = Group(right)
        group.info = left_of(group.info, order.split)
        for member in right.membership.voters:
            if self.is_alive(member) and member.node not in self.late:
                self.nodes[member.node].replicas[member.replica] = right.shard

    def merge_groups(self, order: m.MergeShard) -> None:
        """The target's log decides at once: the source is part of it, or nothing comes of it."""
        merge = order.merge
        target, source = self.groups[merge.target], self.groups[merge.source]
        if target.info.range_version != merge.target_version:
            return
        if order.abandon or wrong_with_source(source.info, MergeState(), merge):
            version = target.info.range_version + 1
            target.info = msgspec.structs.replace(target.info, range_version=version)
            return
        target.info = united(target.info, merge)
        for member in source.info.membership.voters:
            if self.is_alive(member) and member.node not in self.late:
                self._delete(self.nodes[member.node], member.replica)

    def _dismiss(self, node: FakeNode, replica: ReplicaId, shard: ShardId) -> None:
        """By the word of its group: what is there goes, and what is not there is said to be gone."""
        if node.alive and replica in node.replicas:
            self._delete(node, replica)
        elif node.alive:
            node.gone.append((shard, replica))

    def _delete(self, node: FakeNode, replica: ReplicaId) -> None:
        node.gone.append((node.replicas.pop(replica), replica))

    def _bring(self, shard: ShardId) -> None:
        """A learner that lives gets its state from the leader."""
        for learner in self.groups[shard].info.membership.learners:
            if self.is_alive(learner):
                self.nodes[learner.node].replicas[learner.replica] = shard


def serving(*names: str) -> Town:
    """A town whose default table serves."""
    town = Town(*(names or ("n1", "n2", "n3")))
    town.run_until(lambda: town.serves("default"))
    return town


def create(
    number: int, name: str, *, nonce: int = 9, replicas: int = 3, shards: int = 0, **more: object
) -> m.CreateTable:
    partitioner = more.get("partitioner", HASH)
    splits = more.get("splits", ())
    assert isinstance(partitioner, Partitioner)
    assert isinstance(splits, tuple)
    return m.CreateTable(number, nonce, name, partitioner, replicas, shards, splits)


def state_of(town: Town, name: str) -> NodeState:
    return town.state.map.nodes[NodeId(name)].state


def voters_of(town: Town) -> list[tuple[int, ...]]:
    return [tuple(sorted(own.replica for own in info.membership.voters)) for info in town.shards_of("default")]


def status_of(town: Town) -> dict[str, list[dict[str, object]]]:
    town.ask(m.StatusRequest(77))
    answer = town.answers.pop()
    assert isinstance(answer, m.StatusAnswer)
    figures: dict[str, list[dict[str, object]]] = msgspec.msgpack.decode(answer.figures)
    return figures
