"""Links that can be cut where there are no namespaces: a proxy before each process, whose address is the one it tells.

Not reached: what coordinators broadcast, what they say to one another, and what clients ask them: the addresses for
that are in the map.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from zkv.chaos.network import Link
from zkv.chaos.proxy import SLOWNESS, Door, Order
from zkv.testing.cluster import Place
from zkv.testing.names import is_coordinator
from zkv.testing.ports import ClaimedPorts

_HOST = "127.0.0.1"


class Proxies:
    """One process with a port for each process of the cluster whose folder is in `data`. Owned by one thread."""

    name = "proxies between the processes"

    def __init__(self, names: Sequence[str], data: Path) -> None:
        self._claimed = ClaimedPorts(2 * len(names))
        addresses = [f"{_HOST}:{port}" for port in self._claimed.ports]
        doors = [
            Door(name, listen, target, str(data / name))
            for name, listen, target in zip(names, addresses, addresses[len(names) :], strict=False)
        ]
        self._cut: set[Link] = set()
        self._slow: set[str] = set()
        command = [sys.executable, "-m", "zkv.chaos.proxy", msgspec.json.encode(doors).decode()]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._wait_until_done()
        join = ",".join(door.listen for door in doors if is_coordinator(door.name))
        self.places = {
            door.name: Place(listen=door.target)
            if is_coordinator(door.name)
            else Place(listen=door.target, advertise=door.listen, join=join)
            for door in doors
        }

    def cut(self, links: Iterable[Link]) -> None:
        """From now on nothing passes these links; what is sent waits, as in a connection that is cut."""
        self._cut |= set(links)
        self._tell()

    def slow(self, name: str) -> str:
        """From now on the links of one process are slow; says how slow."""
        self._slow.add(name)
        self._tell()
        return SLOWNESS

    def heal(self) -> None:
        """All is as at the beginning."""
        self._cut.clear()
        self._slow.clear()
        self._tell()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()  # its pipes are closed too
        self._claimed.release()

    def _tell(self) -> None:
        assert self._process.stdin is not None
        order = Order(sorted(self._cut), sorted(self._slow))
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        self._wait_until_done()

    def _wait_until_done(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise OSError(f"the proxy ended with exit status {self._process.wait()}")
