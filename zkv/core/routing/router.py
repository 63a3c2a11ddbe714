"""The client's whole judgement, without a socket: what to send where, what an answer means, when to try again.

The owner submits requests, hands over what arrives, ticks, takes what is to be sent, and hands finished requests back
to their callers. Everything submitted since the last turn leaves in one message to each node: packing is what speed
comes from. Nothing here reads a clock: `now_ms` is handed in, and every request ends by its deadline.
"""

from typing import Final

from zkv.core.cluster import messages as m
from zkv.core.cluster import versions
from zkv.core.cluster.frames import Answers, Requests
from zkv.core.cluster.group import NotLeading, Whereabouts
from zkv.core.cluster.shardmap import Beacon, MapDelta
from zkv.core.message import Message
from zkv.core.raft.ready import Rng
from zkv.core.routing.admin import AdminRequest
from zkv.core.routing.answers import Answering
from zkv.core.routing.atlas import Atlas
from zkv.core.routing.desk import Desk
from zkv.core.routing.dispatch import Dispatch
from zkv.core.routing.flights import Flights, Pauses
from zkv.core.routing.ledger import Finished, Ledger
from zkv.core.routing.operations import KeyRequest, Request
from zkv.core.routing.outbox import Outbox
from zkv.core.routing.parts import NEVER, Part
from zkv.core.routing.peers import FOREIGN, Peer, Peers
from zkv.core.routing.places import Places
from zkv.core.routing.recovery import Recovery
from zkv.core.routing.session import Sessions
from zkv.errors import InvalidRequest, ProtocolError, Unavailable, ZkvError

CLOSED: Final = "the client was closed before an answer came"

ToClient = Answers | m.Welcome | m.MapAnswer | m.AdminDone | m.AdminRefused | m.StatusAnswer | m.PlanAnswer | NotLeading


