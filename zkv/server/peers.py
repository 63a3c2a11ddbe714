"""Connections to the other nodes: one DEALER for messages, one for snapshots, so that bulk never delays a heartbeat.

Only sends: what a peer has to say arrives at our ROUTER. Nothing ever waits for a peer: what cannot be queued is
dropped, and Raft or the client sends it again. What a link has delivered is told by the peer (`LinkWatch`).
"""

from collections.abc import Mapping, Sequence

import zmq

from zkv import limits
from zkv.core.cluster import versions
from zkv.core.cluster.frames import PeerMessage, Peers
from zkv.core.node.host import Address
from zkv.core.node.links import MESSAGES, LinkWatch
from zkv.ids import NodeId
from zkv.net import drain, sockets
from zkv.net.unread import Unread
from zkv.wire import codec

_SPARE_BYTES = 64 * 1024
_TEND_MS = 100


class PeerLinks:
    """One process's links to its peers. Addresses come from the shard map, and change with it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], me: NodeId, watch: LinkWatch) -> None:
        self.sent = 0
        self.dropped = 0
        self._watch = watch
        self._tend_at_ms = 0
        self._context = context
        self._me = me
        self._known: Mapping[NodeId, tuple[str, int]] = {}
        self._sockets: dict[tuple[str, int], zmq.Socket[bytes]] = {}
        self._unread: dict[tuple[str, int], Unread] = {}

    def learn(self, addresses: Mapping[NodeId, tuple[str, int]]) -> None:
        """Where the peers are now; links to addresses that nobody has any more are closed."""
        self._known = addresses
        living = {address for address, _ in addresses.values()}
        for key in [key for key in self._sockets if key[0] not in living]:
            sockets.close(self._sockets.pop(key), clean=False)
            del self._unread[key]

    def send(
        self, cluster: int, to: Address, messages: Sequence[PeerMessage], now_ms: int, *, lane: int = MESSAGES
    ) -> None:
        """One frame with all of them; cut in two where it would be too large."""
        node, incarnation = to
        known = self._known.get(node)
        if known is None:
            self.dropped += len(messages)
            return
        address, latest = known
        heard_ms = self._watch.heard_of(node)
        told, protocol = tuple(messages), versions.PROTOCOL_VERSION
        body = codec.encode(Peers(cluster, self._me, incarnation or latest, told, lane, now_ms, heard_ms, protocol))
        if len(body) > limits.FRAME_BYTES_MAX - _SPARE_BYTES and len(messages) > 1:
            middle = len(messages) // 2
            self.send(cluster, to, messages[:middle], now_ms, lane=lane)
            self.send(cluster, to, messages[middle:], now_ms, lane=lane)
            return
        link = self._link(address, lane)
        unread = self._unread[address, lane]
        if unread.admits(len(body)) and drain.tell(link, frame := unread.frame(body)):
            unread.sent(frame)
            self.sent += 1
            self._watch.sent(node, lane, now_ms, empty=not messages)
        else:
            self.dropped += len(messages)

    def tell(self, node: NodeId, body: bytes) -> None:
        """One frame of no lane, for which no echo is expected: first words of two who do not know each other."""
        known = self._known.get(node)
        if known is not None:
            drain.tell(self._link(known[0], MESSAGES), body)

    def tend(self, cluster: int, now_ms: int) -> list[str]:
        """Connect anew what has gone silent, and give signs of life that are owed. Returns lines for the log."""
        if now_ms < self._tend_at_ms:
            return []
        self._tend_at_ms = now_ms + _TEND_MS
        lines = self._watch.told()
        for node, lane in self._watch.silent(now_ms):
            known = self._known.get(node)
            silent = self._sockets.pop((known[0], lane), None) if known is not None else None
            if silent is not None:
                sockets.close(silent, clean=False)
                lines.append(f"the link to {node} is silent and is connected anew")
        for node in self._watch.owing(now_ms):
            self.send(cluster, (node, 0), (), now_ms)
        return lines

    def close(self, *, clean: bool) -> None:
        """Close all links."""
        for socket in self._sockets.values():
            sockets.close(socket, clean=clean)
        self._sockets.clear()

    def _link(self, address: str, lane: int) -> zmq.Socket[bytes]:
        socket = self._sockets.get((address, lane))
        if socket is None:
            socket = self._sockets[address, lane] = sockets.dealer(self._context, address)
            self._unread[address, lane] = Unread(limits.UNREAD_BYTES_PER_LINK_MAX)
        return socket
