"""Waiting by FD: nothing that has come is slept through, whatever has silenced the FD."""

import os
import select
from collections.abc import Iterator

import pytest
import zmq

from zkv.net import drain
from zkv.net.wait import Socket, Wait, has_something

SOON_MS, LONG_MS = 20, 10_000


class Pair:
    """A ROUTER, and a DEALER that is connected to it and known there."""

    def __init__(self, context: zmq.Context[Socket]) -> None:
        self.router, self.dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.dealer.connect(f"tcp://127.0.0.1:{port}")
        self.dealer.send(b"hello")
        assert self.router.poll(LONG_MS)
        [(self.peer, _)] = drain.drain_router(self.router)

    def bring(self, *bodies: bytes) -> None:
        """Messages to the router; returns when its FD says so, and asks nothing of the socket itself."""
        for body in bodies:
            self.dealer.send(body)
        assert is_readable(self.router.getsockopt(zmq.FD), LONG_MS)

    def close(self) -> None:
        for socket in (self.dealer, self.router):
            socket.close(linger=0)


def is_readable(number: object, most_ms: int) -> bool:
    assert isinstance(number, int)
    return bool(select.select([number], [], [], most_ms / 1_000)[0])


@pytest.fixture
def context() -> Iterator[zmq.Context[Socket]]:
    made: zmq.Context[Socket] = zmq.Context()
    yield made
    made.term()


@pytest.fixture
def pair(context: zmq.Context[Socket]) -> Iterator[Pair]:
    made = Pair(context)
    yield made
    made.close()


@pytest.fixture
def wait() -> Iterator[Wait]:
    made = Wait()
    yield made
    made.close()


def settled(wait: Wait) -> Wait:
    """Nothing is there, and nobody is in doubt."""
    while wait.ready(SOON_MS):
        continue
    return wait


def test_who_has_something_is_told_and_who_was_drained_is_not(pair: Pair, wait: Wait) -> None:
    wait.add(pair.router)
    settled(wait)
    pair.bring(b"one")
    assert wait.ready(LONG_MS) == {pair.router}
    assert drain.drain_router(pair.router) == [(pair.peer, b"one")]
    assert wait.ready(SOON_MS) == set()


def test_what_was_there_before_is_seen(pair: Pair, wait: Wait) -> None:
    pair.bring(b"one")
    assert has_something(pair.router)
    assert not is_readable(pair.router.getsockopt(zmq.FD), 0), "asking has silenced the FD"
    wait.add(pair.router)
    assert wait.ready(LONG_MS) == {pair.router}


def test_what_is_left_after_a_turn_is_told_again(pair: Pair, wait: Wait) -> None:
    wait.add(pair.router)
    settled(wait)
    pair.bring(b"one", b"two", b"three")
    for _ in range(3):
        assert wait.ready(LONG_MS) == {pair.router}
        pair.router.recv_multipart()
    assert wait.ready(SOON_MS) == set()


def test_a_send_may_silence_the_fd_and_hides_nothing(pair: Pair, wait: Wait) -> None:
    wait.add(pair.router)
    settled(wait)
    pair.bring(b"one")
    assert has_something(pair.router)  # as a send does: it heeds what the socket was told, and silences the FD
    assert not is_readable(pair.router.getsockopt(zmq.FD), 0)
    wait.sent(pair.router)
    assert wait.ready(LONG_MS) == {pair.router}


def test_who_always_has_something_hides_nobody(context: zmq.Context[Socket], pair: Pair, wait: Wait) -> None:
    other = Pair(context)
    for router in (pair.router, other.router):
        wait.add(router)
    settled(wait)
    pair.bring(b"one", b"two")
    assert wait.ready(LONG_MS) == {pair.router}
    other.bring(b"one")
    assert wait.ready(LONG_MS) == {pair.router, other.router}
    other.close()


def test_a_file_is_told_as_long_as_it_is_readable(wait: Wait) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as source, os.fdopen(writer, "wb", buffering=0) as end:
        wait.add(source)
        assert wait.ready(SOON_MS) == set()
        end.write(b"x")
        assert wait.ready(LONG_MS) == wait.ready(LONG_MS) == {source}
        source.read(1)
        assert wait.ready(SOON_MS) == set()


def test_who_was_removed_is_not_told(pair: Pair, wait: Wait) -> None:
    wait.add(pair.router)
    settled(wait)
    pair.bring(b"one")
    wait.remove(pair.router)
    assert wait.ready(SOON_MS) == set()


def test_an_event_loop_may_wait_for_the_one_descriptor_once_nothing_is_here(pair: Pair, wait: Wait) -> None:
    wait.add(pair.router)
    settled(wait)
    assert not wait.here()
    assert not is_readable(wait.fileno(), SOON_MS)
    pair.bring(b"one")
    assert is_readable(wait.fileno(), LONG_MS)
    assert wait.ready(0) == {pair.router}
    assert wait.here() == {pair.router}, "nothing was taken yet"
    drain.drain_router(pair.router)
    assert not wait.here()
    assert not is_readable(wait.fileno(), SOON_MS)
