"""A network namespace for each process of the cluster, joined by a bridge in the run's own: links are cut one by one.

Each process has an address and a hardware address (MAC) of its own, and knows those of all others for good. A link is
cut by giving its sender a wrong hardware address: packets leave and arrive nowhere, in that one direction, and nobody
is told. TCP then loses the acknowledgements of what flows the other way, as with a real one-way cut.
"""

import subprocess
from collections.abc import Iterable, Sequence

from zkv.chaos.isolation import run, succeeds
from zkv.chaos.network import CLIENTS, Link
from zkv.testing.cluster import Place
from zkv.testing.names import is_coordinator

_NOWHERE = "02:7a:6b:ff:ff:ff"
_BRIDGE, _INSIDE = "zkv", "eth0"
_REQUESTS, _PUBLISH = 7400, 7401
_NETEM = ("netem", "delay", "40ms", "20ms", "loss", "2%")
_TBF = ("tbf", "rate", "512kbit", "burst", "8kb", "latency", "300ms")


class Namespaces:
    """The bridge, and a holder process for each namespace. Needs `isolation.enter`; gone with this process."""

    name = "network namespaces"

    def __init__(self, names: Sequence[str]) -> None:
        self._number = {name: number for number, name in enumerate((CLIENTS, *names), 1)}
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._cut: set[Link] = set()
        self._slow: set[str] = set()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        self._slowing = _NETEM if self._has_netem() else _TBF
        self.places = {name: self._place(name) for name in names}

    def cut(self, links: Iterable[Link]) -> None:
        """From now on nothing passes these links."""
        links = set(links)
        self._point(links, lost=True)
        self._cut |= links

    def slow(self, name: str) -> str:
        """From now on the links of one process are slow; says how slow."""
        self._slow.add(name)
        run("tc", "qdisc", "replace", "dev", self._outside(name), "root", *self._slowing)
        run(*self._within(name), "tc", "qdisc", "replace", "dev", _INSIDE, "root", *self._slowing)
        return " ".join(self._slowing)

    def heal(self) -> None:
        """All is as at the beginning."""
        cut, self._cut = self._cut, set()
        self._point(cut, lost=False)
        for name in self._slow:
            run("tc", "qdisc", "del", "dev", self._outside(name), "root")
            run(*self._within(name), "tc", "qdisc", "del", "dev", _INSIDE, "root")
        self._slow.clear()

    def close(self) -> None:
        """Let the namespaces go."""
        for holder in self._holders.values():
            holder.kill()
            holder.communicate()  # its pipe is closed too
        self._holders.clear()

    def _build(self) -> None:
        run("ip", "link", "add", _BRIDGE, "address", self._mac(CLIENTS), "type", "bridge")
        run("ip", "address", "add", f"{self._ip(CLIENTS)}/24", "dev", _BRIDGE)
        run("ip", "link", "set", _BRIDGE, "up")
        for name in [name for name in self._number if name != CLIENTS]:
            self._holders[name] = _hold()
            inside = (_INSIDE, "address", self._mac(name), "netns", str(self._holders[name].pid))
            run("ip", "link", "add", self._outside(name), "type", "veth", "peer", "name", *inside)
            run("ip", "link", "set", self._outside(name), "master", _BRIDGE, "up")
            lines = ["link set lo up", f"address add {self._ip(name)}/24 dev {_INSIDE}", f"link set {_INSIDE} up"]
            run(*self._within(name), "ip", "-batch", "-", given="\n".join(lines))
        everybody = list(self._number)
        self._point({(one, other) for one in everybody for other in everybody if one != other}, lost=False)

    def _point(self, links: Iterable[Link], *, lost: bool) -> None:
        """Tell senders under which hardware address their receivers are: the right one, or nobody's."""
        lines: dict[str, list[str]] = {}
        for source, target in links:
            mac = _NOWHERE if lost else self._mac(target)
            device = _BRIDGE if source == CLIENTS else _INSIDE
            line = f"neigh replace {self._ip(target)} lladdr {mac} nud permanent dev {device}"
            lines.setdefault(source, []).append(line)
        for source, batch in lines.items():
            run(*self._within(source), "ip", "-batch", "-", given="\n".join(batch))

    def _place(self, name: str) -> Place:
        host = self._ip(name)
        publish = f"{host}:{_PUBLISH}" if is_coordinator(name) else ""
        return Place(listen=f"{host}:{_REQUESTS}", publish=publish, within=self._within(name))

    def _within(self, name: str) -> tuple[str, ...]:
        """The words before a command that is to run where this process lives."""
        return () if name == CLIENTS else ("nsenter", f"--net=/proc/{self._holders[name].pid}/ns/net")

    def _has_netem(self) -> bool:
        found = succeeds("tc", "qdisc", "add", "dev", _BRIDGE, "root", *_NETEM)
        if found:
            run("tc", "qdisc", "del", "dev", _BRIDGE, "root")
        return found

    def _ip(self, name: str) -> str:
        return f"10.77.0.{self._number[name]}"

    def _mac(self, name: str) -> str:
        return f"02:7a:6b:00:00:{self._number[name]:02x}"

    def _outside(self, name: str) -> str:
        return f"zkv{self._number[name]}"


def _hold() -> subprocess.Popen[bytes]:
    """A process in a new network namespace, which ends when its stdin does: with this process at the latest."""
    command = ["unshare", "--net", "sh", "-c", "echo ready; read -r nothing"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert holder.stdout is not None
    if holder.stdout.readline() != b"ready\n":
        raise OSError("unshare --net does not work here")
    holder.stdout.close()
    return holder
