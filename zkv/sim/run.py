"""One run from one seed: a cluster under load and trouble, then peace, then judgement."""

from collections.abc import Callable
from functools import partial
from random import Random

from zkv.checkers.history import Recorder
from zkv.checkers.judgement import judge
from zkv.checkers.verdict import Status
from zkv.core.cluster.coordinator import DEFAULT_TABLE
from zkv.core.cluster.upkeep import CALM_MS
from zkv.core.raft.replica import Role
from zkv.core.routing.admin import AdminRequest, create_table, drop_table, tune_hot
from zkv.core.shard.descriptor import ShardState
from zkv.errors import NoSuchTable, ZkvError
from zkv.sim.checkers import Checkers, disagreements, wrong_maps
from zkv.sim.client import SimClient
from zkv.sim.cluster import Cluster
from zkv.sim.coordinators import SimCoordinator
from zkv.sim.elastic import chunks_of, heat_of, is_hasty, tuning_of, with_elastic
from zkv.sim.faults import JUMP_MS_MAX, Trouble
from zkv.sim.group import not_whole, with_group
from zkv.sim.plan import Plan
from zkv.sim.processes import Process, SimNode
from zkv.sim.report import Report
from zkv.sim.settled import not_settled
from zkv.sim.swarm import draw, squeezed
from zkv.sim.workload import TABLES, TABLES_MAX, Load, elements_of, final_reads, set_of
from zkv.sim.world import MS, SECOND, Violation, World, account_of

SETTLE_US = 30 * SECOND  # within so long of the last fault all must be well (stated in docs/testing.md)
MOVED_US = 180 * SECOND  # and, where nodes come and go, everything must be where it belongs
_START_US = 20 * SECOND
_NODES = 3
_ORDER_MS = 5_000


def simulate(seed: int, plan: Plan | None = None, *, story: Callable[[str], None] | None = None) -> Report:
    """Run the seed. Never raises for what the system does wrong: that is in the report."""
    run = Run(seed, plan or Plan(), story)
    try:
        with squeezed(run.limits):
            run.go()
    except Exception as error:  # the top of a simulated world: whatever went wrong in it is its result
        run.report.fail(str(error) if isinstance(error, Violation) else account_of(error))
    return run.finish()


