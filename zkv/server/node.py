"""The node's process: the turn as a list.

Drain every socket, read the clock, tick, hand over what came, end the turn; then send, begin the flush, answer, and
only then write to the engine: the more load, the larger each batch, with no timer.
"""

import gc
import logging
import signal
from random import SystemRandom
from types import FrameType

import msgspec

from zkv import limits
from zkv.core.cluster.frames import Answers, Peers
from zkv.core.cluster.group import NotLeading
from zkv.core.message import Message
from zkv.core.node.host import LostState
from zkv.core.node.links import SNAPSHOTS
from zkv.core.node.node import Node, Turn
from zkv.core.node.registration import Identity
from zkv.core.raft.ready import Timing
from zkv.core.shard.sessions import youngest
from zkv.errors import BadFrame, StorageError
from zkv.ids import NodeId
from zkv.net import drain, sockets
from zkv.net.clock import now_ms, wall_ms
from zkv.net.unread import Receivers
from zkv.net.wait import Wait
from zkv.server.coordinator_link import CoordinatorLink
from zkv.server.gauges import Gauges
from zkv.server.peers import PeerLinks
from zkv.server.rest import Rest
from zkv.server.settings import NodeSettings
from zkv.server.store import REJOIN, Store
from zkv.wire import codec

_POLL_MS = 20  # the longest wait while anything goes on,
_SLEEP_MS = 100  # and while nothing does
_CHORES_MS = 10
_BUSY_MS = 20  # how often a node that is never idle does a little of what else waits until it is
_HAND_OVER_MS = 3_000
_ANSWER_BYTES_MAX = limits.FRAME_BYTES_MAX - 64 * 1024

log = logging.getLogger("zkv.node")


