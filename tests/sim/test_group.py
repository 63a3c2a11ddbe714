"""Groups of coordinators, in a simulated cluster without chance faults: what happens is scripted."""

from collections.abc import Callable
from dataclasses import dataclass, field

from zkv.checkers.history import Recorder
from zkv.core.cluster import messages as m
from zkv.core.cluster.group import NotLeading
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import Beacon, MapDelta, NodeState
from zkv.core.raft.ready import Timing
from zkv.core.raft.replica import Role
from zkv.core.routing.admin import create_table
from zkv.core.shard.descriptor import ShardState
from zkv.ids import NodeId
from zkv.sim.checkers import Checkers
from zkv.sim.client import SimClient
from zkv.sim.cluster import Cluster
from zkv.sim.coordinators import SimCoordinator
from zkv.sim.disk import DiskSpeed
from zkv.sim.network import Arrival, both_ways
from zkv.sim.processes import Process
from zkv.sim.world import MS, SECOND, World
from zkv.wire import codec

EAR = "ear"


@dataclass
class Council:
    """Three coordinators, three nodes, a client, and an ear that hears every broadcast."""

    world: World = field(default_factory=lambda: World(1))
    results: list[object] = field(default_factory=list)
    created: int = 0
    heard: list[tuple[int, str, MapDelta | Beacon]] = field(default_factory=list)  # when, from whom

    def __post_init__(self) -> None:
        self.cluster = Cluster(
            self.world, nodes=3, disk=DiskSpeed(flush_us=500), drift=0.0, timing=Timing(), coordinators=3
        )
        self.checkers = Checkers(self.world, lambda: self.cluster.coordinator.core.state)
        processes: dict[str, Process] = {}
        for coordinator in self.cluster.coordinators:
            self.checkers.add_coordinator(coordinator)
            processes[coordinator.name] = coordinator
        for node in self.cluster.nodes:
            self.checkers.add(node)
            processes[node.name] = node
        self.cluster.network.connect(EAR, self._hear)
        self.cluster.clients.append(EAR)
        self.cluster.start()
        self.cluster.clients.append("client")
        self.client = SimClient(
            self.world,
            self.cluster.network,
            "client",
            self.cluster.clock("client"),
            addresses=tuple(self.cluster.coordinator_names()),
            direct=True,
            others=lambda name: processes[name],
            recorder=Recorder(),
        )
        for process in processes.values():
            process.meet(self.client.wake)

        def look() -> None:
            self.checkers.after_client_turn(self.client)

        self.client.watch = look
        self.until(self.all_serve, 10)
        self.shards = len(self.map.shards)

    def _hear(self, arrival: Arrival) -> None:
        message = codec.decode_broadcast(arrival.body)
        if isinstance(message, MapDelta | Beacon):
            self.heard.append((self.world.now_us, arrival.sender.decode(), message))

    @property
    def leader(self) -> SimCoordinator:
        return next(one for one in self.cluster.coordinators if one.leads[0])

    @property
    def map(self) -> ShardMap:
        return self.cluster.coordinator.core.state.map

    def all_serve(self) -> bool:
        return bool(self.map.shards) and all(
            info.state == ShardState.ACTIVE and info.leading() for info in self.map.shards.values()
        )

    def led(self, *without: SimCoordinator) -> bool:
        return any(one.leads[0] and one.core.succession.sure for one in self.cluster.coordinators if one not in without)

    def until(self, condition: Callable[[], bool], seconds: float = 5) -> None:
        assert self.world.run(self.world.now_us + int(seconds * SECOND), condition), "the condition did not come true"

    def rest(self, ms: int) -> None:
        self.world.run(self.world.now_us + ms * MS)

    def others(self, one: SimCoordinator) -> list[SimCoordinator]:
        return [other for other in self.cluster.coordinators if other is not one]

    def start(self, one: SimCoordinator) -> None:
        """Start it, and wait until it knows what the others know."""
        one.start()
        self.until(lambda: self.led() and one.known == self.map.version)

    def create(self, name: str) -> None:
        self.created += 1
        self.client.order(create_table(name, 77, replicas=3, shards=4), 20_000, self.results.append)


def test_a_leader_that_dies_amid_a_creation_is_followed_by_one_that_ends_it() -> None:
    council = Council()
    council.create("young")
    while not any(info.state == ShardState.CREATING for info in council.map.shards.values()):
        assert not council.results
        council.rest(1)
    dead = council.leader
    dead.kill(power=True)
    council.until(lambda: council.results == [None], 15)
    council.until(council.all_serve)
    assert not dead.alive
    assert council.map.table("young") is not None
    assert len(council.map.shards) == council.shards + 4, (
        "the repeated request is recognised, and makes no second table"
    )


