"""Trouble: strikes a cluster with the kinds of fault that a swarm has drawn.

Each kind has its own sources of chance, for its times and for each of its strikes, so that a plan may leave out a kind
or a single strike and the rest goes as before. Trouble never judges; it only knows what it may not do: take the disks
of two nodes while some shard still counts on the first (promise 1 holds only while a majority keeps its disks).
"""

from collections.abc import Callable
from functools import partial
from random import Random

from zkv import limits
from zkv.sim.cluster import Cluster
from zkv.sim.coordinators import SimCoordinator
from zkv.sim.elastic import ELASTIC, Elastic, Order
from zkv.sim.group import Swaps
from zkv.sim.network import CALM, Cut, Link, both_ways
from zkv.sim.ploys import Ploys
from zkv.sim.processes import Process, SimNode
from zkv.sim.swarm import Swarm
from zkv.sim.world import MS, SECOND

JUMP_MS_MAX = limits.LEASE_DRIFT_MS // 2  # of a clock, at most, where everything must hold
_NODES_MAX = 5
_RESTART_US = 500 * MS
_REVIVE_US = 10 * SECOND  # by then a node that was told to stop has stopped


class Trouble:
    """Strikes a cluster from `start` until `stop`, and again from the next `start`. `skip`: strikes to leave out."""

    def __init__(
        self,
        cluster: Cluster,
        swarm: Swarm,
        skip: tuple[str, ...],
        join: Callable[[], SimNode],
        order: Order,
        make_table: Callable[[Random], str],
    ) -> None:
        self.strikes: list[str] = []  # each that had an effect: its kind and its number among those of the kind
        self._cluster = cluster
        self._world = cluster.world
        self._swarm = swarm
        self._skip = frozenset(skip)
        self._drawn: dict[str, int] = {}  # strikes drawn so far, by kind
        self._times: dict[str, Random] = {}
        self._rng = cluster.world.rng("trouble")  # of the strike under way
        self._revive_until_us = 0
        self._bout = 0  # which trouble this is: what an earlier one has left to do is void
        self._join = join
        self._gone: set[str] = set()  # who has left, until the trouble is over
        self._jumped_us: dict[str, int] = {}
        self._ploys = Ploys(cluster, self._later)
        self._elastic = Elastic(cluster, join, order, self._later)
        self._swaps = Swaps(cluster, order, self._later)
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
            "bad disk": self._harm_disk,
            "failed flush": self._fail_flush,
            "coordinator": self._kill_coordinator,
            "coordinator disk": self._hinder_coordinator,
            "lost coordinator": self._lose_coordinator,
            "swap coordinator": lambda: self._swaps.swap(self._rng),
            "join": self._join_node,
            "leave": self._leave,
            "creation": lambda: make_table(self._rng),
            "clock jump": self._jump_clock,
            "clock leap": self._leap_clock,
            "ploys": lambda: self._ploys.play(self._rng),
        }
        self._strike |= {kind: partial(self._change, kind) for kind in ELASTIC}

    def start(self) -> None:
        """Begin."""
        self._bout += 1
        self._cluster.network.weather = self._swarm.weather
        for node in self._cluster.nodes:
            node.machine.speed.flush_us = self._swarm.disk.flush_us
        for kind in self._swarm.kinds:
            if kind in self._strike:
                self._next(kind)

    def stop(self) -> None:
        """Everything is repaired and runs again."""
        self._bout += 1
        cluster = self._cluster
        self._world.tell("faults end")
        cluster.network.weather = CALM
        cluster.network.heal()
        for machine in [process.machine for process in cluster.servers()]:
            machine.speed.hiccup = 0.0
            machine.speed.flush_us = min(machine.speed.flush_us, 5_000)
            folder = machine.folder
            folder.low = folder.disk.full = folder.disk.failing = False
        self._gone.clear()
        if any(kind in ELASTIC for kind in self._swarm.kinds):
            self._elastic.restore()
        self._revive_until_us = self._world.now_us + _REVIVE_US
        self._revive(self._bout)

    def counts(self) -> dict[str, int]:
        """How often each kind has struck."""
        kinds = [strike.rpartition(" ")[0] for strike in self.strikes]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    def _revive(self, bout: int) -> None:
        """Start what is dead, and what may still end because it was told to."""
        if bout != self._bout:
            return
        for process in self._cluster.servers():
            process.resume()
            if not process.alive and isinstance(process, SimNode) and process.broken:
                self._cluster.empty_folder(process)
            if not process.alive:
                process.start()
        if self._world.now_us < self._revive_until_us:
            self._world.after(500 * MS, lambda: self._revive(bout))

    def _next(self, kind: str) -> None:
        times = self._times.get(kind)
        if times is None:
            times = self._times[kind] = self._world.rng(f"times {kind}")
        delay_us = int(times.expovariate(1.0) * self._swarm.every_us[kind]) + 10 * MS
        self._later(delay_us, lambda: self._struck(kind))

    def _later(self, delay_us: int, action: Callable[[], object]) -> None:
        """Do this, unless the trouble is over by then."""
        bout = self._bout

        def act() -> None:
            if bout == self._bout:
                action()

        self._world.after(delay_us, act)

    def _struck(self, kind: str) -> None:
        number = self._drawn[kind] = self._drawn.get(kind, 0) + 1
        name = f"{kind} {number}"
        if name not in self._skip:
            self._rng = self._world.rng(f"strike {name}")
            what = self._strike[kind]()
            if what:
                self.strikes.append(name)
                self._world.tell(f"* {name}: {what}")
        self._next(kind)

    def _for_a_while(self, longest_ms: int, undo: Callable[[], None]) -> str:
        delay_us = int(self._rng.choice([0.02, 0.2, 1.0]) * longest_ms * (0.5 + self._rng.random()) * MS)
        self._later(delay_us, undo)
        return f"for {delay_us // MS} ms"

    def _a_node(self) -> SimNode | None:
        alive = self._cluster.alive()
        return self._rng.choice(alive) if alive else None

    # Processes

    def _kill(self) -> str:
        node = self._a_node()
        if node is None:
            return ""
        power = self._rng.random() < 0.5
        node.kill(power=power)
        again = self._for_a_while(3_000, lambda: self._start(node))
        return f"{node.name} {'loses its power' if power else 'is killed'} {again}"

    def _kill_all(self) -> str:
        power = self._rng.random() < 0.5
        for node in self._cluster.nodes:
            node.kill(power=power)
            self._for_a_while(1_000, lambda node=node: self._start(node))  # type: ignore[misc]  # binds the variable
        return "every node loses its power" if power else "every node"

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
        self._later(4 * SECOND, lambda: self._start(node))
        return f"{node.name} (SIGTERM)"

    def _lose_disk(self) -> str:
        node = self._rng.choice(self._cluster.nodes)
        if not self._cluster.may_lose_a_disk():
            return ""
        node.kill()
        self._cluster.empty_folder(node)
        return f"{node.name} comes back empty {self._for_a_while(2_000, lambda: self._start(node))}"

    def _kill_coordinator(self) -> str:
        coordinator = self._a_coordinator()
        if not coordinator.alive:
            return ""
        if self._rng.random() < 0.3:
            coordinator.pause()
            return f"{coordinator.name} paused {self._for_a_while(3_000, coordinator.resume)}"
        if len(self._cluster.coordinators) > 1 and self._rng.random() < 0.3:
            coordinator.stop()
            self._later(2 * SECOND, lambda: self._start_coordinator(coordinator))
            return f"{coordinator.name} (SIGTERM)"
        coordinator.kill(power=self._rng.random() < 0.5)
        again = self._for_a_while(5_000, lambda: self._start_coordinator(coordinator))
        return f"{coordinator.name} killed {again}"

    def _lose_coordinator(self) -> str:
        """Of a group, while all of it is well: else nobody promises that a majority keeps its disks."""
        coordinator = self._a_coordinator()
        if not self._cluster.may_lose_a_coordinator() or coordinator not in self._cluster.members():
            return ""
        coordinator.kill()
        self._cluster.empty_folder(coordinator)
        again = self._for_a_while(2_000, lambda: self._start_coordinator(coordinator))
        return f"{coordinator.name} comes back empty {again}"

    def _start_coordinator(self, coordinator: SimCoordinator) -> None:
        if not coordinator.alive:
            coordinator.start()
        if not coordinator.alive:
            self._later(_RESTART_US, lambda: self._start_coordinator(coordinator))

    def _a_coordinator(self) -> SimCoordinator:
        """Any: mostly the one that leads, where there are several."""
        group = self._cluster.coordinators
        if len(group) == 1:
            return group[0]
        return self._cluster.coordinator if self._rng.random() < 0.6 else self._rng.choice(group)

    def _start(self, node: SimNode) -> None:
        """What a restarter does; and its operator, who moves a folder away on which nothing starts any more."""
        if node.alive or node.name in self._gone or node not in self._cluster.nodes:
            return
        if node.broken:
            self._cluster.empty_folder(node)
        node.start()
        if not node.alive:
            self._later(_RESTART_US, lambda: self._start(node))

    def _change(self, kind: str) -> str:
        """One of the strikes of a cluster that changes."""
        return self._elastic.strike(kind, self._rng)

    def _join_node(self) -> str:
        """One more node registers."""
        return self._join().name if len(self._cluster.nodes) < _NODES_MAX else ""

    def _leave(self) -> str:
        """One node stops for as long as the trouble lasts: it is called down, and the others go on."""
        if self._gone or len(self._cluster.alive()) < len(self._cluster.nodes):
            return ""
        node = self._rng.choice(self._cluster.nodes)
        self._gone.add(node.name)
        node.stop()
        return node.name

    # Clocks

    def _jump_clock(self) -> str:
        """Within what two clocks may differ by over one lease, their drift counted: everything must hold."""
        process = self._rng.choice(self._clocked())
        most_ms = int(limits.LEASE_DRIFT_MS - 2 * self._swarm.drift * limits.ELECTION_MS_MIN) // 2
        by_ms = self._rng.randrange(-most_ms, most_ms + 1)
        if not by_ms or self._world.now_us < self._jumped_us.get(process.name, 0) + SECOND:
            return ""
        return self._move_clock(process, by_ms)

    def _leap_clock(self) -> str:
        """Beyond that, where it shows: back by anything, or on by more than half an election timeout."""
        process = self._rng.choice(self._clocked())
        least_ms = self._swarm.timing.election_ms_min // 2
        size_ms = self._rng.choice([least_ms, 1_500, 5_000]) + self._rng.randrange(20, 200)
        if process.paused or not process.alive:
            return ""
        return self._move_clock(process, size_ms if self._rng.random() < 0.5 else -size_ms)

    def _move_clock(self, process: Process, by_ms: int) -> str:
        self._jumped_us[process.name] = self._world.now_us
        process.clock.jump(by_ms)
        process.wake()
        return f"{process.name} by {by_ms} ms"

    def _clocked(self) -> list[Process]:
        return [*self._cluster.nodes, *self._cluster.coordinators]

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

    def _hinder_coordinator(self) -> str:
        """Its disk is slow, or has no space: no change of the map becomes durable, and none is told."""
        machine = self._a_coordinator().machine
        disk, speed = machine.folder.disk, machine.speed
        disk.full = self._rng.random() < 0.5
        if not disk.full:
            speed.hiccup, speed.hiccup_us = self._rng.choice([0.2, 1.0]), self._rng.choice([50, 400, 2_000]) * MS

        def repair() -> None:
            disk.full = False
            speed.hiccup = 0.0

        return f"{'no space' if disk.full else 'slow'} {self._for_a_while(3_000, repair)}"

    def _full_disk(self) -> str:
        """Its free space is below the reserve; or there is none at all, which the log meets at its next segment."""
        folder = self._rng.choice(self._cluster.nodes).machine.folder
        folder.low = True
        folder.disk.full = self._rng.random() < 0.5

        def repair() -> None:
            folder.low = folder.disk.full = False

        return f"{'no' if folder.disk.full else 'little'} space {self._for_a_while(3_000, repair)}"

    def _harm_disk(self) -> str:
        """What a dead node's disk holds is harmed; its next start must find that, or find nothing missing."""
        node = self._rng.choice(self._cluster.nodes)
        if not self._cluster.may_lose_a_disk():
            return ""
        node.kill(power=self._rng.random() < 0.5)
        folder = node.machine.folder
        what = folder.flip() if self._rng.random() < 0.7 else folder.lose_rows()
        return f"{node.name}: {what or 'nothing'} {self._for_a_while(1_000, lambda: self._start(node))}"

    def _fail_flush(self) -> str:
        """The next flush of a node fails, if it comes soon: then it ends, and must not run on that folder again."""
        node = self._a_node()
        if node is None or not self._cluster.may_lose_a_disk():
            return ""
        disk = node.machine.folder.disk
        disk.failing = True

        def repair() -> None:
            disk.failing = False
            self._start(node)

        self._later(200 * MS, repair)
        return node.name
