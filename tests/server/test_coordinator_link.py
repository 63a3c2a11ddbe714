"""The link to coordinators over real sockets that take everything and deliver nothing."""

import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from tests.cluster.hole import Hole
from zkv.net import drain, sockets
from zkv.net.clock import now_ms
from zkv.net.wait import Wait
from zkv.server.coordinator_link import CoordinatorLink
from zkv.testing.ports import ClaimedPorts

WITHIN_S = 20.0


class Coordinator:
    """One that answers each word with another while `answers`; and its broadcast."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._claimed = ClaimedPorts(2)
        self.address, self.publish = (f"127.0.0.1:{port}" for port in self._claimed.ports)
        self.router = sockets.router(context, self.address)
        self.publisher = sockets.publisher(context, self.publish)
        self.answers = True
        self.heard: list[bytes] = []

    def turn(self) -> None:
        for peer, body in drain.drain_router(self.router):
            self.heard.append(peer)
            if self.answers:
                drain.answer(self.router, peer, b"heard " + body)
        drain.drain(self.publisher)
        drain.tell(self.publisher, b"beacon")

    def close(self) -> None:
        self.router.close(linger=0)
        self.publisher.close(linger=0)
        self._claimed.release()


class Side:
    """The node's side: speaks, listens, and writes down what its log would say."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], *addresses: str) -> None:
        self.wait = Wait()
        self.link = CoordinatorLink(context, addresses, self.wait)
        self.said, self.broadcasts = 0, 0
        self.lines: list[str] = []

    def turn(self) -> None:
        """Say a word, and wait a moment for an answer: a new connection needs its time."""
        self.link.tell(b"word", now_ms())
        said, broadcasts = self.link.drain(self.wait.ready(50))
        self.said += len(said)
        self.broadcasts += len(broadcasts)
        self.lines += self.link.tend()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made = sockets.context()
    yield made
    made.destroy(linger=0)


def turns_until(what: Callable[[], bool], side: Side, *coordinators: Coordinator) -> None:
    end = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < end, f"not within {WITHIN_S:.0f} s; {side.lines}"
        side.turn()
        for coordinator in coordinators:
            coordinator.turn()


def test_a_silent_coordinator_is_left_for_the_next_and_connected_anew(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    silent, other = Coordinator(context), Coordinator(context)
    side = Side(context, silent.address, other.address)
    turns_until(lambda: side.said > 20, side, silent, other)
    assert not other.heard, "one at a time"
    silent.answers = False
    said = side.said
    turns_until(lambda: side.said > said + 50, side, silent, other)
    assert side.lines == [f"the coordinator at {silent.address} is silent: it is connected anew"]
    before, known = len(other.heard), set(silent.heard)
    other.answers, silent.answers = False, True
    turns_until(lambda: bool(set(silent.heard) - known), side, silent, other)
    said = side.said
    turns_until(lambda: side.said > said + 20, side, silent, other)
    assert len(other.heard) > before
    side.link.close()
    silent.close()
    other.close()


def test_a_coordinator_behind_a_half_open_connection_is_reached_by_a_new_one(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    coordinator = Coordinator(context)
    with Hole(coordinator.address) as hole:
        side = Side(context, hole.address)
        turns_until(lambda: side.said > 20, side, coordinator)
        hole.swallow()
        said = side.said
        turns_until(lambda: side.said > said + 50, side, coordinator)
        assert side.lines == [f"the coordinator at {hole.address} is silent: it is connected anew"]
        side.link.close()
    coordinator.close()


def test_a_broadcast_that_is_half_open_is_subscribed_to_anew(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    coordinator = Coordinator(context)
    with Hole(coordinator.publish) as hole:
        side = Side(context, coordinator.address)
        side.link.follow([], [hole.address])
        turns_until(lambda: side.broadcasts > 5, side, coordinator)
        hole.swallow()
        heard = side.broadcasts
        anew = f"the broadcast of {hole.address} is silent: it is subscribed to anew"
        turns_until(lambda: anew in side.lines, side, coordinator)
        turns_until(lambda: side.broadcasts > heard + 20, side, coordinator)
        side.link.close()
    coordinator.close()
