"""A port whose connections can become holes: they stay open, take every byte, and pass on none."""

import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from zkv.testing.ports import ClaimedPorts

_PIECE_BYTES = 64 * 1024
_LOOK_S = 0.05


class Hole:
    """Passes on to `target` what arrives at `address`, from here to the end of the `with` block."""

    def __init__(self, target: str) -> None:
        self._claimed = ClaimedPorts(1)
        self.address = f"127.0.0.1:{self._claimed.ports[0]}"
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", self._claimed.ports[0]))
        self._other_end: dict[socket.socket, socket.socket] = {}
        self._swallowing: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many have come through it and are open."""
        with self._lock:
            return len(self._other_end) // 2

    def swallow(self) -> None:
        """From now on every connection that there is passes nothing on; new ones do."""
        with self._lock:
            self._swallowing = set(self._other_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        for end in (self._listener, *self._other_end):
            end.close()
        self._claimed.release()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(_LOOK_S):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                with self._lock:
                    self._accept() if end is self._listener else self._pass_on(end)

    def _accept(self) -> None:
        outer, _ = self._listener.accept()
        try:
            inner = socket.create_connection(tuple(self._target.split(":")), timeout=2.0)  # type: ignore[arg-type]  # host, port
        except OSError:  # nobody listens there now
            outer.close()
            return
        for one, other in ((outer, inner), (inner, outer)):
            self._other_end[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, end: socket.socket) -> None:
        if end not in self._other_end:
            return
        try:
            piece = end.recv(_PIECE_BYTES)
            if piece and end not in self._swallowing:
                self._other_end[end].sendall(piece)
        except OSError:  # the other side is gone
            piece = b""
        if not piece:
            self._close(end)

    def _close(self, end: socket.socket) -> None:
        for one in (end, self._other_end[end]):
            self._selector.unregister(one)
            del self._other_end[one]
            one.close()