class Router:
    """One client. Feed: submit, receive, heard, connected, disconnected, returned, tick. Ask: take, finished, next_ms.

    `addresses`: coordinators or nodes, in the order of preference. `direct` False: only they are spoken to, and the
    first node among them passes everything on. `wall_ms`: milliseconds since 1970, for the client id's birth stamp.
    """

    def __init__(self, addresses: tuple[str, ...], *, direct: bool, rng: Rng, wall_ms: int, now_ms: int) -> None:
        self.atlas = Atlas()
        self.peers = Peers(addresses, direct=direct, now_ms=now_ms)
        self._ledger = Ledger()
        self._outbox = Outbox()
        self._places = Places(self.atlas, self._ledger)
        flights, pauses, sessions = Flights(), Pauses(), Sessions(rng, wall_ms, now_ms)
        self._dispatch = Dispatch(self.atlas, self.peers, self._places, flights, sessions, self._outbox)
        self._answering = Answering(self.atlas, self.peers, self._places, flights, pauses, self._ledger, sessions, rng)
        self._recovery = Recovery(
            self.peers, self._places, flights, pauses, self._ledger, self._answering, self._outbox
        )
        self._desk = Desk(self.atlas, self.peers, self._ledger, rng, self._outbox.tell)

    # Asked by callers -----------------------------------------------------------------------------------------------

    def submit(self, request: Request[object], token: object, deadline_ms: int, now_ms: int) -> None:
        """Take a request; by its deadline `finished` has (token, result or error). It leaves with the next `take`."""
        self._ledger.awaited += 1
        if request.deadline_ms:
            self._ledger.hand_back(token, InvalidRequest("a request is for one call: make another like it"))
            return
        request.token = token
        request.deadline_ms = deadline_ms
        if not isinstance(request, KeyRequest):
            assert isinstance(request, AdminRequest)
            self._desk.submit(request, now_ms)
        elif request.items:
            request.submitted_ms = now_ms
            self._places.place(Part(request, request.items, request.size), now_ms)
        else:
            self._ledger.hand_back(token, {})

    @property
    def awaited(self) -> int:
        """Requests submitted and not handed back yet."""
        return self._ledger.awaited + len(self._ledger.finished)

    def finished(self) -> list[Finished]:
        """(token, result or ZkvError) of each request that has ended since the last call."""
        finished, self._ledger.finished = self._ledger.finished, []
        return finished

    def abandon(self) -> list[Finished]:
        """End every request now, for the client is closed; what it may have done is said as at a deadline."""
        self.tick(NEVER)
        ended: list[Finished] = []
        for token, result in self.finished():
            ended.append((token, Unavailable(CLOSED, effect=result.effect) if isinstance(result, ZkvError) else result))
        return ended

    # Fed by the sockets -----------------------------------------------------------------------------------------------

    def receive(self, address: str, message: ToClient, now_ms: int) -> None:
        """One message from the peer at `address`. What fits nothing is dropped; none raises."""
        peer = self.peers.known.get(address)
        if peer is None:
            return
        if peer.away_since is not None:
            self.peers.heard(peer)
            self._recovery.wake(now_ms)
        match message:
            case Answers():
                self._answering.take(address, message, now_ms)
            case m.Welcome():
                self._welcomed(peer, message, now_ms)
            case m.MapAnswer():
                self._map_arrived(peer, message, now_ms)
            case m.AdminDone():
                self._desk.done(message, address, now_ms)
            case m.AdminRefused():
                self._desk.refused(message, now_ms)
            case NotLeading():
                self._sent_on(peer, message, now_ms)
            case m.PlanAnswer():
                self._desk.planned(message)
            case m.StatusAnswer():
                self._desk.figured(message, peer.node or address)

    def heard(self, message: MapDelta | Beacon | Whereabouts, now_ms: int) -> None:
        """One message of the broadcast."""
        self.atlas.heard(message, now_ms)

    def connected(self, address: str, now_ms: int) -> None:
        """There is a connection to this address (anew): ask who it is, and for the map if there is none."""
        peer = self.peers.known.get(address)
        if peer is None:
            return
        peer.connected = True
        peer.away_since = None
        shard_map = self.atlas.map
        self._outbox.tell(address, m.Hello(0, versions.PROTOCOL_VERSION, shard_map.cluster if shard_map else 0))
        if shard_map is None:
            self._outbox.tell(address, m.MapRequest(self.atlas.asking(now_ms)[0]))
        self._recovery.wake(now_ms)

    def disconnected(self, address: str, now_ms: int) -> None:
        """The connection is lost, and with it every answer that was to come over it."""
        peer = self.peers.known.get(address)
        if peer is not None:
            peer.connected = False
            if peer.away_since is None:
                peer.away_since = now_ms
        self._recovery.connection_lost(address, now_ms)

    def returned(self, address: str, message: Message, now_ms: int) -> None:
        """This message could not be sent: what it asks for has not been asked."""
        if isinstance(message, m.MapRequest):
            self.atlas.unsent(now_ms)
        elif isinstance(message, Requests):
            self._recovery.unsent(address, message, now_ms)

    # Time -----------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Do what is due: attempts that were lost, parts that have paused, deadlines, the map."""
        self._recovery.tick(now_ms)
        self._desk.tick(now_ms)
        self.peers.tick(now_ms)
        self._ask_for_map(now_ms)

    def next_ms(self) -> int:
        """When to tick at the latest; NEVER if nothing is waited for."""
        soonest = min(self._recovery.next_ms(), self._desk.next_ms())
        for moment in (self.atlas.next_ms(), self.peers.next_ms()):
            if moment is not None and moment < soonest:
                soonest = moment
        return soonest

    def take(self, now_ms: int) -> list[tuple[str, Message]]:
        """(address, message) of all that is to be sent now; what cannot be sent comes back by `returned`."""
        if self.atlas.changed:
            self._follow_map(now_ms)
        self._dispatch.cut(now_ms)
        if self._places.holes:
            holes, self._places.holes = self._places.holes, []
            self._recovery.strand(holes, "the map shows no shard for the key", now_ms)
            self.atlas.need(now_ms)
        if self._dispatch.stuck:
            stuck, self._dispatch.stuck = self._dispatch.stuck, []
            self._recovery.strand(stuck, "no node of the shard can be reached", now_ms)
        shard_map = self.atlas.map
        if shard_map is None:
            return self._outbox.take(0, 0)
        return self._outbox.take(shard_map.cluster, shard_map.version)

    # Within -----------------------------------------------------------------------------------------------------------

    def _welcomed(self, peer: Peer, message: m.Welcome, now_ms: int) -> None:
        peer.node, peer.role = message.node, message.role
        shard_map = self.atlas.map
        if not versions.works_with(message.protocol):
            peer.fault = versions.too_far("", message.protocol, "this client").lstrip()
        elif shard_map is not None and message.cluster not in (0, shard_map.cluster):
            peer.fault = FOREIGN
        else:
            peer.fault = ""
            self.atlas.version_seen(message.map_version, peer.address, now_ms)
        if self.peers.all_faulty:
            self._end_all(ProtocolError(self.peers.silence()))

    def _sent_on(self, peer: Peer, message: NotLeading, now_ms: int) -> None:
        """A coordinator that does not lead says who does: whatever was asked of it is asked there."""
        self.peers.sent_on(peer, message.leader, now_ms)
        if not self._desk.redirected(message, now_ms) and message.leader:
            self.atlas.unsent(now_ms)

    def _map_arrived(self, peer: Peer, message: m.MapAnswer, now_ms: int) -> None:
        shard_map = self.atlas.map
        if not message.map.version or peer.fault:
            return  # a node that has none yet
        if shard_map is not None and message.map.cluster != shard_map.cluster:
            peer.fault = FOREIGN
            return
        self.atlas.arrived(message, now_ms)
        self._places.settle(now_ms)

    def _ask_for_map(self, now_ms: int) -> None:
        due_ms = self.atlas.next_ms()
        if due_ms is None or now_ms < due_ms:
            return
        number, source = self.atlas.asking(now_ms)
        peer = self.peers.known.get(source)
        if peer is None or not peer.usable:
            peer = self.peers.coordinator() or self.peers.first_usable()
        if peer is not None:
            self._outbox.tell(peer.address, m.MapRequest(number))

    def _follow_map(self, now_ms: int) -> None:
        """The map has changed: whoever waited for that, or waits at the wrong node, moves."""
        self.atlas.changed = False
        shard_map = self.atlas.map
        assert shard_map is not None
        nodes = shard_map.nodes.values()
        down = self.peers.learn(nodes, shard_map.coordinators, shard_map.publishers, now_ms)
        if down:
            self._recovery.nodes_down(down, now_ms)
        self._recovery.leaders_moved(shard_map, now_ms)
        self._places.refresh(now_ms)
        self._recovery.wake(now_ms)
        self._desk.map_changed(now_ms)

    def _end_all(self, error: ZkvError) -> None:
        waiting, self._places.unplaced = self._places.unplaced, []
        for part, _ in waiting:
            self._ledger.ended(part, error)
        self._desk.refuse_unsent(error)
