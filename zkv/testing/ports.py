"""Free ports that stay free: claimed by a lock on a file, so that clusters side by side never take the same one.

They lie below the range from which the system gives ports to outgoing connections (32,768 and up on Linux): one of
those could otherwise take the port of a node that is dead for a moment.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from zkv.errors import StartError

_FIRST, _LAST = 20_000, 32_000


class ClaimedPorts:
    """Ports of 127.0.0.1 that nobody else claims until `release`.

    `beside`: at which distances from each of the `count` ports there is one more, which is claimed with it.
    """

    def __init__(self, count: int, *, beside: tuple[int, ...] = ()) -> None:
        self.ports: list[int] = []
        self._locks: list[int] = []
        self._folder = Path(tempfile.gettempdir()) / f"zkv-ports-{os.getuid()}"
        self._folder.mkdir(exist_ok=True)
        candidates = random.sample(range(_FIRST, _LAST), k=_LAST - _FIRST)
        for port in candidates:
            if len(self.ports) == count:
                break
            locks = self._lock([port, *(port + distance for distance in beside)])
            if locks:
                self._locks += locks
                self.ports.append(port)
        if len(self.ports) < count:
            self.release()
            raise StartError(f"there are no {count} free ports from {_FIRST} to {_LAST}")

    def release(self) -> None:
        """Let others have them. The files stay: removing one could part two claims of one port."""
        while self._locks:
            os.close(self._locks.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _lock(self, ports: list[int]) -> list[int]:
        """Descriptors that hold all these ports; none if one of them is not free."""
        locks: list[int] = []
        for port in ports:
            lock = os.open(self._folder / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            locks.append(lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            if not is_free(port):
                break
        else:
            return locks
        for lock in locks:
            os.close(lock)
        return []


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As libzmq does: a port whose last connections are still winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True
