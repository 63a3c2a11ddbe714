"""Garbage is worth sending only if some of it gets past the library to whoever reads the socket."""

import zmq

from zkv.chaos.garbage import Garbage
from zkv.net import sockets
from zkv.testing.ports import ClaimedPorts

_PATIENCE_MS = 60_000


def test_some_garbage_arrives_as_messages_and_some_only_as_connections() -> None:
    with ClaimedPorts(2) as claimed:
        requests, broadcast = (f"127.0.0.1:{port}" for port in claimed.ports)
        context = sockets.context()
        router, publisher = sockets.router(context, requests), sockets.publisher(context, broadcast)
        try:
            with Garbage([requests, broadcast], seed=1) as senders:
                bodies = {received(router)[-1] for _ in range(50)}
                received(publisher)  # what XPUB takes for a subscription
        finally:
            sockets.close(router, clean=False)
            sockets.close(publisher, clean=False)
            context.term()
    assert len(bodies) > 20
    assert senders.connections > 10
    assert senders.bytes > 10_000


def received(socket: zmq.Socket[bytes]) -> list[bytes]:
    assert socket.poll(_PATIENCE_MS), "nothing gets through"
    return socket.recv_multipart()
