"""One client's sockets and its router, a turn at a time: drain, clock, tick, hand back, send.

A DEALER to each address with a monitor (so that a lost connection is news at once), a SUB to each publisher. Used by
one thread at a time; the three shells differ only in how they wait and how they hand results back.
"""

from collections.abc import Iterable
from random import SystemRandom
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from zkv import limits
from zkv.core.routing.ledger import Finished
from zkv.core.routing.router import Router
from zkv.errors import BadFrame, InvalidRequest, StartError
from zkv.net import drain, sockets
from zkv.net.clock import now_ms, wall_ms
from zkv.net.wait import Socket, Source, Wait, has_something
from zkv.wire import codec

_WATCHED: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_IDLE_MS: Final = 1_000  # a poll never lasts longer, whatever the router waits for
_TIMEOUT_S_MAX: Final = limits.DEADLINE_MS_MAX / 1_000


class Link:
    """A connection to one address, and the socket that tells how it is."""

    __slots__ = ("address", "dealer", "monitor")

    def __init__(self, context: zmq.Context[Socket], address: str) -> None:
        self.address = address
        self.dealer, self.monitor = sockets.monitored_dealer(context, address, _WATCHED)

    def close(self, *, clean: bool) -> None:
        """Close both sockets."""
        self.dealer.disable_monitor()
        self.monitor.close(linger=0)
        sockets.close(self.dealer, clean=clean)


class Turns:
    """The sockets of one client, which `waiting` waits for. `bad_frames` counts what was no frame."""

    def __init__(self, addresses: tuple[str, ...], *, direct: bool) -> None:
        now = now_ms()
        self.router = Router(addresses, direct=direct, rng=SystemRandom(), wall_ms=wall_ms(), now_ms=now)
        self.waiting = Wait()
        self.bad_frames = 0
        self._context = sockets.context()
        self._links: dict[str, Link] = {}
        self._subscribers: dict[str, Socket] = {}
        self._followed = -1  # the changes of the router's peers that the sockets have followed
        self._owners: dict[Socket, Link | None] = {}  # of dealers and monitors; None: a subscriber
        self._follow()

    def wait(self, *, most_ms: int = _IDLE_MS) -> set[Source]:
        """Sleep until some socket has something, the router has something to do, or `most_ms` have passed."""
        pause = min(max(self.router.next_ms() - now_ms(), 0), most_ms)
        return self.waiting.ready(pause)

    def receive(self, ready: Iterable[Source]) -> int:
        """Take what is there, then let the router do what is due. Returns the moment, read after the last message."""
        taken: list[tuple[Link | None, Socket, list[bytes]]] = []
        for source in ready:
            if isinstance(source, zmq.Socket) and source in self._owners:
                link = self._owners[source]
                if link is not None and source is link.monitor:
                    self._watch(link)
                else:
                    taken.append((link, source, drain.drain(source)))
        now = now_ms()
        for link, _, bodies in taken:
            for body in bodies:
                self._hand_in(link, body, now)
        self.router.tick(now)
        return now

    def finished(self) -> list[Finished]:
        """(token, result or ZkvError) of each request that has ended."""
        return self.router.finished()

    def send(self, now: int) -> None:
        """Send all that the router has to say, and keep the connections that it wants."""
        router = self.router
        for address, message in router.take(now):
            link = self._links.get(address)
            if link is None:
                router.returned(address, message, now)
                continue
            self.waiting.sent(link.dealer)
            if not drain.tell(link.dealer, codec.encode(message)):
                router.returned(address, message, now)
        if self._followed != router.peers.changes or router.peers.renew:
            self._follow()

    def close(self, *, clean: bool = True) -> None:
        """Close every socket."""
        self.waiting.close()
        for link in self._links.values():
            link.close(clean=clean)
        for subscriber in self._subscribers.values():
            subscriber.close(linger=0)
        self._links, self._subscribers, self._owners = {}, {}, {}
        self._context.term()

    def _hand_in(self, link: Link | None, body: bytes, now: int) -> None:
        try:
            if link is None:
                self.router.heard(codec.decode_broadcast(body), now)
            else:
                self.router.receive(link.address, codec.decode_to_client(body), now)
        except BadFrame:
            self.bad_frames += 1

    def _watch(self, link: Link) -> None:
        now = now_ms()
        while has_something(link.monitor):
            event = recv_monitor_message(link.monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.router.connected(link.address, now)
            elif event == zmq.EVENT_DISCONNECTED:
                self.router.disconnected(link.address, now)

    def _follow(self) -> None:
        """Connect to what the router wants, anew where a link is silent; close the rest."""
        peers = self.router.peers
        wanted, publishers = peers.known, peers.publishers
        for address in [*self._links]:
            if address not in wanted or address in peers.renew:
                link = self._links.pop(address)
                self._disown(link.dealer, link.monitor)
                link.close(clean=False)
                self.router.disconnected(address, now_ms())
        peers.renew.clear()
        for address in [*self._subscribers]:
            if address not in publishers:
                subscriber = self._subscribers.pop(address)
                self._disown(subscriber)
                subscriber.close(linger=0)
        for address in wanted:
            if address not in self._links:
                self._connect(address)
        for address in publishers:
            if address not in self._subscribers:
                subscriber = self._subscribers[address] = sockets.subscriber(self._context, address)
                self._own(None, subscriber)
        self._followed = peers.changes

    def _connect(self, address: str) -> None:
        try:
            link = self._links[address] = Link(self._context, address)
        except StartError:
            if self._followed < 0:
                raise  # a given address; one in the map that is none is as good as a dead node
        else:
            self._own(link, link.dealer, link.monitor)

    def _own(self, link: Link | None, *sources: Socket) -> None:
        for source in sources:
            self._owners[source] = link
            self.waiting.add(source)

    def _disown(self, *sources: Socket) -> None:
        for source in sources:
            del self._owners[source]
            self.waiting.remove(source)


Given = str | Iterable[str]  # "HOST:PORT", several with commas between, or several strings


def parse_addresses(given: Iterable[Given]) -> tuple[str, ...]:
    """All addresses given, in order, without repeats. Raises InvalidRequest."""
    texts = [text for one in given for text in (one.split(",") if isinstance(one, str) else one)]
    addresses = tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise InvalidRequest(f"an address is HOST:PORT, not {address!r}")
    if not addresses:
        raise InvalidRequest("no address was given")
    return addresses


def deadline_after(timeout_s: float, now: int) -> int:
    """The moment `timeout_s` from now. Raises InvalidRequest unless it is above 0 and within limits.DEADLINE_MS_MAX."""
    if not 0 < timeout_s <= _TIMEOUT_S_MAX:
        raise InvalidRequest(f"timeout_s is above 0 and at most {_TIMEOUT_S_MAX:g}, not {timeout_s!r}")
    return now + max(1, int(timeout_s * 1_000))