class NodeProcess:
    """One running node. `run` returns when it has stopped cleanly; raises ZkvError in words for its user."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.context = sockets.context()
        self.router = sockets.router(self.context, settings.listen)
        self.receivers = Receivers(self.router)
        self.store = Store(
            settings.data,
            name=settings.id,
            role="node",
            engine=settings.engine,
            threaded=settings.flush == "thread",
        )
        folder = self.store.folder
        address = settings.advertise or settings.listen
        identity = Identity(NodeId(settings.id), folder.incarnation, address, settings.zone, settings.weight)
        self.node = Node(identity, folder.cluster, self.store.engine, SystemRandom(), Timing())
        self.peers = PeerLinks(self.context, identity.node, self.node.links)
        self._wait = Wait()
        self.link = CoordinatorLink(self.context, settings.join, self._wait)
        self._rest = Rest(self.node.transfers)
        self.gauges = Gauges(self.node.service, self.store, self.receivers)
        self.node.gauges = self.gauges.figures
        self.node.crowded = self.receivers.crowded
        self._map_version: tuple[int, int, tuple[str, ...]] = (-1, -1, ())
        self._stopping_since: int | None = None
        self._handed_over = False
        self._again = False
        self._wait_ms = 0
        self._chores_at_ms = 0
        self._busy_at_ms = 0
        for source in (self.router, self.store.flusher):
            self._wait.add(source)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then hand leadership over and stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            self.node.load(self.store.recovered.replicas, now_ms())
        except LostState as lost:
            raise StorageError(f"{self.store.folder.path}: {lost}", advice=REJOIN) from lost
        self.store.folder.write_pid()
        gc.collect()
        gc.freeze()
        log.info("node %s serves at %s", self.settings.id, self.settings.listen)
        while not self._stopped():
            self.turn()
        self.close()

    def turn(self) -> None:
        """One turn: drain, tick, hand over, do."""
        ready = self._wait.ready(self._wait_ms)
        self._rest.begin()
        clients = drain.drain_router(self.router) if self.router in ready else []
        from_coordinator, broadcasts = self.link.drain(ready)
        now = now_ms()  # after the last message was received (rule 8)
        node = self.node
        node.tick(now)
        node.transfers.behind = self.store.behind
        node.service.youngest = youngest(wall_ms())
        if self.store.flushed():
            node.host.persisted()
        for peer, body in clients:
            self._take(peer, body)
        for address, body in from_coordinator:
            self._heed(address, body)
        for body in broadcasts:
            self._hear(body)
        if self._stopping_since is not None:
            self._handed_over = node.hand_over()
        self._do(node.turn(), now)
        if self.store.flushed():  # it was short, and ran at once: what waited for it goes in the same turn
            node.host.persisted()
            self._do(node.turn(), now)
        self._again = self.store.tend(node.host, now, idle=not ready)
        if now >= self._chores_at_ms or not ready:
            self._chores(now)
        if ready and now >= self._busy_at_ms:
            self._busy_at_ms = now + _BUSY_MS
            node.idle(busy=True)
        elif not ready and not self._again:
            self._again = node.idle()
        self._rest.end()
        self._wait_ms = self._pause_ms(now, idle=not ready)

    def _chores(self, now: int) -> None:
        """What need not be looked at in each turn."""
        self._chores_at_ms = now + _CHORES_MS
        node = self.node
        node.disk_is(full=self.store.full)
        for line in self.peers.tend(node.cluster, node.host.now_ms) + self.link.tend():
            log.info("%s", line)
        self.receivers.tend(now)
        self.gauges.tend(now)

    def _pause_ms(self, now: int, *, idle: bool) -> int:
        """How long the loop may sleep if nothing comes."""
        if self._again:
            return 0
        if not idle or self.store.busy or self._stopping_since is not None:
            return _POLL_MS
        return min(max(self.node.next_ms() - now, 1), _SLEEP_MS)

    def _do(self, turn: Turn, now: int) -> None:
        effects, cluster = turn.effects, self.node.cluster
        for to, messages in effects.messages.items():
            self.peers.send(cluster, to, messages, self.node.host.now_ms)
        self.store.write(effects, now)
        for peer, message in turn.answers:
            self._answer(peer, message)
        for to, messages in effects.bulk.items():
            self.peers.send(cluster, to, messages, self.node.host.now_ms, lane=SNAPSHOTS)
        self.store.apply(effects)
        for message in turn.coordinator:
            self.link.tell(codec.encode(message), now)
        for event in turn.events:
            log.info("%s", event)
        if turn.stop:
            raise StorageError(f"the coordinator refuses this node: {turn.stop}", advice="see docs/operations.md")
        self._follow_map()

    def _take(self, peer: bytes, body: bytes) -> None:
        self.gauges.received += 1
        self.gauges.received_bytes += len(body)
        try:
            message = codec.decode_to_node(body)
        except BadFrame:
            self.gauges.bad_frames += 1
            return
        if isinstance(message, Peers):
            self.node.from_peer(message)
        else:
            self.node.from_client(peer, message)

    def _heed(self, address: str, body: bytes) -> None:
        try:
            message = codec.decode_from_coordinator(body)
        except BadFrame:
            self.gauges.bad_frames += 1
            return
        if isinstance(message, NotLeading):
            self.link.choice.redirected(address, message.leader)
        else:
            self.node.from_coordinator(message)

    def _hear(self, body: bytes) -> None:
        try:
            self.node.broadcast(codec.decode_broadcast(body))
        except BadFrame:
            self.gauges.bad_frames += 1

    def _answer(self, peer: bytes, message: Message) -> None:
        body = codec.encode(message)
        if len(body) > _ANSWER_BYTES_MAX and isinstance(message, Answers) and len(message.answers) > 1:
            middle = len(message.answers) // 2
            self._answer(peer, msgspec.structs.replace(message, answers=message.answers[:middle]))
            self._answer(peer, msgspec.structs.replace(message, answers=message.answers[middle:]))
            return
        self.gauges.answered += 1
        self.gauges.answered_bytes += len(body)
        self._wait.sent(self.router)
        self.receivers.send(peer, body)

    def _follow_map(self) -> None:
        """What hangs on the map: links, the broadcast's address, the cluster's id in the folder."""
        shard_map = self.node.follower.map
        if shard_map is None:
            return
        version = (shard_map.incarnation, shard_map.version, shard_map.publishers)
        if version == self._map_version:
            return
        self._map_version = version
        self.peers.learn(self.node.addresses())
        self.link.follow(shard_map.coordinators, shard_map.publishers)
        if self.node.cluster and not self.store.folder.cluster:
            self.store.folder.set_cluster(self.node.cluster)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._stopping_since is None:
            self._stopping_since = now_ms()

    def _stopped(self) -> bool:
        """Whether a stop was asked for and leadership is handed over, or that took too long."""
        if self._stopping_since is None:
            return False
        return self._handed_over or now_ms() - self._stopping_since > _HAND_OVER_MS

    def close(self) -> None:
        """Give everything back; the engine is flushed."""
        log.info("node %s stops", self.settings.id)
        self.peers.close(clean=True)
        self._wait.close()
        self.link.close()
        sockets.close(self.router, clean=True)
        self.context.term()
        self.store.close()
