"""A node's link to the coordinators: a DEALER to each, a SUB to each broadcast. The data path never waits for it."""

from collections.abc import Callable, Container, Sequence

import zmq

from zkv.core.cluster.choice import Choice
from zkv.net import drain, sockets
from zkv.net.wait import Wait

Source = zmq.Socket[bytes]
_Made = Callable[[zmq.Context[Source], str], Source]

_DEAF_AFTER = 40  # answers without any broadcast between them: 10 s, in which ten beacons were sent


class CoordinatorLink:
    """Speaks to one coordinator at a time, as `choice` says; keeps its sockets in `wait`.

    A connection may be half open: it takes what it is given and delivers nothing. So one that is silent is made anew.
    """

    def __init__(self, context: zmq.Context[Source], addresses: Sequence[str], wait: Wait) -> None:
        self._context = context
        self._wait = wait
        self.choice = Choice(addresses)
        self._dealers: dict[str, Source] = {}
        self._subscribers: dict[str, Source] = {}
        self._silent: set[str] = set()  # told of, and not heard since
        self._since_broadcast = 0
        self._lines: list[str] = []
        for address in addresses:
            self._connect(self._dealers, sockets.dealer, address)

    def follow(self, coordinators: Sequence[str], publishers: Sequence[str]) -> None:
        """These are the coordinators, and their broadcasts are to be heard, and no others."""
        self.choice.learn(coordinators)
        for address in [address for address in self._subscribers if address not in publishers]:
            self._disconnect(self._subscribers, address)
        for address in publishers:
            if address not in self._subscribers:
                self._connect(self._subscribers, sockets.subscriber, address)

    def drain(self, ready: Container[object]) -> tuple[list[tuple[str, bytes]], list[bytes]]:
        """What coordinators said to this node, each with its address, and what they broadcast."""
        said = [
            (address, body)
            for address, dealer in self._dealers.items()
            if dealer in ready
            for body in drain.drain(dealer)
        ]
        heard = [
            body for subscriber in self._subscribers.values() if subscriber in ready for body in drain.drain(subscriber)
        ]
        for address in {address for address, _ in said}:
            self.choice.answered(address)
            self._silent.discard(address)
        self._since_broadcast = 0 if heard else self._since_broadcast + len(said)
        return said, heard

    def tell(self, body: bytes, now_ms: int) -> None:
        """Say it to the coordinator that leads, as far as is known."""
        address, left = self.choice.ask(now_ms), self.choice.left
        if left:
            self._connect(self._dealers, sockets.dealer, left)
            if left not in self._silent:
                self._lines.append(f"the coordinator at {left} is silent: it is connected anew")
            self._silent.add(left)
        if address not in self._dealers:
            self._connect(self._dealers, sockets.dealer, address)
        self._wait.sent(self._dealers[address])
        drain.tell(self._dealers[address], body)

    def tend(self) -> list[str]:
        """Between turns: subscribe anew where answers come and broadcasts do not. Returns lines for the log."""
        if self._since_broadcast > _DEAF_AFTER:
            self._since_broadcast = 0
            for address in list(self._subscribers):
                self._connect(self._subscribers, sockets.subscriber, address)
                self._lines.append(f"the broadcast of {address} is silent: it is subscribed to anew")
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        """Close everything."""
        for source in (*self._dealers.values(), *self._subscribers.values()):
            sockets.close(source, clean=True)

    def _connect(self, among: dict[str, Source], make: _Made, address: str) -> None:
        """Connect, in place of the connection that there is."""
        self._disconnect(among, address)
        among[address] = make(self._context, address)
        self._wait.add(among[address])

    def _disconnect(self, among: dict[str, Source], address: str) -> None:
        old = among.pop(address, None)
        if old is not None:
            self._wait.remove(old)
            sockets.close(old, clean=False)