class Run:
    """The run of one seed, step by step."""

    def __init__(self, seed: int, plan: Plan, story: Callable[[str], None] | None) -> None:
        self.report = Report(seed)
        self.world = World(seed, story=story)
        self._plan = plan
        swarm = draw(self.world.rng, plan.without)
        swarm = with_group(self.world.rng, swarm, plan.without) if plan.coordinators > 1 else swarm
        self.swarm = swarm = with_elastic(self.world.rng, swarm, plan.without) if plan.elastic else swarm
        self.limits = swarm.limits | (chunks_of(self.world.rng("chunks"), swarm.kinds) if plan.elastic else {})
        self.cluster = Cluster(
            self.world,
            nodes=_NODES,
            disk=swarm.disk,
            drift=swarm.drift,
            timing=swarm.timing,
            coordinators=plan.coordinators,
        )
        self._processes: dict[str, Process] = {}
        self.clients: list[SimClient] = []
        self.checkers = Checkers(self.world, lambda: self.cluster.coordinator.core.state)
        self._heat = heat_of(self.world.rng("hot shards"), plan.without) if plan.elastic else None
        for coordinator in self.cluster.coordinators:
            if plan.elastic:
                coordinator.tuning = tuning_of(self.world.rng("tuning"), swarm.kinds)
                coordinator.is_hasty = is_hasty(self.world.rng("evening"), plan.without)
            self._know_coordinator(coordinator)
        self.cluster.recruited = self._know_coordinator
        for node in self.cluster.nodes:
            self._know(node)
        self.recorder = Recorder()
        self.loads: list[Load] = []
        self._tables = list(TABLES)
        self.trouble = Trouble(self.cluster, self.swarm, plan.skip, self._join, self._order, self._make_one_more)

    def _know_coordinator(self, coordinator: SimCoordinator) -> None:
        self._processes[coordinator.name] = coordinator
        self.checkers.add_coordinator(coordinator)
        for client in self.clients:
            coordinator.meet(client.wake)

    def _know(self, node: SimNode) -> None:
        self._processes[node.name] = node
        self.checkers.add(node)

    def _join(self) -> SimNode:
        """A node that nobody knows yet starts, and registers."""
        node = self.cluster.add_node()
        self._know(node)
        for client in self.clients:
            node.meet(client.wake)
        node.start()
        return node

    def _order(self, request: AdminRequest[None]) -> None:
        """Ask the coordinator, whatever comes of it."""
        self._spokesman().order(request, _ORDER_MS, lambda result: None)

    def _spokesman(self) -> SimClient:
        """A client with an address left: some know a single node, which may be gone for good."""
        gone = {node.address for node in self.cluster.gone}
        there = (client for client in self.clients if set(client.router.peers.given) - gone)
        return next(there, self.clients[0])

    def _make_one_more(self, rng: Random) -> str:
        """A table in the midst of trouble, which is used at once, whether or not it is there already."""
        if len(self._tables) >= TABLES_MAX:
            return ""
        name = f"young{len(self._tables)}"
        kind = rng.choice(["hash", "range"])
        shards = 1 if kind == "hash" else None
        self._order(create_table(name, rng.getrandbits(60), partitioner=kind, shards=shards, replicas=3))
        self._tables.append(name)
        return name

    def go(self) -> None:
        """All of it. Raises Violation, or whatever the cores raise."""
        self.world.tell(f"seed {self.report.seed}: {', '.join(self.swarm.kinds)}")
        self.cluster.start()
        self._make_clients()
        self._make_tables()
        for number in range(self._plan.bursts):
            if number:
                self._rest()
            self._burst()
        self._settle()
        self._judge()

    def _burst(self) -> None:
        """Load, and trouble."""
        for load in self.loads:
            load.start()
        if not self._plan.quiet:
            self.trouble.start()
        self.world.run(self.world.now_us + self._plan.burst_ms * MS)
        for load in self.loads:
            load.stop()
        self.trouble.stop()

    def _rest(self) -> None:
        """Peace between two bursts: little is asked."""
        for load in self.loads:
            load.start(rest=True)
        self.world.run(self.world.now_us + self._plan.calm_ms * MS)
        for load in self.loads:
            load.stop()

    def finish(self) -> Report:
        """The report, whatever has happened."""
        report, world = self.report, self.world
        world.trace(report.result.encode())
        report.trace = world.trace_hash
        report.kinds = [] if self._plan.quiet else list(self.swarm.kinds)
        report.faults = self.trouble.counts()
        report.strikes = self.trouble.strikes
        report.weather = self.swarm.describe()
        report.simulated_ms = world.now_us // MS
        report.events = world.events
        report.frames = self.cluster.network.sent
        report.leaders = self.checkers.leaders_elected
        report.operations = len(self.recorder.calls)
        for client in self.clients:
            for kind, count in client.outcomes.items():
                report.outcomes[kind] = report.outcomes.get(kind, 0) + count
        return report

    def _make_clients(self) -> None:
        nodes = [node.address for node in self.cluster.nodes]
        for number in range(1, self._plan.clients + 1):
            if number in self._plan.without_clients:
                continue
            name = f"client{number}"
            rng = self.world.rng(f"client {name}")
            group = tuple(self.cluster.coordinator_names())
            known = rng.choice([group, tuple(nodes), (rng.choice(nodes),), (*group, *nodes)])
            direct = known == group or rng.random() < 0.7
            self.cluster.clients.append(name)
            client = SimClient(
                self.world,
                self.cluster.network,
                name,
                self.cluster.clock(name),
                addresses=known,
                direct=direct,
                others=self._process,
                recorder=self.recorder,
            )
            for process in self._processes.values():
                process.meet(client.wake)
            client.watch = partial(self.checkers.after_client_turn, client)
            self.clients.append(client)
            pause_us = rng.choice([4, 15, 50]) * MS
            load = Load(
                self.world,
                client,
                self.recorder,
                self._tables,
                pause_us,
                self._plan.operations,
                batches="batches" in self.swarm.kinds,
            )
            self.loads.append(load)

    def _process(self, name: str) -> Process:
        return self._processes[name]

    def _make_tables(self) -> None:
        rng = self.world.rng("tables")
        results: list[object] = []
        first = self.clients[0]
        scattered, ordered = TABLES
        orders: list[AdminRequest[None]] = [
            create_table(scattered, rng.getrandbits(60), shards=rng.choice([1, 2, 3]), replicas=3),
            create_table(ordered, rng.getrandbits(60), partitioner="range", replicas=3, splits=(b"r",)),
        ]
        if rng.random() < 0.8:  # its twelve shards only cost time
            orders.append(drop_table(DEFAULT_TABLE))
        if self._heat is not None:
            orders.append(tune_hot(self._heat.requests, self._heat.ms / 1_000))
        for order in orders:
            first.order(order, 15_000, results.append)
        ready = self.world.run(self.world.now_us + _START_US, lambda: len(results) == len(orders) and self._led())
        refused = [result for result in results if isinstance(result, ZkvError) and not isinstance(result, NoSuchTable)]
        if not ready or refused:
            raise Violation(f"the tables were not ready in {_START_US // SECOND} s of peace: {refused}")
        self.world.tell("the tables are ready")

    def _led(self) -> bool:
        """Whether every shard has a leader that can be read, or that sleeps."""
        led = {
            hosted.shard
            for node in self.cluster.nodes
            if node.alive
            for hosted in node.node.host.hosted.values()
            if hosted.replica.role is Role.LEADER and (hosted.replica.holds_lease() or hosted.replica.asleep)
        }
        shard_map = self.cluster.coordinator.core.state.map
        serving = {info.shard for info in shard_map.shards.values() if info.state is not ShardState.DROPPING}
        return bool(serving) and led >= serving

    def _settle(self) -> None:
        """After the last fault: every request ends, every shard is led, and all replicas agree."""
        began_us = self.world.now_us
        if self._plan.elastic:  # who joined last gets its share when all has been calm for a while
            self.world.run(began_us + CALM_MS * MS + SECOND)
        settle_us = MOVED_US if self._plan.elastic else SETTLE_US
        if not self.world.run(began_us + settle_us, self._calm):
            self._say_what_is_not_well()
            return
        for number, ask in enumerate(final_reads(self._tables)):
            self.clients[number % len(self.clients)].ask(ask, 10_000)
        for table in self._tables:
            self._spokesman().members(set_of(table), elements_of(table), 10_000)
        if not self.world.run(self.world.now_us + SETTLE_US, self._calm):
            self._say_what_is_not_well()
        self.report.healed_ms = (self.world.now_us - began_us) // MS

    def _calm(self) -> bool:
        if any(client.awaited for client in self.clients) or not self._led() or self._not_replaced():
            return False
        if not_whole(self.cluster) or (self._plan.elastic and self._not_settled()):
            return False
        return not self._wrong_maps() and not disagreements(self.cluster.nodes)

    def _wrong_maps(self) -> list[str]:
        held = {node.name: node.node.follower.map for node in self.cluster.alive()}
        held |= {client.name: client.router.atlas.map for client in self.clients}
        return wrong_maps(self.cluster.coordinator.core.state.map, held)

    def _not_replaced(self) -> list[str]:
        """Members that live on a disk that is lost."""
        now = {node.name: node.machine.folder.incarnation for node in self.cluster.nodes}
        return [
            f"shard {hosted.shard}: replica {voter.replica} of {voter.node}'s lost disk is still a voter"
            for node in self.cluster.nodes
            for hosted in node.node.host.hosted.values()
            if hosted.replica.role is Role.LEADER
            for voter in hosted.replica.membership.voters
            if now.get(voter.node) != voter.incarnation
        ]

    def _not_settled(self) -> list[str]:
        """What of the changes is not done: plans, nodes that should be empty or gone, replicas that nobody counts."""
        return not_settled(self.cluster)

    def _say_what_is_not_well(self) -> None:
        waiting = {client.name: client.awaited for client in self.clients if client.awaited}
        within = f"{SETTLE_US // SECOND} s after the last fault"
        if waiting:
            self.report.fail(f"{within}, requests have not ended: {waiting}")
        if not self._led():
            self.report.fail(f"{within}, not every shard has a leader")
        changes = self._not_settled() if self._plan.elastic else []
        changes += not_whole(self.cluster)
        for what in [*changes, *self._not_replaced(), *self._wrong_maps(), *disagreements(self.cluster.nodes)]:
            self.report.fail(f"{within}, {what}")

    def _judge(self) -> None:
        jump_ms = JUMP_MS_MAX if "clock jump" in self.swarm.kinds else 0
        drift = self.swarm.drift + jump_ms / 1_000  # a clock jumps once a second
        for verdict in judge(self.recorder.calls, drift=drift, jump_ms=jump_ms):
            if verdict.status is Status.VIOLATION:
                self.report.fail(str(verdict))
            elif verdict.status is Status.UNKNOWN and self.report.result == "passed":
                self.report.result = "unknown"
