"""Everything that a run can do to a cluster, each a function from a whole cluster to one that can become whole again.

A fault says what it does, and undoes it before it returns; the run then waits until the cluster is whole.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from zkv import limits
from zkv.chaos import comings, log_damage, partings
from zkv.chaos.failure import ChaosFailed
from zkv.chaos.garbage import Garbage
from zkv.chaos.keys import HASH, RANGE
from zkv.chaos.network import CLIENTS, Link, Network
from zkv.chaos.scene import Scene
from zkv.chaos.small_disk import SmallDisk
from zkv.server.exits import Exit
from zkv.sim.network import both_ways

_LEASE_S = limits.LEASE_MS / 1_000


class Needs(Enum):
    """What must be there for a fault to be possible."""

    ADDRESS = "an address"
    PROCESSES = "a cluster of the run's own"
    NETWORK = "a network of the run's own"
    DISK = "a small file system"


class Fault(NamedTuple):
    """One kind."""

    does: Callable[[Scene], None]
    needs: Needs
    about: str


def kill_node(scene: Scene) -> None:
    """kill -9 of any node."""
    _kill(scene, scene.a_node())


def kill_leader(scene: Scene) -> None:
    """kill -9 of a node that leads a shard of the load."""
    _kill(scene, _leader(scene))


def kill_coordinator(scene: Scene) -> None:
    """kill -9 of a coordinator."""
    _kill(scene, scene.a_coordinator())


def kill_all(scene: Scene) -> None:
    """kill -9 of every process at once."""
    names = scene.cluster.running()
    scene.say("kill -9 of every process")
    for name in names:
        scene.cluster.kill(name)
    scene.hold(0.0, 1.0)
    scene.rng.shuffle(names)
    scene.cluster.start(*names)


def pause_node(scene: Scene) -> None:
    """SIGSTOP of any node, for longer than a lease."""
    _pause(scene, scene.a_node())


def pause_leader(scene: Scene) -> None:
    """SIGSTOP of a node that leads a shard of the load, for longer than a lease."""
    _pause(scene, _leader(scene))


def pause_coordinator(scene: Scene) -> None:
    """SIGSTOP of a coordinator, for longer than a lease."""
    _pause(scene, scene.a_coordinator())


def restart(scene: Scene) -> None:
    """SIGTERM of a node, or now and then of a coordinator, which must end well, and a start on the same folder."""
    name = scene.rng.choice([*scene.nodes(), scene.a_coordinator()])
    status = scene.cluster.terminate(name)
    if status != Exit.OK:
        raise ChaosFailed(f"{name} ended with exit status {status} after SIGTERM")
    scene.say(f"{name} stopped by SIGTERM")
    scene.hold(0.0, 2.0)
    scene.cluster.start(name)


def torn_log(scene: Scene) -> None:
    """kill -9 of a node whose log gets a torn end; it must come back by itself."""
    name = scene.a_node()
    scene.cluster.kill(name)
    torn = log_damage.tear(scene.cluster.folder_of(name) / "log", scene.rng)
    scene.say(f"kill -9 of {name}, which leaves {torn}")
    scene.hold(0.0, 2.0)
    scene.cluster.start(name)


def flipped_log(scene: Scene) -> None:
    """kill -9 of a node of whose log one bit is flipped: it must refuse to start, and then rejoins empty."""
    name = scene.a_node()
    scene.cluster.kill(name)
    flipped = log_damage.flip(scene.cluster.folder_of(name) / "log", scene.rng)
    scene.say(f"kill -9 of {name}, and {flipped} flips")
    status = scene.cluster.start_to_end(name)
    if status != Exit.STORAGE:
        ended = "it serves" if status is None else f"it ended with exit status {status}"
        raise ChaosFailed(f"{name} must refuse a log in which {flipped} was flipped (status {Exit.STORAGE}): {ended}")
    scene.say(f"{name} refuses its folder with exit status {status}, and is to rejoin with an empty one")
    scene.empty(name)
    scene.cluster.start(name)


def lost_disk(scene: Scene) -> None:
    """kill -9 of a node that comes back with an empty folder."""
    name = scene.a_node()
    scene.cluster.kill(name)
    scene.say(f"kill -9 of {name}, which loses its disk")
    scene.empty(name)
    scene.hold(0.0, 2.0)
    scene.cluster.start(name)


def full_disk(scene: Scene) -> None:
    """The disk of a node fills up: to the threshold at which writes are refused, or to the last byte."""
    disk = scene.disk
    assert isinstance(disk, SmallDisk), "not drawn without"
    leave = scene.rng.choice((0, limits.DISK_RESERVE_BYTES // 2))
    with scene.excused(disk.node, Exit.FAILED), disk.filled(leave) as written:
        scene.say(f"{written >> 20} MiB fill the disk of {disk.node}: {leave >> 20} MiB are free")
        scene.wait_until_told(disk.node, "disk_full", True)
        scene.hold(2.0, 5.0)
    scene.wait_until_told(disk.node, "disk_full", False)
    scene.say(f"{disk.node} has room again")


def cut_node(scene: Scene) -> None:
    """A node is cut off from everybody, or from the other processes of the cluster but not from clients."""
    name, others = _node_and_others(scene)
    if scene.rng.random() < 0.5:
        others.remove(CLIENTS)
    _cut(scene, both_ways(name, others), f"{name} and {_all(others)}")


def cut_leader(scene: Scene) -> None:
    """A node that leads is cut off from the other processes of the cluster; clients still reach it."""
    name = _leader(scene)
    others = [other for other in scene.cluster.names if other != name]
    _cut(scene, both_ways(name, others), f"{name} and {_all(others)}")


def cut_coordinator(scene: Scene) -> None:
    """A coordinator is cut off from everybody."""
    name = scene.a_coordinator()
    others = [CLIENTS, *(other for other in scene.cluster.names if other != name)]
    _cut(scene, both_ways(name, others), f"{name} and everybody")


def cut_one_way(scene: Scene) -> None:
    """What a node sends is lost, or what is sent to it."""
    name, others = _node_and_others(scene)
    if scene.rng.random() < 0.5:
        _cut(scene, [(name, other) for other in others], f"all that {name} sends")
    else:
        _cut(scene, [(other, name) for other in others], f"all that is sent to {name}")


def cut_pair(scene: Scene) -> None:
    """Two processes of the cluster are cut off from one another, and from nobody else."""
    one, other = scene.rng.sample(scene.cluster.names, 2)
    _cut(scene, both_ways(one, [other]), f"{one} and {other}")


def slow_link(scene: Scene) -> None:
    """Everything to and from one node is slow."""
    name, network = scene.a_node(), _network(scene)
    try:
        scene.say(f"the links of {name} are slow: {network.slow(name)}")
        scene.hold(2.0, 5.0)
    finally:
        network.heal()


def garbage(scene: Scene) -> None:
    """Strangers send nonsense to every port: bytes, half a greeting, frames too large, messages cut and flipped."""
    with Garbage(scene.target.ports, scene.rng.randrange(1 << 30)) as senders:
        scene.hold(2.0, 5.0)
    scene.say(f"{senders.connections} connections with garbage, {senders.bytes:,} bytes")


FAULTS: dict[str, Fault] = {
    "kill-node": Fault(kill_node, Needs.PROCESSES, "kill -9 of a node"),
    "kill-leader": Fault(kill_leader, Needs.PROCESSES, "kill -9 of a node that leads"),
    "kill-coordinator": Fault(kill_coordinator, Needs.PROCESSES, "kill -9 of a coordinator"),
    "kill-all": Fault(kill_all, Needs.PROCESSES, "kill -9 of every process"),
    "pause-node": Fault(pause_node, Needs.PROCESSES, "SIGSTOP of a node"),
    "pause-leader": Fault(pause_leader, Needs.PROCESSES, "SIGSTOP of a node that leads"),
    "pause-coordinator": Fault(pause_coordinator, Needs.PROCESSES, "SIGSTOP of a coordinator"),
    "restart": Fault(restart, Needs.PROCESSES, "SIGTERM and a start"),
    "torn-log": Fault(torn_log, Needs.PROCESSES, "a torn end of a node's log"),
    "flipped-log": Fault(flipped_log, Needs.PROCESSES, "a flipped bit in a node's log"),
    "lost-disk": Fault(lost_disk, Needs.PROCESSES, "a node comes back empty"),
    "full-disk": Fault(full_disk, Needs.DISK, "a node's disk is full"),
    "join-and-drain": Fault(comings.join_and_drain, Needs.PROCESSES, "a node comes, gets its share, and leaves"),
    "drain-other": Fault(comings.drain_and_restart, Needs.PROCESSES, "a node is emptied, restarted and filled again"),
    "remove-dead": Fault(comings.remove_dead, Needs.PROCESSES, "a node dies for good, and is rebuilt elsewhere"),
    "split-and-merge": Fault(partings.split_and_merge, Needs.ADDRESS, "a shard splits, and its halves merge"),
    "kill-amid-split": Fault(partings.kill_amid_split, Needs.PROCESSES, "kill -9 while a shard splits"),
    "kill-amid-merge": Fault(partings.kill_amid_merge, Needs.PROCESSES, "kill -9 while two shards merge"),
    "cut-node": Fault(cut_node, Needs.NETWORK, "a node is cut off"),
    "cut-leader": Fault(cut_leader, Needs.NETWORK, "a node that leads is cut off, not from clients"),
    "cut-coordinator": Fault(cut_coordinator, Needs.NETWORK, "a coordinator is cut off"),
    "cut-one-way": Fault(cut_one_way, Needs.NETWORK, "a node's links work in one direction"),
    "cut-pair": Fault(cut_pair, Needs.NETWORK, "two processes are cut off from one another"),
    "slow-link": Fault(slow_link, Needs.NETWORK, "a node's links are slow"),
    "garbage": Fault(garbage, Needs.ADDRESS, "nonsense sent to every port"),
}


def _leader(scene: Scene) -> str:
    return scene.a_leader(scene.rng.choice((HASH, RANGE)))


def _kill(scene: Scene, name: str) -> None:
    scene.cluster.kill(name)
    scene.say(f"kill -9 of {name}")
    scene.hold(0.0, 4.0)
    scene.cluster.start(name)


def _pause(scene: Scene, name: str) -> None:
    scene.cluster.pause(name)
    scene.say(f"SIGSTOP of {name}")
    try:
        scene.hold(2 * _LEASE_S, 10 * _LEASE_S)
    finally:
        scene.cluster.resume(name)


def _cut(scene: Scene, links: list[Link], what: str) -> None:
    network = _network(scene)
    scene.say(f"cut: {what}")
    try:
        network.cut(links)
        scene.hold(2.0, 6.0)
    finally:
        network.heal()


def _network(scene: Scene) -> Network:
    assert scene.network is not None, "not drawn without"
    return scene.network


def _node_and_others(scene: Scene) -> tuple[str, list[str]]:
    name = scene.a_node()
    return name, [CLIENTS, *(other for other in scene.cluster.names if other != name)]


def _all(names: list[str]) -> str:
    return "everybody" if CLIENTS in names else "the other processes"
