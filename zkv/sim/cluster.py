"""A simulated cluster: one coordinator or a group, nodes, and whoever else is connected to the network."""

from collections.abc import Callable

from zkv.core.raft.ready import Timing
from zkv.core.shard.descriptor import ShardState
from zkv.sim.coordinators import SimCoordinator
from zkv.sim.disk import DiskSpeed, Folder
from zkv.sim.network import CALM, Network
from zkv.sim.processes import COORDINATOR, Machine, Process, SimNode
from zkv.sim.world import Clock, World

_OFFSET_MS = 10_000_000_000  # clocks of different machines have nothing in common


class Cluster:
    """Everything that runs, and what it runs on."""

    def __init__(
        self, world: World, *, nodes: int, disk: DiskSpeed, drift: float, timing: Timing, coordinators: int = 1
    ) -> None:
        self.world = world
        self.network = Network(world, CALM)
        self.clients: list[str] = []
        self._rng = world.rng("cluster")
        self._drift = drift
        self._disk = disk
        self._timing = timing
        self.recruited: Callable[[SimCoordinator], None] = lambda one: None  # told of each that comes later
        self.coordinators: list[SimCoordinator] = []
        for number in range(1, coordinators + 1):
            self._add_coordinator(COORDINATOR if number == 1 else f"{COORDINATOR}{number}")
        self.nodes: list[SimNode] = []
        self.gone: list[SimNode] = []  # for good
        for _ in range(nodes):
            self.add_node()

    def add_node(self) -> SimNode:
        """One more node, with an empty folder; it is not started yet."""
        name = f"node{len(self.nodes) + len(self.gone) + 1}"
        clock, machine = self.clock(name), self._machine()
        node = SimNode(self.world, self.network, name, clock, machine, zone="", join=self.coordinator_names)
        self.nodes.append(node)
        return node

    @property
    def coordinator(self) -> SimCoordinator:
        """The coordinator that leads, by its own word and the latest; where none does, the one that knows most."""
        return max(self.coordinators, key=lambda one: (one.leads, one.known, one.alive))

    def coordinator_names(self) -> list[str]:
        """All coordinators, as an operator would name them to a process that starts."""
        return [coordinator.name for coordinator in self.coordinators]

    def members(self) -> list[SimCoordinator]:
        """The coordinators that are to be of the group, by the word of the one that leads."""
        wanted = self.coordinator.core.state.coordinators
        return [one for one in self.coordinators if any(name == one.name for name in wanted)]

    def recruit(self) -> SimCoordinator:
        """One more coordinator, with an empty folder, which nobody knows; it is not started yet."""
        one = self._add_coordinator(f"{COORDINATOR}{len(self.coordinators) + 1}")
        self.recruited(one)
        return one

    def _add_coordinator(self, name: str) -> SimCoordinator:
        one = SimCoordinator(
            self.world,
            self.network,
            name,
            self.clock(name),
            self._machine(),
            given=self.coordinator_names,
            audience=self.audience,
        )
        self.coordinators.append(one)
        return one

    def start(self) -> None:
        """Start every process."""
        for coordinator in self.coordinators:
            coordinator.start()
        for node in self.nodes:
            node.start()

    def clock(self, name: str) -> Clock:
        """A clock of its own for one more process."""
        rng = self.world.rng(f"clock {name}")
        rate = 1.0 + rng.uniform(-self._drift, self._drift)
        return Clock(self.world, offset_ms=rng.randrange(_OFFSET_MS), rate=rate)

    def alive(self) -> list[SimNode]:
        """The nodes that run; some of them may be paused."""
        return [node for node in self.nodes if node.alive]

    def servers(self) -> list[SimNode | SimCoordinator]:
        """Everybody who has a disk."""
        return [*self.nodes, *self.coordinators]

    def names(self) -> list[str]:
        """Every end of the network."""
        return [*self.coordinator_names(), *self.audience()]

    def audience(self) -> list[str]:
        """Who is subscribed to the broadcast."""
        return [*(node.name for node in self.nodes), *self.clients]

    def is_client(self, name: str) -> bool:
        """Whether that end is a client."""
        return name in self.clients

    def empty_folder(self, process: SimNode | SimCoordinator) -> None:
        """That process's disk is lost; it must be dead."""
        process.lose_disk(self._folder())

    def forget(self, node: SimNode) -> None:
        """That node is gone for good, its disk with it; it must be dead."""
        assert not node.alive
        self.nodes.remove(node)
        self.gone.append(node)

    def kill(self, process: Process, *, power: bool) -> None:
        """A node or the coordinator."""
        assert isinstance(process, SimNode | SimCoordinator)
        process.kill(power=power)

    def may_lose_a_disk(self) -> bool:
        """Whether every replica knows of three voters or more, none on a disk lost before, and of no change under way.

        While a lost replica is replaced, a group of three passes through four voters of which it needs three: whoever
        loses another disk just then stops the shard for good, and nothing promises otherwise. Nor does it until the
        removal is applied everywhere, for only then do all count by the new membership (rule 11). A voter that never
        came into being, for its node was given up while its table was made, is a lost one; so is one without state,
        that is there only because its leader spoke to it.
        """
        folders = {node.name: node.machine.folder.incarnation for node in self.nodes}
        members = [
            hosted.replica.membership for node in self.nodes if node.alive for hosted in node.node.host.hosted.values()
        ]
        whole = all(
            len(group.voters) >= 3
            and not group.learners
            and all(folders.get(voter.node) == voter.incarnation for voter in group.voters)
            for group in members
        )
        everybody = (own for node in self.nodes for own in node.node.host.hosted.values())
        hosted = {own.replica.id for own in everybody if own.machine is not None}
        shards = self.coordinator.core.state.map.shards.values()
        active = (info for info in shards if info.state == ShardState.ACTIVE)
        groups = [*members, *(info.membership for info in active)]
        whole = whole and all(voter.replica in hosted for group in groups for voter in group.voters)
        healthy = all(node.alive and not node.machine.folder.disk.failing for node in self.nodes)
        return whole and healthy and bool(members)

    def may_lose_a_coordinator(self) -> bool:
        """Whether every coordinator runs and knows of no members but these, three or more, on the folders they have."""
        members = self.members()
        folders = {one.name: one.machine.folder.incarnation for one in members}
        known = [one.core.hosted for one in members if one.alive]
        groups = [hosted.replica.membership for hosted in known if hosted is not None and hosted.machine is not None]
        return len(groups) == len(members) and all(
            len(group.voters) >= 3
            and not group.learners
            and sorted((voter.node, voter.incarnation) for voter in group.voters) == sorted(folders.items())
            for group in groups
        )

    def _folder(self) -> Folder:
        incarnation = self._rng.getrandbits(62)
        return Folder(incarnation, self.world.rng(f"folder {incarnation}"))

    def _machine(self) -> Machine:
        disk = self._disk
        return Machine(self._folder(), DiskSpeed(disk.flush_us, disk.hiccup, disk.hiccup_us), self._timing)
