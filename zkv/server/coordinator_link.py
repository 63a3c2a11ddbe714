"""A node's link to the coordinators: a DEALER to each, a SUB to each broadcast. The data path never waits for it."""

from collections.abc import Callable, Sequence

import zmq

from zkv.net import drain, sockets

Source = zmq.Socket[bytes]
_Made = Callable[[zmq.Context[Source], str], Source]

_SILENT_AFTER = 8  # messages without any answer: 2 s
_DEAF_AFTER = 40  # answers without any broadcast between them: 10 s, in which ten beacons were sent


class CoordinatorLink:
    """Speaks to one coordinator at a time, and to the next when it stays silent; keeps its sockets in `poller`.

    A connection may be half open: it takes what it is given and delivers nothing. So one that is silent is made anew.
    """

    def __init__(self, context: zmq.Context[Source], addresses: Sequence[str], poller: zmq.Poller) -> None:
        self._context = context
        self._poller = poller
        self._addresses = addresses
        self._dealers: dict[str, Source] = {}
        self._subscribers: dict[str, Source] = {}
        self._current = 0
        self._unanswered = 0
        self._silent = False  # told, and not heard since
        self._since_broadcast = 0
        self._lines: list[str] = []
        for address in addresses:
            self._connect(self._dealers, sockets.dealer, address)

    def follow(self, publishers: Sequence[str]) -> None:
        """Listen to these broadcasts."""
        for address in publishers:
            if address not in self._subscribers:
                self._connect(self._subscribers, sockets.subscriber, address)

    def drain(self, ready: dict[object, int]) -> tuple[list[bytes], list[bytes]]:
        """What coordinators said to this node, and what they broadcast."""
        said = [body for dealer in self._dealers.values() if dealer in ready for body in drain.drain(dealer)]
        heard = [
            body for subscriber in self._subscribers.values() if subscriber in ready for body in drain.drain(subscriber)
        ]
        if said:
            self._unanswered, self._silent = 0, False
            self._since_broadcast += len(said)
        if heard:
            self._since_broadcast = 0
        return said, heard

    def tell(self, body: bytes) -> None:
        """Say it to the coordinator that answered last, or the next one if that one has gone silent."""
        self._unanswered += 1
        if self._unanswered > _SILENT_AFTER:
            self._unanswered = 0
            address = self._addresses[self._current]
            self._connect(self._dealers, sockets.dealer, address)
            self._current = (self._current + 1) % len(self._addresses)
            if not self._silent:
                self._lines.append(f"the coordinator at {address} is silent: it is connected anew")
            self._silent = True
        drain.tell(self._dealers[self._addresses[self._current]], body)

    def tend(self) -> list[str]:
        """Between turns: subscribe anew where answers come and broadcasts do not. Returns lines for the log."""
        if self._since_broadcast > _DEAF_AFTER:
            self._since_broadcast = 0
            for address in self._subscribers:
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
        old = among.get(address)
        if old is not None:
            self._poller.unregister(old)
            sockets.close(old, clean=False)
        among[address] = make(self._context, address)
        self._poller.register(among[address], zmq.POLLIN)
