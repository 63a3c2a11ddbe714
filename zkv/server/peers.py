"""Connections to the other nodes: one DEALER for messages, one for snapshots, so that bulk never delays a heartbeat.

Only sends: what a peer has to say arrives at our ROUTER. Nothing ever waits for a peer: what cannot be queued is
dropped, and Raft or the client sends it again.
"""

from collections.abc import Mapping, Sequence

import zmq

from zkv import limits
from zkv.core.cluster.frames import PeerMessage, Peers
from zkv.core.node.host import Address
from zkv.ids import NodeId
from zkv.net import drain, sockets
from zkv.wire import codec

_SPARE_BYTES = 64 * 1024


class PeerLinks:
    """One process's links to its peers. Addresses come from the shard map, and change with it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], me: NodeId) -> None:
        self.sent = 0
        self.dropped = 0
        self._context = context
        self._me = me
        self._known: Mapping[NodeId, tuple[str, int]] = {}
        self._sockets: dict[tuple[str, bool], zmq.Socket[bytes]] = {}

    def learn(self, addresses: Mapping[NodeId, tuple[str, int]]) -> None:
        """Where the peers are now; links to addresses that nobody has any more are closed."""
        self._known = addresses
        living = {address for address, _ in addresses.values()}
        for key in [key for key in self._sockets if key[0] not in living]:
            sockets.close(self._sockets.pop(key), clean=False)

    def send(self, cluster: int, to: Address, messages: Sequence[PeerMessage], *, bulk: bool = False) -> None:
        """One frame with all of them; cut in two where it would be too large."""
        node, incarnation = to
        known = self._known.get(node)
        if known is None:
            self.dropped += len(messages)
            return
        address, latest = known
        body = codec.encode(Peers(cluster, self._me, incarnation or latest, tuple(messages)))
        if len(body) > limits.FRAME_BYTES_MAX - _SPARE_BYTES and len(messages) > 1:
            middle = len(messages) // 2
            self.send(cluster, to, messages[:middle], bulk=bulk)
            self.send(cluster, to, messages[middle:], bulk=bulk)
            return
        if drain.tell(self._link(address, bulk=bulk), body):
            self.sent += 1
        else:
            self.dropped += len(messages)

    def close(self, *, clean: bool) -> None:
        """Close all links."""
        for socket in self._sockets.values():
            sockets.close(socket, clean=clean)
        self._sockets.clear()

    def _link(self, address: str, *, bulk: bool) -> zmq.Socket[bytes]:
        socket = self._sockets.get((address, bulk))
        if socket is None:
            socket = self._sockets[address, bulk] = sockets.dealer(self._context, address)
        return socket
