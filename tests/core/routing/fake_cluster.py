"""A client's router and a cluster in one object: time jumps from event to event, faults come on demand.

Time stops only at moments that the router or a message in flight names: a router that forgot to name one would hang
its requests here, too. Every message passes the real codec.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.core.routing.fake_shards import COORDINATOR, FakeShards
from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Requests
from zkv.core.cluster.group import NotLeading
from zkv.core.cluster.shardmap import Beacon, MapDelta, Partitioner
from zkv.core.message import Message
from zkv.core.routing.operations import Request
from zkv.core.routing.router import Router
from zkv.core.shard.commands import WriteGroup
from zkv.wire import codec

LATENCY_MS = 1


@dataclass(eq=False)
class Call:
    """What became of one request."""

    outcome: object = None
    ended_ms: int | None = None

    @property
    def done(self) -> bool:
        return self.ended_ms is not None


class FakeCluster(FakeShards):
    """Nodes "n1:1" .. "n3:1", a coordinator "c:1" and a client of the given addresses."""

    def __init__(
        self,
        *,
        shards: int = 2,
        partitioner: Partitioner = Partitioner.HASH,
        splits: tuple[bytes, ...] = (),
        given: tuple[str, ...] = (COORDINATOR,),
        direct: bool = True,
        nodes: int = 3,
    ) -> None:
        addresses = tuple(f"n{number}:1" for number in range(1, nodes + 1))
        super().__init__(shards=shards, partitioner=partitioner, splits=splits, addresses=addresses)
        self.now_ms = 1_000_000
        self.broadcasting = True
        self.followers: dict[str, str] = {}  # further coordinators, which do not lead, and who does by their word
        self.sent: list[tuple[str, Message]] = []  # by the client, as decoded by the receiver
        self._arrivals: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._linked: set[str] = set()
        self.router = Router(given, direct=direct, rng=Random(7), wall_ms=1_700_000_000_000, now_ms=self.now_ms)

    def broadcast(self, delta: MapDelta) -> None:
        """On its way to the client, unless the broadcast is cut."""
        if self.broadcasting:
            self._later(lambda: self.router.heard(delta, self.now_ms))

    def ask(self, request: Request[object], *, timeout_ms: int = 5_000) -> Call:
        """Submit a request now."""
        call = Call()
        self.router.submit(request, call, self.now_ms + timeout_ms, self.now_ms)
        return call

    def run(self, *calls: Call, for_ms: int = 20_000) -> None:
        """Let time pass until all these calls have ended, or for so long (without calls: for so long)."""
        end_ms = self.now_ms + for_ms
        while not (calls and all(call.done for call in calls)):
            self._turn()
            if calls and all(call.done for call in calls):
                return
            next_ms = min([self.router.next_ms(), *[arrival[0] for arrival in self._arrivals]])
            assert next_ms > self.now_ms or self._arrivals, "the router spins"
            if next_ms >= end_ms:
                self.now_ms = end_ms
                self._turn()
                return
            self.now_ms = max(next_ms, self.now_ms)

    def result(self, request: Request[object], *, timeout_ms: int = 5_000) -> object:
        """Do one request to its end: what `finished` gave for it."""
        call = self.ask(request, timeout_ms=timeout_ms)
        self.run(call)
        assert call.done, "the request has no outcome"
        return call.outcome

    def groups(self, kind: type[Message] = WriteGroup) -> list[tuple[str, WriteGroup]]:
        """(address, group) of every group of that kind that was sent, in order."""
        frames = [(address, frame) for address, frame in self.sent if isinstance(frame, Requests)]
        return [(to, group) for to, frame in frames for group in frame.groups if isinstance(group, kind)]

    def count(self, kind: type[Message]) -> int:
        """How many messages of this kind the client has sent."""
        return sum(isinstance(message, kind) for _, message in self.sent)

    def kill(self, address: str) -> None:
        """The process dies: its connections are lost."""
        self.dead.add(address)
        if address in self._linked:
            self._linked.discard(address)
            self.router.disconnected(address, self.now_ms)

    def revive(self, address: str) -> None:
        """The process is back."""
        self.dead.discard(address)

    def beacon(self) -> None:
        """What is broadcast while nothing changes."""
        version = self.version
        self._later(lambda: self.router.heard(Beacon(1, version), self.now_ms))

    def _turn(self) -> None:
        self._connect()
        ready = sorted(entry for entry in self._arrivals if entry[0] <= self.now_ms)
        self._arrivals = [entry for entry in self._arrivals if entry[0] > self.now_ms]
        for _, _, deliver in ready:
            deliver()
        self.router.tick(self.now_ms)
        for address, message in self.router.take(self.now_ms):
            self._send(address, message)
        for token, outcome in self.router.finished():
            assert isinstance(token, Call)
            assert not token.done, "a request ended twice"
            token.outcome, token.ended_ms = outcome, self.now_ms

    def _connect(self) -> None:
        for address in list(self.router.peers.known):
            if address in self.router.peers.renew:
                self.router.peers.renew.discard(address)
                self._linked.discard(address)
                self.router.disconnected(address, self.now_ms)
            if address not in self._linked and address not in self.dead and self._is_there(address):
                self._linked.add(address)
                self.router.connected(address, self.now_ms)

    def _send(self, address: str, message: Message) -> None:
        if address not in self._linked:
            self.router.returned(address, message, self.now_ms)
            return
        body = codec.encode(message)
        coordinator = address == COORDINATOR or address in self.followers
        frame = codec.decode_to_coordinator(body) if coordinator else codec.decode_to_node(body)
        self.sent.append((address, frame))
        if address not in self.deaf:
            self._later(lambda: self._receive(address, frame))

    def _receive(self, address: str, frame: Message) -> None:
        if address in self.dead:
            return
        leader = self.followers.get(address)
        answer = self.answer_to(address, frame) if leader is None else self._send_on(address, frame, leader)
        if answer is not None:
            self.answer(address, answer)

    def _send_on(self, address: str, frame: Message, leader: str) -> Message:
        if isinstance(frame, m.Hello):
            return m.Welcome(frame.id, 1, 77, address, "coordinator", self.version)
        assert isinstance(frame, m.MapRequest | m.CreateTable)
        return NotLeading(frame.id, leader)

    def _is_there(self, address: str) -> bool:
        return address in self.followers or self.exists(address)

    def answer(self, address: str, message: Message, *, after_ms: int = LATENCY_MS) -> None:
        """Something on its way to the client."""
        decoded = codec.decode_to_client(codec.encode(message))
        self._later(lambda: self.router.receive(address, decoded, self.now_ms), after_ms)

    def _later(self, deliver: Callable[[], None], after_ms: int = LATENCY_MS) -> None:
        self._number += 1
        self._arrivals.append((self.now_ms + after_ms, self._number, deliver))
