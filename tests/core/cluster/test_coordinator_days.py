"""Bad days in any order: whatever happens to nodes, orders and the coordinator, ids are given once and all heals."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.cluster.town import Town
from zkv.core.cluster import messages as m
from zkv.core.cluster.shardmap import NodeState, Partitioner
from zkv.core.message import Message
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardState
from zkv.ids import ReplicaId, ShardId

NAMES = ("n1", "n2", "n3", "n4")

days = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["kill", "restart", "wipe", "deafen"]), st.sampled_from(NAMES)),
        st.tuples(st.sampled_from(["create", "drop"]), st.sampled_from(["t1", "t2"])),
        st.tuples(st.sampled_from(["coordinator dies", "coordinator pauses", "hear"]), st.just("")),
        st.tuples(st.sampled_from(["a moment", "a while"]), st.just("")),
    ),
    max_size=25,
)


class Day:
    """A town to which things happen."""

    def __init__(self) -> None:
        self.town = Town(*NAMES)
        self.town.run_until(lambda: self.town.serves("default"))
        self.asked = 100
        self.deaf: set[str] = set()
        self.town.on_order = lambda node, message: not (node.name in self.deaf and is_order(message))

    def happen(self, act: str, name: str) -> None:
        town = self.town
        match act:
            case "kill":
                town.kill(name)
            case "restart" if not town.nodes[name].alive:
                town.restart(name)
            case "wipe" if self.is_whole():  # a second disk lost in the meantime would be a majority
                town.wipe(name)
            case "deafen":
                self.deaf.add(name)
            case "hear":
                self.deaf.clear()
            case "create":
                self.ask(m.CreateTable(self.asked, self.asked, name, Partitioner.HASH, 3, 3))
            case "drop":
                self.ask(m.DropTable(self.asked, name))
            case "coordinator dies":
                town.start_coordinator()
            case "coordinator pauses":
                town.now_ms += 5_000
            case "a moment":
                town.run(150)
            case "a while":
                town.run(2_500)

    def ask(self, request: m.CreateTable | m.DropTable) -> None:
        self.asked += 1
        self.town.ask(request)

    def is_whole(self) -> bool:
        """Every voter is alive on its folder, and nothing is under way."""
        voters = [own for group in self.town.groups.values() for own in group.info.membership.voters]
        return not self.town.state.operators and all(map(self.town.is_alive, voters))

    def heal(self) -> None:
        self.deaf.clear()
        for node in self.town.nodes.values():
            if not node.alive:
                self.town.restart(node.name)
        self.town.run_until(self.is_well, ms=60_000)
        self.town.run(2_000)  # the last beacon and the last strays

    def is_well(self) -> bool:
        town = self.town
        in_service = all(info.state == ShardState.ACTIVE for info in town.map.shards)
        up = all(node.state == NodeState.UP for node in town.map.nodes)
        return in_service and up and not town.state.operators and all(map(town.serves, self.tables()))

    def tables(self) -> list[str]:
        return [table.name for table in self.town.map.tables]


def is_order(message: Message) -> bool:
    return isinstance(message, m.CreateReplica | m.DropShard | m.ChangeMember | m.TransferLeader)


def check_history(town: Town) -> None:
    """Versions without gaps, an id for one replica on one folder for ever, epochs that only rise."""
    owners: dict[ReplicaId, Member] = {}
    shards: dict[ReplicaId, ShardId] = {}
    epochs: dict[ShardId, tuple[int, int]] = {}
    ended: set[ShardId] = set()
    for version, command in enumerate(town.commands, 1):
        assert command.delta.version == version
        for info in command.delta.shards:
            assert info.shard not in ended
            epoch = (info.membership.version, info.term)
            assert epochs.get(info.shard, (0, 0)) <= epoch
            epochs[info.shard] = epoch
            for own in (*info.membership.voters, *info.membership.learners):
                assert owners.setdefault(own.replica, own) == own
                assert shards.setdefault(own.replica, info.shard) == info.shard
        ended |= set(command.delta.dropped_shards)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(days)
def test_after_any_day_all_shards_have_their_replicas_and_no_id_was_used_twice(plan: list[tuple[str, str]]) -> None:
    day = Day()
    for act, name in plan:
        day.happen(act, name)
        day.town.turn()
    day.heal()
    town = day.town
    check_history(town)
    folders = {(node.name, node.incarnation) for node in town.nodes.values()}
    held = {replica for node in town.nodes.values() for replica in node.replicas}
    for info in town.map.shards:
        voters = info.membership.voters
        assert len({own.node for own in voters}) == 3
        assert {(own.node, own.incarnation) for own in voters} <= folders
        assert info.membership.learners == ()
        assert info.membership == town.groups[info.shard].info.membership
    assert held == {own.replica for info in town.map.shards for own in info.membership.voters}
    for node in town.nodes.values():
        assert node.refused == ""
        assert node.follower.map is not None
        assert node.follower.map.snapshot() == town.map
