"""Sleeping until something has come, for one call to the system instead of eight.

`zmq.Poller` asks each socket before it sleeps and again after, with a call to the system each time. The FD of a socket
(ZMQ_FD) can be waited for like a file, but it is edge-triggered: it speaks once, and what is done with the socket next,
sending too, may silence it while messages are there. So whoever was ready or was sent on is asked itself before the
next sleep, and nobody else is.
"""

import selectors
from typing import Final, Protocol, cast

import zmq

Socket = zmq.Socket[bytes]

_EVENTS: Final = int(zmq.EVENTS)
_IN: Final = int(zmq.POLLIN)


class File(Protocol):
    """Whatever has a file descriptor that is readable as long as something is there."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


Source = Socket | File


class Wait:
    """Waits for messages on sockets and for files to be readable. Used by one thread at a time.

    `fileno` is itself readable while it would wake: an event loop may wait for that, after it has seen `here` empty.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._numbers: dict[Source, int] = {}
        self._unsure: set[Socket] = set()  # they may have something of which their FDs say nothing

    def fileno(self) -> int:
        """What an event loop may wait for."""
        return self._selector.fileno()

    def add(self, source: Source) -> None:
        """Wait for this one too. A socket must be removed before it is closed."""
        number = source.getsockopt(zmq.FD) if isinstance(source, zmq.Socket) else source.fileno()
        self._numbers[source] = cast(int, number)
        self._selector.register(cast(int, number), selectors.EVENT_READ, source)
        if isinstance(source, zmq.Socket):
            self._unsure.add(source)

    def remove(self, source: Source) -> None:
        """Wait for it no longer."""
        self._selector.unregister(self._numbers.pop(source))
        if isinstance(source, zmq.Socket):
            self._unsure.discard(source)

    def sent(self, socket: Socket) -> None:
        """Something was sent on this socket; may be called for each message."""
        self._unsure.add(socket)

    def here(self) -> set[Socket]:
        """The sockets that have something though their FDs need not say so. After an empty answer the FDs do."""
        if self._unsure:
            self._unsure = {socket for socket in self._unsure if has_something(socket)}
        return self._unsure

    def ready(self, most_ms: int) -> set[Source]:
        """Sleep until something has something, for at most `most_ms`; what has, and rarely what only seemed to."""
        here = self.here()
        found: set[Source] = {*here}
        for key, _ in self._selector.select(0 if here else most_ms / 1_000):
            found.add(key.data)
            if isinstance(key.data, zmq.Socket):
                here.add(key.data)
        return found

    def close(self) -> None:
        """Give the descriptors back; the sources stay open."""
        self._selector.close()


def has_something(socket: Socket) -> bool:
    """Whether a message is there now."""
    return bool(cast(int, socket.getsockopt(_EVENTS)) & _IN)
