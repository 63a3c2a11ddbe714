"""A node's link to the coordinators: a DEALER to each, a SUB to each broadcast. The data path never waits for it."""

from collections.abc import Sequence

import zmq

from zkv.net import drain, sockets

Source = zmq.Socket[bytes]


class CoordinatorLink:
    """Speaks to one coordinator at a time, and to the next when it stays silent."""

    def __init__(self, context: zmq.Context[Source], addresses: Sequence[str]) -> None:
        self._context = context
        self._dealers = [sockets.dealer(context, address) for address in addresses]
        self._subscribers: dict[str, Source] = {}
        self._current = 0
        self._unanswered = 0

    def sockets(self) -> list[Source]:
        """Everything to poll at the start; `follow` returns what comes later."""
        return [*self._dealers, *self._subscribers.values()]

    def follow(self, publishers: Sequence[str]) -> list[Source]:
        """Listen to these broadcasts; returns the new sockets, to be polled as well."""
        fresh = [address for address in publishers if address not in self._subscribers]
        for address in fresh:
            self._subscribers[address] = sockets.subscriber(self._context, address)
        return [self._subscribers[address] for address in fresh]

    def drain(self, ready: dict[object, int]) -> tuple[list[bytes], list[bytes]]:
        """What coordinators said to this node, and what they broadcast."""
        said = [body for dealer in self._dealers if dealer in ready for body in drain.drain(dealer)]
        heard = [
            body for subscriber in self._subscribers.values() if subscriber in ready for body in drain.drain(subscriber)
        ]
        if said:
            self._unanswered = 0
        return said, heard

    def tell(self, body: bytes) -> None:
        """Say it to the coordinator that answered last, or the next one if that one has gone silent."""
        self._unanswered += 1
        if self._unanswered > _SILENT_AFTER:
            self._unanswered = 0
            self._current = (self._current + 1) % len(self._dealers)
        drain.tell(self._dealers[self._current], body)

    def close(self) -> None:
        """Close everything."""
        for source in self.sockets():
            sockets.close(source, clean=True)


_SILENT_AFTER = 8  # messages without any answer
