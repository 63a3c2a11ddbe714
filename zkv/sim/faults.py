"""Trouble: what goes wrong in a run, drawn from its seed.

Each seed draws the kinds of fault that it uses (a swarm: Groce et al. 2012), so that rare combinations happen, and how
often each strikes. Trouble never judges; it only knows what it may not do: take the disks of two nodes while some
shard still counts on the first (promise 1 holds only while a majority keeps its disks).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from zkv import limits
from zkv.sim.cluster import Cluster
from zkv.sim.disk import DiskSpeed
from zkv.sim.network import CALM, Cut, Link, Weather, both_ways
from zkv.sim.ploys import Ploys
from zkv.sim.processes import SimNode
from zkv.sim.world import MS, SECOND

KINDS = (
    "kill",
    "kill all",
    "pause",
    "stop",
    "isolate",
    "split",
    "one way",
    "break",
    "slow link",
    "slow disk",
    "full disk",
    "lost disk",
    "coordinator",
    "ploys",
    "squeeze",
    "loss",
    "doubles",
    "reorder",
    "drift",
)
_STRIKING = KINDS[:14]  # the others are weather
_SQUEEZED = {
    "APPEND_BYTES_MAX": (150, 1_000),
    "INFLIGHT_BYTES_PER_PEER_MAX": (400, 4_000),
    "UNCOMMITTED_BYTES_PER_SHARD_MAX": (2_000, 20_000),
    "TAIL_BYTES_PER_NODE_MAX": (2_000, 20_000),
    "SNAPSHOT_CHUNK_BYTES": (60, 500),
    "SESSIONS_PER_SHARD_MAX": (2, 4),
    "WINDOW_SEQUENCES": (8, 40),
}


@dataclass(frozen=True, slots=True)
class Swarm:
    """What one seed uses. `every_us`: how long from strike to strike of each kind, in the mean."""

    kinds: tuple[str, ...]
    weather: Weather
    disk: DiskSpeed
    drift: float  # clocks run at 1 - drift to 1 + drift
    limits: dict[str, int]  # of `zkv.limits`, made so small that they are met
    every_us: dict[str, int] = field(default_factory=dict)


def draw(rng: Random) -> Swarm:
    """A swarm."""
    share = rng.choice([0.2, 0.4, 0.7])
    kinds = tuple(kind for kind in KINDS if rng.random() < share)
    weather = Weather(
        latency_us=rng.choice([50, 150, 1_000]),
        jitter_us=rng.choice([50, 300, 3_000, 20_000 if "reorder" in kinds else 300]),
        loss=rng.choice([0.01, 0.05, 0.2]) if "loss" in kinds else 0.0,
        doubled=rng.choice([0.01, 0.1]) if "doubles" in kinds else 0.0,
        ordered="reorder" not in kinds,
    )
    disk = DiskSpeed(flush_us=rng.choice([100, 700, 5_000, 20_000]))
    # Two clocks may differ by LEASE_DRIFT_MS over LEASE_MS, 10 %.
    drift = 0.04 if "drift" in kinds else 0.0001
    every_us = {kind: int(rng.choice([0.25, 0.7, 2, 5]) * SECOND) for kind in _STRIKING}
    every_us["kill all"] *= 4
    every_us["lost disk"] *= 3
    squeezed = {name: rng.choice(values) for name, values in _SQUEEZED.items() if rng.random() < 0.4}
    return Swarm(kinds, weather, disk, drift, squeezed if "squeeze" in kinds else {}, every_us)


@contextmanager
def squeezed(swarm: Swarm) -> Iterator[None]:
    """Limits as small as the swarm wants them, until the end of the block."""
    usual = {name: getattr(limits, name) for name in swarm.limits}
    for name, value in swarm.limits.items():
        setattr(limits, name, value)
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(limits, name, value)


class Trouble:
    """Strikes a cluster from `start` until `stop`."""

    def __init__(self, cluster: Cluster, swarm: Swarm) -> None:
        self.strikes: dict[str, int] = {}
        self._cluster = cluster
        self._world = cluster.world
        self._swarm = swarm
        self._rng = cluster.world.rng("trouble")
        self._over = False
        self._ploys = Ploys(cluster)
        self._strike: dict[str, Callable[[], str]] = {
            "kill": self._kill,
            "kill all": self._kill_all,
            "pause": self._pause,
            "stop": self._stop_node,
            "isolate": self._isolate,
            "split": self._split,
            "one way": self._one_way,
            "break": self._break,
            "slow link": self._slow_link,
            "slow disk": self._slow_disk,
            "full disk": self._full_disk,
            "lost disk": self._lose_disk,
            "coordinator": self._kill_coordinator,
            "ploys": self._ploys.play,
        }

    def start(self) -> None:
        """Begin."""
        self._cluster.network.weather = self._swarm.weather
        for kind in self._swarm.kinds:
            if kind in self._strike:
                self._next(kind)

    def stop(self) -> None:
        """Everything is repaired and runs again."""
        self._over = self._ploys.over = True
        cluster = self._cluster
        self._world.tell("faults end")
        cluster.network.weather = CALM
        cluster.network.heal()
        for node in cluster.nodes:
            node.machine.speed.hiccup = 0.0
            node.machine.speed.flush_us = min(node.machine.speed.flush_us, 5_000)
            if node.alive:
                node.store.full = False
        self._revive()

    def _revive(self) -> None:
        """Start what is dead, and what may still end because it was told to."""
        for process in (*self._cluster.nodes, self._cluster.coordinator):
            process.resume()
            if not process.alive:
                process.start()
        self._world.after(500 * MS, self._revive)

    def _next(self, kind: str) -> None:
        delay_us = int(self._rng.expovariate(1.0) * self._swarm.every_us[kind]) + 10 * MS
        self._world.after(delay_us, lambda: self._struck(kind))

    def _struck(self, kind: str) -> None:
        if self._over:
            return
        what = self._strike[kind]()
        if what:
            self.strikes[kind] = self.strikes.get(kind, 0) + 1
            self._world.tell(f"* {kind}: {what}")
        self._next(kind)

    def _for_a_while(self, longest_ms: int, undo: Callable[[], None]) -> str:
        delay_us = int(self._rng.choice([0.02, 0.2, 1.0]) * longest_ms * (0.5 + self._rng.random()) * MS)
        self._world.after(delay_us, lambda: None if self._over else undo())
        return f"for {delay_us // MS} ms"

    def _a_node(self) -> SimNode | None:
        alive = self._cluster.alive()
        return self._rng.choice(alive) if alive else None

    # Processes

    def _kill(self) -> str:
        node = self._a_node()
        if node is None:
            return ""
        node.kill()
        return f"{node.name} {self._for_a_while(3_000, lambda: self._start(node))}"

    def _kill_all(self) -> str:
        for node in self._cluster.nodes:
            node.kill()
            self._for_a_while(1_000, lambda node=node: self._start(node))  # type: ignore[misc]  # binds the variable
        return "every node"

    def _pause(self) -> str:
        node = self._a_node()
        if node is None or node.paused:
            return ""
        node.pause()
        return f"{node.name} {self._for_a_while(3_000, node.resume)}"

    def _stop_node(self) -> str:
        node = self._a_node()
        if node is None:
            return ""
        node.stop()
        self._world.after(4 * SECOND, lambda: None if self._over or node.alive else node.start())
        return f"{node.name} (SIGTERM)"

    def _lose_disk(self) -> str:
        node = self._rng.choice(self._cluster.nodes)
        if not self._cluster.may_lose_a_disk():
            return ""
        node.kill()
        self._cluster.empty_folder(node)
        return f"{node.name} comes back empty {self._for_a_while(2_000, lambda: self._start(node))}"

    def _kill_coordinator(self) -> str:
        coordinator = self._cluster.coordinator
        if not coordinator.alive:
            return ""
        if self._rng.random() < 0.3:
            coordinator.pause()
            return f"paused {self._for_a_while(3_000, coordinator.resume)}"
        coordinator.kill()
        return f"killed {self._for_a_while(5_000, lambda: None if coordinator.alive else coordinator.start())}"

    def _start(self, node: SimNode) -> None:
        if not node.alive:
            node.start()

    # Links

    def _cut(self, links: list[Link], longest_ms: int) -> str:
        how: Cut = "hold" if self._rng.random() < 0.5 else "drop"
        self._cluster.network.cut(links, how)
        return f"({how}) {self._for_a_while(longest_ms, lambda: self._cluster.network.mend(links))}"

    def _isolate(self) -> str:
        name = self._rng.choice(self._cluster.names())
        others = [other for other in self._cluster.names() if other != name]
        if self._rng.random() < 0.5:  # clients still reach it
            others = [other for other in others if not self._cluster.is_client(other)]
        return f"{name} {self._cut(both_ways(name, others), 3_000)}"

    def _split(self) -> str:
        names = self._cluster.names()
        left = [name for name in names if self._rng.random() < 0.5]
        right = [name for name in names if name not in left]
        return f"{left} {self._cut([link for name in left for link in both_ways(name, right)], 2_000)}"

    def _one_way(self) -> str:
        source, target = self._rng.sample(self._cluster.names(), 2)
        return f"{source} to {target} {self._cut([(source, target)], 3_000)}"

    def _break(self) -> str:
        source, target = self._rng.sample(self._cluster.names(), 2)
        self._cluster.network.break_link(source, target)
        self._cluster.network.break_link(target, source)
        return f"between {source} and {target}"

    def _slow_link(self) -> str:
        source, target = self._rng.sample(self._cluster.names(), 2)
        extra_us = self._rng.choice([20, 150, 700]) * MS
        self._cluster.network.slow(source, target, extra_us)
        heal = self._for_a_while(3_000, lambda: self._cluster.network.slow(source, target, 0))
        return f"{source} to {target} by {extra_us // MS} ms {heal}"

    # Disks

    def _slow_disk(self) -> str:
        speed = self._rng.choice([node.machine for node in self._cluster.nodes]).speed
        speed.hiccup, speed.hiccup_us = self._rng.choice([0.01, 0.2, 1.0]), self._rng.choice([50, 400, 2_000]) * MS

        def repair() -> None:
            speed.hiccup = 0.0

        return self._for_a_while(2_000, repair)

    def _full_disk(self) -> str:
        node = self._a_node()
        if node is None:
            return ""
        store = node.store
        store.full = True

        def repair() -> None:
            store.full = False

        return f"{node.name} {self._for_a_while(3_000, repair)}"
