"""A data node: what clients, peers and the coordinator say, in; what to do, out.

The shell drains its sockets, reads the clock, calls `tick`, hands over every message, calls `turn` and does what the
`Turn` says, in its order. Requests go to `Service`, replicas live in `Host`; here are the map, the coordinator's
orders, and who is who.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec

from zkv.core.cluster import messages as m
from zkv.core.cluster import versions
from zkv.core.cluster.follower import MapFollower
from zkv.core.cluster.frames import Answers, Dismissed, Forward, Forwarded, PeerMessage, Peers, Requests
from zkv.core.cluster.group import Whereabouts
from zkv.core.cluster.shardmap import Beacon, MapDelta, MapSnapshot
from zkv.core.message import Message
from zkv.core.node import orders
from zkv.core.node.census import Census
from zkv.core.node.contracts import RecoveredReplica
from zkv.core.node.empty_learners import EmptyLearners
from zkv.core.node.figures import Sizes, shard_figures
from zkv.core.node.host import Effects, Host
from zkv.core.node.leaving import Leaving
from zkv.core.node.links import LinkWatch
from zkv.core.node.machines import make_machine
from zkv.core.node.mergers import Mergers
from zkv.core.node.partings import Partings
from zkv.core.node.registration import Identity, Registration
from zkv.core.node.service import Service
from zkv.core.node.sleep_watch import SleepWatch
from zkv.core.node.transfers import Transfers
from zkv.core.node.waiting import Route
from zkv.core.raft.messages import AppendReply, AppendRequest, TimeoutNow, VoteReply, VoteRequest
from zkv.core.raft.ready import Rng, Timing
from zkv.core.raft.replica import Role
from zkv.core.shard.commands import Group, Reason
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.merge_messages import Fate, FateAsk, MergeAsk, MergeRows, MergeUnfit
from zkv.core.shard.rows import Rows
from zkv.ids import NodeId, ReplicaId

MAP_ROW = b"m"
_NOBODY = NodeId("")
_RAFT = (AppendRequest, AppendReply, VoteRequest, VoteReply, TimeoutNow)
_MERGES = (MergeAsk, MergeRows, MergeUnfit, FateAsk, Fate)
_NOTE_MS = 100
_ASK_MAP_MS = 500
_WAITING_MS = 20
_CROWDED_MS = 50
_map_decoder = msgspec.msgpack.Decoder(MapSnapshot)
_encode = msgspec.msgpack.Encoder().encode

ClientMessage = Requests | m.Hello | m.MapRequest | m.StatusRequest
CoordinatorMessage = m.Registered | m.RegisterRefused | m.Heard | m.MapAnswer | m.Order


@dataclass(slots=True)
class Turn:
    """What the shell must now do, in this order."""

    effects: Effects  # see there
    answers: list[tuple[bytes, Message]]  # to this node's clients, by routing id
    coordinator: list[Message]  # to the coordinator
    events: list[str]  # for the log, one line each
    stop: str = ""  # why this process must end; "" to go on


@dataclass(slots=True)
class _Outbox:
    direct: list[tuple[bytes, Message]] = field(default_factory=list)
    coordinator: list[Message] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    stop: str = ""


class Node:
    """One node. `cluster` is 0 until the coordinator has told it; the shell stores it then."""

    def __init__(self, identity: Identity, cluster: int, rows: Rows, rng: Rng, timing: Timing) -> None:
        self.identity = identity
        self.cluster = cluster
        self.follower = MapFollower()
        self.census = Census(rows)
        self.service = Service(identity.node, self.census.grown)
        self.host: Host[ShardMachine] = Host(
            rows=rows, rng=rng, timing=timing, make_machine=partial(make_machine, rows), apply=self.service.apply
        )
        self.service.attach(self.host)
        self.links = LinkWatch()
        self.transfers = Transfers(self.host, self.census.bytes_of, self.links.protocol_of)
        self.empty_learners = EmptyLearners(self.host)
        self.registration = Registration(identity)
        self.sizes = self.registration.sizes = Sizes(self.host, self.census, self.service.asked)
        self.counts: dict[str, int] = {}
        self.crowded: Collection[bytes] = ()  # clients for whom much waits that they do not read, as the shell knows
        self.gauges: Callable[[], Mapping[str, object]] = dict  # what the shell knows
        self._out = _Outbox()
        self._stored_version = (0, 0)
        self._map_asked_ms = -1_000_000
        self._leading = -1
        self._note_at_ms = 0
        self._watch = SleepWatch(self.links, timing)
        self._leaving = Leaving(self.host)
        self._partings = Partings(self.host, self.links.protocol_of)
        self.service.parting = self._partings.waiting
        self.mergers = Mergers(
            self.host, identity.node, lambda: self.follower.map, self.links.protocol_of, self.transfers.pace
        )

    def load(self, recovered: Mapping[ReplicaId, RecoveredReplica], now_ms: int) -> None:
        """Take up what the folder holds, the last map among it. Raises LostState (see `Host.load`)."""
        stored = self.host.rows.get(MAP_ROW)
        if stored is not None:
            self.follower.snapshot_arrived(_map_decoder.decode(stored))
        self.host.load(recovered, now_ms)

    # A turn ---------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Begin a turn; `now_ms` was read after the last message of the turn was received (rule 8)."""
        self.host.tick(now_ms)
        now_ms = self.host.now_ms
        if self.follower.map is not None:
            self.transfers.pace.bytes_per_s = self.follower.map.tuning.bytes_per_s
        self.transfers.begin(now_ms)
        self.service.begin()
        self._out.events += self.mergers.tick()
        self.census.give_up_late(now_ms)
        if now_ms >= self._note_at_ms:
            self._note_at_ms = now_ms + _NOTE_MS
            self._note_leading()
            self._out.events += self.empty_learners.look(now_ms, self.transfers.receiving())
        if not self.host.awaited:  # what it does not name passes for lost
            self._out.coordinator += self.registration.tick(now_ms, self.cluster, self.host.hosted.values())
        if self.follower.wants_snapshot and self.registration.registered and now_ms - self._map_asked_ms >= _ASK_MAP_MS:
            self._map_asked_ms = now_ms
            self._out.coordinator.append(m.MapRequest(0))

    def from_client(self, origin: bytes, message: ClientMessage) -> None:
        """One frame of a client of this node."""
        self._count(message)
        match message:
            case Requests():
                self._requests(message, Route(_NOBODY, origin))
            case m.Hello():
                version = self.follower.map.version if self.follower.map else 0
                protocol, me = versions.PROTOCOL_VERSION, self.identity.node
                self._out.direct.append((origin, m.Welcome(message.id, protocol, self.cluster, me, "node", version)))
            case m.MapRequest():
                self._out.direct.append((origin, self._map_answer(message.id)))
            case m.StatusRequest():
                self._out.direct.append((origin, m.StatusAnswer(message.id, _encode(self.figures()))))

    def from_peer(self, frame: Peers) -> None:
        """One frame of another node; dropped unless meant for this cluster and folder (rule 1), in words we know."""
        if frame.cluster != self.cluster or frame.incarnation != self.identity.incarnation:
            self.counts["peer frames for another"] = self.counts.get("peer frames for another", 0) + 1
            return
        if not self.links.heard(frame, self.host.now_ms) or self.host.awaited:
            return
        for message in frame.messages:
            if isinstance(message, _RAFT):
                self.host.step(message, frame.sender)
            elif isinstance(message, Forward):
                route = Route(frame.sender, message.origin)
                for group in message.groups:
                    self._take(group, route, pass_on=False)
            elif isinstance(message, Forwarded):
                for answer in message.answers:
                    self.service.answers.setdefault(Route(_NOBODY, message.origin), []).append(answer)
            elif isinstance(message, Dismissed):
                self._note(orders.dismissed(self.host, self.registration, message))
            elif isinstance(message, _MERGES):
                self.mergers.receive(message, frame.sender)
            else:
                self.transfers.receive(message)

    def from_coordinator(self, message: CoordinatorMessage) -> None:
        """One message of the coordinator."""
        self._count(message)
        match message:
            case m.Registered():
                self._registered(message)
            case m.RegisterRefused():
                self._refused(message.what)
            case m.Heard():
                self.registration.heard(message)
            case m.MapAnswer():
                if message.map.cluster == self.cluster:
                    self.follower.snapshot_arrived(message.map)
            case _ if not self.host.awaited:
                self._note(self._obey(message))

    def broadcast(self, message: MapDelta | Beacon | Whereabouts) -> None:
        """One message of the coordinator's broadcast."""
        self._count(message)
        self.follower.heard(message)

    def turn(self) -> Turn:
        """End the turn."""
        self.service.propose()
        self._out.events += self._partings.propose()
        for address in self._watch.tend(self.host, self.addresses):
            self.host.effects.messages.setdefault(address, [])  # a sign of life, if there is nothing else to say
        effects, wanted = self.host.turn()
        for hosted, member in wanted:
            self.transfers.want(hosted, member)
        self.census.follow(self.host)
        for shard, replica in self.host.destroyed:
            self.registration.dropped(shard, replica)
        self.host.destroyed.clear()
        if self.host.stirred:
            self.host.stirred = False
            self.registration.stir()
        self._store_map(effects)
        out, self._out = self._out, _Outbox()
        answers = self._answers(effects) if self.service.answers else []
        if self.service.forwards:
            self._forward(effects)
        return Turn(effects, answers + out.direct, out.coordinator, out.events, out.stop)

    def next_ms(self) -> int:
        """When, on the shell's clock, the next turn is needed if nothing comes first and no flush ends."""
        due_ms = min(
            self.host.next_deadline_ms(),
            self.service.next_ms(),
            self.registration.next_ms(),
            self._watch.due_ms,
            self.mergers.next_ms(),
        )
        if self.transfers.busy:
            due_ms = min(due_ms, self.host.now_ms + _WAITING_MS)
        if self.follower.wants_snapshot and self.registration.registered:
            due_ms = min(due_ms, self._map_asked_ms + _ASK_MAP_MS)
        return due_ms - self.host.clock.shift_ms

    def idle(self, *, busy: bool = False) -> bool:
        """Nothing came in this turn: do a little of what can wait; less if `busy`. Whether there is more of it."""
        return self.census.go_on(self.host.hosted, self.host.now_ms, busy=busy)

    def disk_is(self, *, full: bool) -> None:
        """The disk has room for what clients write, or has not: then it is refused, and others are to lead (rule 6)."""
        self._leaving.disk_is(full=full, was_full=self.service.disk_full)
        self.service.disk_full = full

    def hand_over(self) -> bool:
        """Ask another voter to lead each shard that is led here, before a clean stop. See `Leaving.hand_over`."""
        return self._leaving.hand_over()

    def address_of(self, node: NodeId) -> tuple[str, int] | None:
        """Where another node of the map listens, and its folder's incarnation; None for who is not in it."""
        shard_map = self.follower.map
        info = shard_map.nodes.get(node) if shard_map is not None and node != self.identity.node else None
        return (info.address, info.incarnation) if info is not None else None

    def addresses(self) -> dict[NodeId, tuple[str, int]]:
        """Every other node of the map: where it listens, and its folder's incarnation."""
        shard_map = self.follower.map
        if shard_map is None:
            return {}
        others = (node for node in shard_map.nodes.values() if node.node != self.identity.node)
        return {node.node: (node.address, node.incarnation) for node in others}

    def figures(self) -> dict[str, object]:
        """For people and tests: what this node is and has done."""
        shard_map = self.follower.map
        return {
            "node": self.identity.node,
            "role": "node",
            "map_version": shard_map.version if shard_map else 0,
            "registered": self.registration.registered,
            "leading": sum(one.replica.role is Role.LEADER for one in self.host.hosted.values()),
            "reads": self.service.reads_served,
            "writes": self.service.writes_applied,
            "messages": dict(self.counts),
            "transfers": self.transfers.progress(),
            "shards": shard_figures(self.host, self.census),
            **self.gauges(),
        }

    # Requests -------------------------------------------------------------------------------------------------------

    def _requests(self, frame: Requests, route: Route) -> None:
        if not self.cluster:
            for group in frame.groups:
                self.service.refuse(group, route, Reason.UNAVAILABLE, "this node has not joined a cluster yet")
            return
        if frame.cluster and frame.cluster != self.cluster:
            for group in frame.groups:
                self.service.refuse(group, route, Reason.WRONG_CLUSTER, "this node belongs to another cluster")
            return
        if route.origin in self.crowded:
            for group in frame.groups:
                detail = "this client has not read what it was answered"
                self.service.refuse(group, route, Reason.OVERLOADED, detail, retry_ms=_CROWDED_MS)
            return
        for group in frame.groups:
            self._take(group, route, pass_on=frame.forwarding)

    def _take(self, group: Group, route: Route, *, pass_on: bool) -> None:
        shard_map = self.follower.map
        info = shard_map.shards.get(group.shard) if shard_map is not None else None
        self.service.take(group, route, info, pass_on=pass_on)

    def _answers(self, effects: Effects) -> list[tuple[bytes, Message]]:
        answers, self.service.answers = self.service.answers, {}
        version = self.follower.map.version if self.follower.map else 0
        direct: list[tuple[bytes, Message]] = []
        for route, given in answers.items():
            if route.node:
                self._send(effects, route.node, Forwarded(route.origin, tuple(given)))
            else:
                direct.append((route.origin, Answers(version, self.identity.node, tuple(given))))
        return direct

    def _forward(self, effects: Effects) -> None:
        forwards, self.service.forwards = self.service.forwards, {}
        version = self.follower.map.version if self.follower.map else 0
        for leader, origins in forwards.items():
            for origin, groups in origins.items():
                self._send(effects, leader, Forward(origin, version, tuple(groups)))

    def _send(self, effects: Effects, node: NodeId, message: PeerMessage) -> None:
        info = self.follower.map.nodes.get(node) if self.follower.map else None
        effects.messages.setdefault((node, info.incarnation if info else 0), []).append(message)

    def _registered(self, message: m.Registered) -> None:
        if self.cluster and message.cluster != self.cluster:
            return
        if not versions.works_with(message.protocol):
            self._refused(versions.too_far("it", message.protocol, "this node"))
            return
        self.cluster = message.cluster
        self.registration.welcomed(message.protocol)
        self.follower.snapshot_arrived(message.map)

    def _refused(self, what: str) -> None:
        """A coordinator will not have this node. At its start that is final; later no word of a stranger, or of one
        that has lost its own folder, may end what the nodes can do without any coordinator."""
        if not self.registration.was_welcomed:
            self._out.stop = what
        elif self.registration.refused(what):
            self._out.events.append(f"the coordinator refuses this node, which serves on without it: {what}")

    # Map and orders ---------------------------------------------------------------------------------------------------

    def _obey(self, order: m.Order) -> str:
        match order:
            case m.CreateReplica() | m.DropShard() if order.incarnation != self.identity.incarnation:
                return ""
            case m.CreateReplica():
                return orders.create(self.host, order)
            case m.DropShard() if self.mergers.awaits_word(order.replica):
                return ""
            case m.DropShard():
                return orders.drop(self.host, self.registration, order)
            case m.ChangeMember():
                return orders.change_member(self.host, order)
            case m.TransferLeader():
                return orders.transfer(self.host, order)
            case m.DismissReplica():
                return orders.dismiss(self.host, order)
            case m.SplitShard():
                self._partings.ordered(order)
                return ""
            case m.MergeShard():
                self.mergers.ordered(order)
                return ""

    def _note(self, event: str) -> None:
        if event:
            self._out.events.append(event)

    def _map_answer(self, request: int) -> Message:
        shard_map = self.follower.map
        if shard_map is None:
            return m.AdminRefused(request, "Unavailable", "this node has no shard map yet", 0)
        return m.MapAnswer(request, shard_map.snapshot())

    def _store_map(self, effects: Effects) -> None:
        """Keep the newest map, so that a restart without a coordinator still knows its peers."""
        shard_map = self.follower.map
        if shard_map is not None and (shard_map.incarnation, shard_map.version) != self._stored_version:
            self._stored_version = (shard_map.incarnation, shard_map.version)
            effects.changes[MAP_ROW] = _encode(shard_map.snapshot())

    def _note_leading(self) -> None:
        leading = len([None for one in self.host.hosted.values() if one.replica.role is Role.LEADER])
        if leading != self._leading:
            self._leading = leading
            self._out.events.append(f"leads {leading} of {len(self.host.hosted)} shards here")

    def _count(self, message: Message) -> None:
        name = type(message).__name__
        self.counts[name] = self.counts.get(name, 0) + 1