def test_subscribers_follow_the_new_leader_without_a_gap_or_a_step_back() -> None:
    council = Council()
    versions = []
    for number in range(3):
        council.create(f"young{number}")
        dead = council.leader
        dead.kill(power=True)
        council.until(lambda: council.created == len(council.results), 15)
        versions.append(council.map.version)
        council.start(dead)
    council.rest(2_000)
    heard = [message.version for _, _, message in council.heard if isinstance(message, MapDelta)]
    assert heard == sorted(heard), "nobody published a version after a later one"
    assert set(heard) == set(range(heard[0], heard[-1] + 1)), "nor left one out; who leads next says the last again"
    assert len({source for _, source, _ in council.heard}) >= 2
    shard_map = council.client.router.atlas.map
    assert shard_map is not None
    assert shard_map.snapshot() == council.map.snapshot()
    assert versions == sorted(set(versions))


def test_a_leader_that_is_cut_off_from_the_others_falls_silent_and_publishes_nothing() -> None:
    council = Council()
    old = council.leader
    council.cluster.network.cut(both_ways(old.name, [other.name for other in council.others(old)]), "drop")
    council.until(lambda: council.led(old))
    since_us = council.world.now_us
    council.create("young")
    council.until(lambda: council.results == [None], 15)
    council.until(lambda: not old.core.succession.leading)
    council.rest(3_000)
    late = [message for at_us, source, message in council.heard if source == old.name and at_us > since_us + SECOND]
    assert late == [], "it leads no more, and is not to be heard"
    assert old.known < council.map.version


def test_a_leader_that_was_stopped_and_followed_by_another_says_nothing_when_it_wakes() -> None:
    council = Council()
    old = council.leader
    while not old.paused:  # it does not stop within a turn
        old.pause()
    council.until(lambda: council.led(old))
    council.rest(3_000)
    woke_us = council.world.now_us
    old.resume()
    council.rest(2_000)
    late = [message for at_us, source, message in council.heard if source == old.name and at_us >= woke_us]
    assert late == []
    assert not old.core.succession.leading


def test_a_coordinator_that_lost_its_folder_does_not_vote_and_is_replaced() -> None:
    council = Council()
    leader = council.leader
    lost, other = council.others(leader)
    lost.kill()
    council.cluster.empty_folder(lost)
    leader.kill()
    lost.start()
    council.rest(6_000)
    assert lost.core.hosted is None, "it has no replica: its old one is lost for good (rule 1)"
    assert other.core.hosted is not None
    assert other.core.hosted.replica.role is not Role.LEADER, "one of three that keep their disks is no majority"
    leader.start()
    council.until(lambda: lost.core.hosted is not None and lost.core.hosted.machine is not None, 10)

    def whole() -> bool:
        groups = [one.core.hosted.replica.membership for one in council.cluster.coordinators if one.core.hosted]
        return all(len(group.voters) == 3 and not group.learners for group in groups) and len(groups) == 3

    council.until(whole)
    assert lost.core.hosted is not None
    assert lost.core.hosted.replica.id > 100, "under an id that was never used"
    council.until(lambda: lost.known == council.map.version)


def test_nobody_passes_for_dead_because_a_coordinator_died() -> None:
    council = Council()
    for _ in range(3):
        dead = council.leader
        dead.kill()
        council.until(council.led)
        council.rest(5_000)
        council.start(dead)
    down = [
        node.node
        for _, _, message in council.heard
        if isinstance(message, MapDelta)
        for node in message.nodes
        if node.state == NodeState.DOWN
    ]
    assert down == []


def test_one_that_does_not_lead_answers_nothing_but_who_does() -> None:
    council = Council()
    leader = council.leader
    for follower in council.others(leader):
        follower.core.logic.received.clear()
        for known in (m.MapRequest(5), m.DropTable(6, "default"), m.Alive(NodeId("node1"), 1, 1)):
            follower.core.receive(b"x", known)
            answers = follower.core.turn().answers
            number = getattr(known, "id", 0)
            assert answers == [(b"x", NotLeading(number, leader.name))]
        follower.core.receive(b"x", m.StatusRequest(7))
        assert isinstance(follower.core.turn().answers[0][1], m.StatusAnswer)


def test_one_that_is_to_stop_hands_the_lead_over_at_once() -> None:
    council = Council()
    leader = council.leader
    leader.stop()
    council.rest(200)
    assert not leader.alive
    council.rest(100)
    assert council.led(leader), "an election would take twice as long"
