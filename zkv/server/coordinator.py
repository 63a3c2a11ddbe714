"""The coordinator's process: takes registrations, reports and admin requests; publishes each committed change."""

import gc
import logging
import signal
from random import SystemRandom
from types import FrameType

from zkv.core.node.coordination import Coordination, CoordinatorTurn
from zkv.core.node.host import LostState
from zkv.core.node.links import SNAPSHOTS
from zkv.core.raft.ready import Timing
from zkv.errors import BadFrame, StorageError
from zkv.ids import NodeId
from zkv.net import drain, sockets
from zkv.net.clock import now_ms
from zkv.net.unread import Receivers
from zkv.net.wait import Wait
from zkv.server.gauges import process_gauges
from zkv.server.peers import PeerLinks
from zkv.server.settings import CoordinatorSettings
from zkv.server.store import REJOIN, Store
from zkv.wire import codec

_POLL_MS = 20  # the longest wait while anything goes on,
_SLEEP_MS = 100  # and while nothing does
_HAND_OVER_MS = 1_000

log = logging.getLogger("zkv.coordinator")


class CoordinatorProcess:
    """One running coordinator. `run` returns when it has stopped cleanly; raises ZkvError in words for its user."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        self.settings = settings
        self.context = sockets.context()
        self.router = sockets.router(self.context, settings.listen)
        self.publisher = sockets.publisher(self.context, settings.publish)
        self.store = Store(settings.data, name=settings.id, role="coordinator", engine=settings.engine, threaded=False)
        self.core = Coordination(
            NodeId(settings.id),
            self.store.folder.incarnation,
            self.store.engine,
            SystemRandom(),
            Timing(),
            given=settings.members,
        )
        self.core.gauges = self._figures
        self.peers = PeerLinks(self.context, NodeId(settings.id), self.core.links)
        self.receivers = Receivers(self.router)
        self.bad_frames = 0
        self._stopping_since: int | None = None
        self._handed_over = False
        self._again = False
        self._wait_ms = 0
        self._wait = Wait()
        for source in (self.router, self.publisher, self.store.flusher):
            self._wait.add(source)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let another coordinator lead, if there is one, and stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            self.core.load(self.store.recovered.replicas, now_ms())
        except LostState as lost:
            raise StorageError(f"{self.store.folder.path}: {lost}", advice=REJOIN) from lost
        self.store.folder.write_pid()
        gc.collect()
        gc.freeze()
        log.info("coordinator %s serves at %s, publishes at %s", *self._where())
        while not self._stopped():
            self._turn()
        self._close()

    def _turn(self) -> None:
        ready = self._wait.ready(self._wait_ms)
        asked = drain.drain_router(self.router) if self.router in ready else []
        subscribed = drain.drain(self.publisher) if self.publisher in ready else []
        now = now_ms()
        self.core.tick(now)
        if self.store.flushed():
            self.core.host.persisted()
        for peer, body in asked:
            self._take(peer, body)
        if any(body[:1] == b"\x01" for body in subscribed):
            self.core.logic.subscribed()
        if self._stopping_since is not None:
            self._handed_over = self.core.hand_over()
        self._do(self.core.turn(), now)
        self._again = self.store.tend(self.core.host, now, idle=not ready)
        self.receivers.tend(now)
        self._wait_ms = self._pause_ms(now, idle=not ready)

    def _pause_ms(self, now: int, *, idle: bool) -> int:
        """How long the loop may sleep if nothing comes."""
        if self._again:
            return 0
        if not idle or self.store.busy or self._stopping_since is not None:
            return _POLL_MS
        return min(max(self.core.next_ms() - now, 1), _SLEEP_MS)

    def _take(self, peer: bytes, body: bytes) -> None:
        try:
            self.core.receive(peer, codec.decode_to_coordinator(body))
        except BadFrame:
            self.bad_frames += 1

    def _do(self, turn: CoordinatorTurn, now: int) -> None:
        self._tell_others(turn)
        self.store.write(turn.effects, now)
        self.store.apply(turn.effects)
        for peer, message in turn.answers:
            self._wait.sent(self.router)
            self.receivers.send(peer, codec.encode(message))
        for news in turn.broadcasts:
            self._wait.sent(self.publisher)
            drain.tell(self.publisher, codec.encode(news))
        for event in self.core.events():
            log.info("%s", event)
        cluster = self.core.state.map.cluster
        if cluster and not self.store.folder.cluster:
            self.store.folder.set_cluster(cluster)

    def _tell_others(self, turn: CoordinatorTurn) -> None:
        """What there is for the other coordinators."""
        now = self.core.host.now_ms
        self.peers.learn(self.core.addresses())
        for to, messages in turn.effects.messages.items():
            self.peers.send(0, to, messages, now)
        for to, messages in turn.effects.bulk.items():
            self.peers.send(0, to, messages, now, lane=SNAPSHOTS)
        for name, word in turn.words:
            self.peers.tell(name, codec.encode(word))
        for line in self.peers.tend(0, now):
            log.info("%s", line)

    def _figures(self) -> dict[str, int | float]:
        return process_gauges() | {
            "bad_frames": self.bad_frames,
            "unread_bytes": self.receivers.bytes,
            "unread_dropped": self.receivers.dropped,
        }

    def _where(self) -> tuple[str, str, str]:
        return self.settings.id, self.settings.listen, self.settings.publish

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._stopping_since is None:
            self._stopping_since = now_ms()

    def _stopped(self) -> bool:
        """Whether a stop was asked for, and the lead is handed over, or that took too long."""
        if self._stopping_since is None:
            return False
        return self._handed_over or now_ms() - self._stopping_since > _HAND_OVER_MS

    def _close(self) -> None:
        log.info("coordinator %s stops", self.settings.id)
        self.peers.close(clean=True)
        self._wait.close()
        sockets.close(self.router, clean=True)
        sockets.close(self.publisher, clean=True)
        self.context.term()
        self.store.close()
