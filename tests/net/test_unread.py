"""What receivers leave unread is bounded in bytes, and the bound is given back when they read or leave."""

import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from zkv import limits
from zkv.net import sockets
from zkv.net.unread import Receivers, Unread

SMALL, LARGE = b"s" * 10_000, b"l" * 1_000_000
IN_THE_SYSTEM = 64 * 1024 * 1024  # no less than what the kernel's buffers of one connection take


class Server:
    """A ROUTER that answers, and what was asked over it."""

    def __init__(self) -> None:
        self.context = sockets.context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.set_hwm(100_000)  # far above what the bytes allow
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.receivers = Receivers(self.socket)
        self.clients: list[zmq.Socket[bytes]] = []
        self.now_ms = 0

    def client(self) -> tuple[bytes, zmq.Socket[bytes]]:
        """One more client, which reads when it is made to; and its name for the server."""
        client = self.context.socket(zmq.DEALER)
        client.setsockopt(zmq.RCVHWM, 1)
        client.setsockopt(zmq.LINGER, 0)
        client.connect(f"tcp://127.0.0.1:{self.port}")
        client.send(b"hello")
        self.clients.append(client)
        return self.socket.recv_multipart()[0], client

    def clog(self, receiver: bytes, body: bytes) -> None:
        """Answer until the bound is met and something was dropped."""
        before = self.receivers.dropped
        for _ in range((IN_THE_SYSTEM + limits.UNREAD_BYTES_PER_CLIENT_MAX) // len(body)):
            self.receivers.send(receiver, body)
            if self.receivers.dropped > before:
                return
        raise AssertionError("nothing was dropped")

    def left_by(self, receiver: bytes) -> int:
        """Bytes that count as unread by that receiver: it may have read more, as the sockets tell of it late."""
        unread = self.receivers._unread.get(receiver)
        return unread.bytes if unread is not None else 0

    def wait_until(self, what: Callable[[], bool]) -> None:
        """Look again and again, with a clock that runs fast, until it is so."""
        end = time.monotonic() + 10
        while not what():
            assert time.monotonic() < end, "not within 10 s"
            self.now_ms += 1_000
            self.receivers.tend(self.now_ms)
            self.socket.poll(2)  # as a process does: who has left is noticed there


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    for socket in (made.socket, *made.clients):
        socket.close(linger=0)
    made.context.term()


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_what_one_receiver_leaves_unread_is_bounded_in_bytes(server: Server, body: bytes) -> None:
    receiver, client = server.client()
    server.clog(receiver, body)
    assert server.receivers.bytes <= limits.UNREAD_BYTES_PER_CLIENT_MAX
    assert receiver in server.receivers.crowded
    poller = zmq.Poller()
    poller.register(client, zmq.POLLIN)
    taken = 0
    while poller.poll(200):
        assert client.recv() == body, "what was sent arrives whole, and in order"
        taken += 1
    assert taken * len(body) > limits.UNREAD_BYTES_PER_CLIENT_MAX // 2
    server.wait_until(lambda: server.receivers.bytes == 0)
    assert server.receivers.crowded == set()
    dropped = server.receivers.dropped
    server.receivers.send(receiver, body)
    assert client.poll(5_000), "who has read is answered again"
    assert server.receivers.dropped == dropped


def test_who_leaves_takes_what_was_unread_along(server: Server) -> None:
    receiver, client = server.client()
    server.clog(receiver, LARGE)
    client.close(linger=0)
    server.wait_until(lambda: server.receivers.bytes == 0)
    assert server.receivers.crowded == set()
    dropped = server.receivers.dropped
    server.receivers.send(receiver, SMALL)
    assert server.receivers.dropped == dropped + 1


def test_receivers_are_bounded_together_and_who_reads_is_still_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNREAD_BYTES_MAX", 0)  # it is reached by what the others leave
    for _ in range(4):
        server.clog(server.client()[0], LARGE)
    assert server.receivers.bytes <= 4 * (limits.UNREAD_SPARE_BYTES + limits.UNREAD_GRANULE_BYTES)
    reader, client = server.client()
    dropped = server.receivers.dropped
    for _ in range(50):
        for _ in range(50):
            server.receivers.send(reader, SMALL)
        for _ in range(50):
            assert client.poll(5_000)
            assert client.recv() == SMALL
        server.wait_until(lambda: server.left_by(reader) <= 2 * limits.UNREAD_GRANULE_BYTES)
    assert server.receivers.dropped == dropped


def test_few_of_many_small_messages_are_tracked() -> None:
    unread = Unread(limits.UNREAD_BYTES_PER_CLIENT_MAX)

    tracked = 0
    for _ in range(1_000):
        frame = unread.frame(b"x" * 1_000)
        unread.sent(frame)
        tracked += isinstance(frame, zmq.Frame)
    assert tracked == 1 + 1_000_000 // limits.UNREAD_GRANULE_BYTES
