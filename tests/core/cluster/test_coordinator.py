"""The coordinator from outside: what it publishes, orders and answers, with fake nodes that obey."""

from collections import Counter

import msgspec
import pytest

from tests.core.cluster.town import CLIENT, Town
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster.commands import Counters, MapCommand, decode_command
from zkv.core.cluster.shardmap import Beacon, MapDelta, NodeState, Partitioner
from zkv.core.shard.commands import EFFECT_DONE, EFFECT_NONE, EFFECT_UNKNOWN
from zkv.core.shard.descriptor import ShardState
from zkv.ids import NodeId, ReplicaId, ShardId

HASH, RANGE = Partitioner.HASH, Partitioner.RANGE


def serving(*names: str) -> Town:
    """A town whose default table serves."""
    town = Town(*(names or ("n1", "n2", "n3")))
    town.run_until(lambda: town.serves("default"))
    return town


def create(
    number: int, name: str, *, nonce: int = 9, replicas: int = 3, shards: int = 0, **more: object
) -> m.CreateTable:
    partitioner = more.get("partitioner", HASH)
    splits = more.get("splits", ())
    assert isinstance(partitioner, Partitioner)
    assert isinstance(splits, tuple)
    return m.CreateTable(number, nonce, name, partitioner, replicas, shards, splits)


def state_of(town: Town, name: str) -> NodeState:
    return town.state.map.nodes[NodeId(name)].state


# Beginning -----------------------------------------------------------------------------------------------------------


def test_the_first_command_makes_the_cluster_and_those_who_asked_before_it_are_answered() -> None:
    town = Town()
    town.coordinator.receive(CLIENT, m.Hello(1, 1, 0))
    assert town.coordinator.outbox() == []
    town.turn()
    assert town.commands[0].delta.version == 1
    cluster = town.commands[0].cluster
    assert 0 < cluster < 2**63
    assert town.answers == [m.Welcome(1, 1, cluster, "coordinator", "coordinator", 1)]


def test_three_nodes_get_the_default_table_at_once_with_four_leaders_each() -> None:
    town = Town("n1", "n2", "n3")
    assert town.run_until(lambda: town.serves("default")) <= 500
    table = town.state.map.table("default")
    assert table is not None
    assert (table.table, table.partitioner, table.replicas) == (1, HASH, 3)
    shards = town.shards_of("default")
    assert len(shards) == 12
    assert {info.state for info in shards} == {ShardState.ACTIVE}
    assert Counter(info.membership.voters[0].node for info in shards) == {"n1": 4, "n2": 4, "n3": 4}
    assert all(len({member.node for member in info.membership.voters}) == 3 for info in shards)
    replicas = [member.replica for info in shards for member in info.membership.voters]
    assert sorted(replicas) == list(range(1, 37))


@pytest.mark.parametrize("names", [("n1",), ("n1", "n2")], ids=["one node", "two nodes"])
def test_fewer_nodes_get_the_default_table_after_three_seconds_with_a_replica_each(names: tuple[str, ...]) -> None:
    town = Town(*names)
    took = town.run_until(lambda: bool(town.shards_of("default")))
    assert 3_000 <= took <= 3_300
    assert {len(info.membership.voters) for info in town.shards_of("default")} == {len(names)}


def test_without_nodes_there_is_no_table_however_long_it_takes() -> None:
    town = Town()
    town.run(10_000)
    assert town.map.tables == ()
    assert len(town.commands) == 1


def test_a_dropped_default_table_does_not_come_back() -> None:
    town = serving()
    town.ask(m.DropTable(1, "default"))
    town.run_until(lambda: town.answer_to(1) is not None)
    town.run(5_000)
    town.start_coordinator()
    town.run(5_000)
    assert town.map.tables == ()


# Nodes ---------------------------------------------------------------------------------------------------------------


def test_a_registered_node_is_told_the_map_in_which_it_stands() -> None:
    town = serving()
    town.join("n4")
    town.turn()
    (welcome,) = town.orders_to("n4", m.Registered)
    assert isinstance(welcome, m.Registered)
    assert NodeId("n4") in {node.node for node in welcome.map.nodes}
    assert (welcome.map.coordinators, welcome.map.publishers) == (("c:1",), ("c:2",))
    assert "node n4 joined at n4:1" in town.events


def test_a_silent_node_counts_as_down_and_a_heard_one_as_up() -> None:
    town = serving()
    town.kill("n2")
    town.run(limits.NODE_DOWN_MS - 100)
    assert state_of(town, "n2") == NodeState.UP
    town.run(200)
    assert state_of(town, "n2") == NodeState.DOWN
    assert {state_of(town, name) for name in ("n1", "n3")} == {NodeState.UP}
    town.restart("n2")
    town.run(100)
    assert state_of(town, "n2") == NodeState.UP
    assert town.events[-2:] == ["node n2 is silent and counts as down", "node n2 is up again at n2:1"]


def test_a_node_that_was_only_slow_is_up_again_by_its_heartbeat() -> None:
    town = serving()
    town.kill("n2")
    town.run(2_000)
    town.nodes["n2"].alive = True
    town.turn()
    assert state_of(town, "n2") == NodeState.UP


def test_after_a_pause_of_its_own_the_coordinator_waits_before_it_declares_anybody_down() -> None:
    town = serving()
    town.kill("n3")
    town.now_ms += 60_000
    town.run(limits.NODE_DOWN_MS - 100)
    assert {node.state for node in town.map.nodes} == {NodeState.UP}
    town.run(300)
    assert {name: state_of(town, name) for name in town.nodes} == {
        "n1": NodeState.UP,
        "n2": NodeState.UP,
        "n3": NodeState.DOWN,
    }


def test_an_unknown_heartbeat_is_answered_with_register_again() -> None:
    town = Town()
    town.turn()
    town.coordinator.receive(b"x", m.Alive(NodeId("n1"), 5, 17))
    assert town.coordinator.outbox() == [(b"x", m.Heard(17, known=False))]


def test_a_heartbeat_from_another_folder_is_answered_with_register_again() -> None:
    town = serving()
    town.coordinator.receive(b"x", m.Alive(NodeId("n1"), 5, 17))
    assert (b"x", m.Heard(17, known=False)) in town.coordinator.outbox()


def test_a_node_that_moves_is_published_under_its_new_address() -> None:
    town = serving()
    town.kill("n1")
    town.run(2_000)
    town.nodes["n1"].address = "elsewhere:9"
    town.restart("n1")
    town.run(200)
    assert town.state.map.nodes[NodeId("n1")].address == "elsewhere:9"
    assert town.nodes["n1"].registered


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster": 12345}, "belongs to cluster 0000000000003039"),
        ({"protocol": 99}, "speaks protocol 99"),
        ({"weight": 0.0}, "above 0"),
        ({"weight": float("nan")}, "above 0"),
        ({"zone": "z" * 65}, "1 to 64 characters"),
        ({"node": ""}, "1 to 64 characters"),
    ],
    ids=["cluster", "protocol", "no weight", "not a number", "zone", "name"],
)
def test_a_node_that_does_not_belong_is_refused_in_words(change: dict[str, object], words: str) -> None:
    town = serving()
    version = town.state.map.version
    good = m.Register(NodeId("n9"), 5, 0, "n9:1", "", 1.0, 1, ())
    town.coordinator.receive(CLIENT, msgspec.structs.replace(good, **change))
    town.run(200)
    (answer,) = town.answers
    assert isinstance(answer, m.RegisterRefused)
    assert words in answer.what
    assert town.state.map.version == version
    assert any(event.startswith("refused a registration: ") and words in event for event in town.events)


def test_a_second_node_under_a_living_id_is_refused_and_the_first_stays() -> None:
    town = serving()
    version = town.state.map.version
    stranger = m.Register(NodeId("n1"), 5, 0, "other:1", "", 1.0, 1, ())
    for _ in range(20):
        town.coordinator.receive(CLIENT, stranger)
        town.turn()
    refusals = [answer for answer in town.answers if isinstance(answer, m.RegisterRefused)]
    assert refusals
    assert "the id n1 is in use by a node at n1:1" in refusals[0].what
    assert town.state.map.version == version
    assert town.nodes["n1"].registered


def test_a_new_folder_under_an_id_whose_node_has_just_died_waits_and_is_taken() -> None:
    town = serving()
    town.kill("n1")
    town.turn()
    town.wipe("n1")
    took = town.run_until(lambda: town.nodes["n1"].registered)
    assert limits.NODE_DOWN_MS - 200 <= took <= limits.NODE_DOWN_MS + 300
    assert town.nodes["n1"].refused == ""


def test_a_coordinator_just_started_does_not_give_a_living_nodes_id_away() -> None:
    town = serving()
    town.start_coordinator()
    stranger = m.Register(NodeId("n1"), 5, 0, "other:1", "", 1.0, 1, ())
    town.coordinator.receive(CLIENT, stranger)
    town.run(3_000)
    assert town.state.map.nodes[NodeId("n1")].incarnation == town.nodes["n1"].incarnation
    assert town.state.operators == {}


# Lost disks ----------------------------------------------------------------------------------------------------------


def voters_of(town: Town) -> list[tuple[int, ...]]:
    return [tuple(sorted(own.replica for own in info.membership.voters)) for info in town.shards_of("default")]


def test_a_node_that_returns_empty_gets_new_replicas_and_never_its_old_ones() -> None:
    town = serving()
    old = {own.replica for info in town.map.shards for own in info.membership.voters if own.node == "n2"}
    folder = town.nodes["n2"].incarnation
    town.wipe("n2")
    town.sent.clear()
    town.run_until(lambda: len(town.nodes["n2"].replicas) == 12 and not town.state.operators)
    assert old.isdisjoint(town.nodes["n2"].replicas)
    assert min(town.nodes["n2"].replicas) > 36
    for info in town.shards_of("default"):
        assert {own.node for own in info.membership.voters} == {"n1", "n2", "n3"}
        assert info.membership.learners == ()
        assert folder not in {own.incarnation for own in info.membership.voters}
        assert town.groups[info.shard].info.membership == info.membership
    created = [order.replica for order in town.orders_to("n2", m.CreateReplica) if isinstance(order, m.CreateReplica)]
    assert created == []  # the group brings its learner itself
    learnt = [order for _, order in town.sent if isinstance(order, m.ChangeMember) and order.action == "learn"]
    assert {order.member.replica for order in learnt}.isdisjoint(old)
    assert any("came back with another folder" in event for event in town.events)


def test_a_group_passes_through_four_voters_never_through_two() -> None:
    town = serving()
    town.wipe("n2")
    sizes = set()
    for _ in range(200):
        town.turn()
        sizes |= {len(info.membership.voters) for info in town.shards_of("default")}
    assert sizes == {3, 4}


@pytest.mark.parametrize("turns", range(0, 14, 2))
def test_a_replacement_survives_a_coordinators_death_after_any_number_of_turns(turns: int) -> None:
    town = serving()
    town.wipe("n2")
    town.run_until(lambda: bool(town.state.operators))
    for _ in range(turns):
        town.turn()
    town.start_coordinator()
    town.run_until(lambda: not town.state.operators)
    town.run(1_000)
    for info in town.shards_of("default"):
        assert {own.incarnation for own in info.membership.voters} == {node.incarnation for node in town.nodes.values()}
        assert len(info.membership.voters) == 3
    every = [own.replica for info in town.map.shards for own in info.membership.voters]
    assert len(set(every)) == 36


@pytest.mark.parametrize("turns", range(0, 12, 2))
def test_a_node_that_loses_its_disk_twice_is_replaced_twice(turns: int) -> None:
    town = serving()
    town.wipe("n2")
    town.run_until(lambda: bool(town.state.operators))
    for _ in range(turns):
        town.turn()
    town.wipe("n2")
    town.run_until(lambda: town.nodes["n2"].registered and not town.state.operators)
    town.run(1_000)
    for info in town.shards_of("default"):
        assert {own.incarnation for own in info.membership.voters} == {node.incarnation for node in town.nodes.values()}
        assert (len(info.membership.voters), info.membership.learners) == (3, ())


def test_a_replica_that_its_node_no_longer_holds_is_replaced_on_the_same_folder() -> None:
    town = serving()
    node = town.nodes["n3"]
    lost = next(iter(node.replicas))
    shard = node.replicas.pop(lost)
    town.restart("n3")
    town.sent.clear()
    town.run_until(lambda: bool(town.state.operators))
    town.run_until(lambda: not town.state.operators)
    assert town.orders_to("n3", m.CreateReplica) == []
    assert lost not in node.replicas
    voters = town.state.map.shards[shard].membership.voters
    assert lost not in {own.replica for own in voters}
    assert {own.node for own in voters} == {"n1", "n2", "n3"}
    others = [info for info in town.map.shards if info.shard != shard]
    assert {info.membership.version for info in others} == {1}


def test_a_shard_that_lost_its_only_replica_is_listed_and_nothing_is_made_up() -> None:
    town = serving("n1")
    town.wipe("n1")
    town.run(5_000)
    assert len(town.state.operators) == 12
    assert town.nodes["n1"].replicas == {}
    figures = status_of(town)
    assert figures["below_replicas"] == list(range(1, 13))
    assert Counter(row["step"] for row in figures["operators"]) == {"learn": limits.HEALS_PER_NODE_MAX, "wait": 4}


# Reports -------------------------------------------------------------------------------------------------------------


def test_leaders_that_change_together_are_published_in_one_delta() -> None:
    town = serving()
    town.run(1_000)
    led = [info.shard for info in town.map.shards if info.leading() and info.leading().node == "n1"]  # type: ignore[union-attr]
    before = len(town.commands)
    town.kill("n1")
    town.run_until(lambda: "n1" not in leads(town))
    (command,) = [one for one in town.commands[before:] if one.delta.shards]
    assert [info.shard for info in command.delta.shards] == led


def test_an_old_leader_that_wakes_does_not_turn_the_map_back() -> None:
    town = serving()
    shard = town.shards_of("default")[0]
    old = m.ShardReport(ReplicaId(shard.leader), shard, leading=True, applied=1, rows=-1, bytes=-1)
    leader = shard.leading()
    assert leader is not None
    town.kill(leader.node)
    town.run_until(lambda: town.state.map.shards[shard.shard].term > shard.term and town.serves("default"))
    town.run(2_000)
    moved = town.state.map.shards[shard.shard]
    assert moved.leader != shard.leader
    town.restart(leader.node)
    town.run(200)
    version = town.state.map.version
    town.coordinator.receive(town.nodes[leader.node].source, m.Alive(leader.node, leader.incarnation, 999, (old,)))
    town.run(200)
    assert town.state.map.shards[shard.shard] == moved
    assert town.state.map.version == version


def test_a_report_without_a_leader_hides_nobody() -> None:
    town = serving()
    shard = town.shards_of("default")[0]
    told = msgspec.structs.replace(shard, leader=ReplicaId(0), term=shard.term + 5)
    report = m.ShardReport(ReplicaId(shard.leader), told, leading=False, applied=1, rows=-1, bytes=-1)
    node = town.nodes["n1"]
    town.coordinator.receive(node.source, m.Alive(NodeId("n1"), node.incarnation, 999, (report,)))
    town.turn()
    assert town.state.map.shards[shard.shard] == shard


# Tables --------------------------------------------------------------------------------------------------------------


def test_a_table_is_done_only_when_each_shard_has_a_leader() -> None:
    town = serving()
    town.electing = False
    town.ask(create(1, "t", shards=6))
    assert {info.state for info in town.shards_of("t")} == {ShardState.CREATING}
    town.run(1_000)
    assert {info.state for info in town.shards_of("t")} == {ShardState.ACTIVE}
    assert town.answer_to(1) is None
    town.electing = True
    town.run(100)
    assert town.serves("t")
    assert town.answer_to(1) == m.AdminDone(1, town.state.map.version)
    assert len(town.shards_of("t")) == 6


def test_a_range_table_starts_between_its_splits() -> None:
    town = serving()
    town.ask(create(1, "r", partitioner=RANGE, splits=(b"g", b"p")))
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    assert [(info.start, info.end) for info in town.shards_of("r")] == [(b"", b"g"), (b"g", b"p"), (b"p", b"")]
    assert Counter(own.node for info in town.shards_of("r") for own in info.membership.voters) == {
        "n1": 3,
        "n2": 3,
        "n3": 3,
    }


def test_a_creation_repeated_by_its_caller_succeeds_without_a_second_table() -> None:
    town = serving()
    for number in (1, 2):
        town.ask(create(number, "t", nonce=42))
    town.run_until(lambda: town.answer_to(1) is not None and town.answer_to(2) is not None)
    town.ask(create(3, "t", nonce=42))
    assert [isinstance(town.answer_to(number), m.AdminDone) for number in (1, 2, 3)] == [True] * 3
    assert [table.name for table in town.map.tables] == ["default", "t"]


@pytest.mark.parametrize(
    "other",
    [
        create(2, "t", nonce=43),
        create(2, "t", nonce=42, replicas=1),
        create(2, "t", nonce=42, shards=5),
        create(2, "t", nonce=42, partitioner=RANGE),
        create(2, "default", nonce=42),
    ],
    ids=["another caller", "other replicas", "other shards", "other partitioner", "the default table"],
)
def test_a_name_that_is_taken_is_refused(other: m.CreateTable) -> None:
    town = serving()
    town.ask(create(1, "t", nonce=42))
    town.run_until(lambda: town.answer_to(1) is not None)
    town.ask(other)
    answer = town.answer_to(2)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == ("TableExists", EFFECT_NONE)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (create(1, "t", replicas=4), "Unavailable", "4 replicas need as many nodes, and 3 are up"),
        (create(1, "t", splits=(b"a",)), "InvalidRequest", "for range tables"),
        (create(1, "t", partitioner=RANGE, splits=(b"b", b"a")), "InvalidRequest", "must rise"),
        (m.DropTable(1, "t"), "NoSuchTable", "no table 't'"),
    ],
    ids=["too few nodes", "splits of a hash table", "splits that fall", "drop of nothing"],
)
def test_what_cannot_be_done_is_refused_at_once_and_nothing_changes(
    request_: m.CreateTable, error: str, words: str
) -> None:
    town = serving()
    before = town.map
    town.ask(request_)
    answer = town.answer_to(1)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == (error, EFFECT_NONE)
    assert words in answer.what
    assert town.map == before


def test_a_down_node_is_no_place_for_a_replica() -> None:
    town = serving("n1", "n2", "n3", "n4")
    town.kill("n4")
    town.run(2_000)
    town.ask(create(1, "t"))
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    assert {own.node for info in town.shards_of("t") for own in info.membership.voters} == {"n1", "n2", "n3"}


def test_a_creation_that_takes_too_long_is_answered_timeout_and_goes_on() -> None:
    town = serving()
    town.on_order = lambda node, order: not isinstance(order, m.CreateReplica)
    town.ask(create(1, "t"))
    town.run_until(lambda: town.answer_to(1) is not None)
    answer = town.answer_to(1)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == ("Timeout", EFFECT_UNKNOWN)
    town.on_order = lambda node, order: True
    town.run_until(lambda: town.serves("t"))


def test_an_order_that_was_lost_is_given_again() -> None:
    town = serving()
    town.on_order = lambda node, order: not (isinstance(order, m.CreateReplica) and town.now_ms < deadline)
    deadline = town.now_ms + 700
    town.ask(create(1, "t", shards=2))
    took = town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    assert took < 1_500
    orders = [order for order in town.orders_to("n1", m.CreateReplica) if isinstance(order, m.CreateReplica)]
    again = Counter(order.replica for order in orders if order.info.table == 2)
    assert len(again) == 2
    assert max(again.values()) == 3


def test_a_disk_lost_while_a_shard_is_created_begins_it_anew_under_new_ids() -> None:
    town = serving()
    town.on_order = lambda node, order: not (node.name == "n3" and isinstance(order, m.CreateReplica))
    town.ask(create(1, "t", shards=2))
    town.run(200)
    first = town.shards_of("t")
    town.on_order = lambda node, order: True
    town.kill("n3")
    town.run(1_600)
    town.wipe("n3")
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    second = town.shards_of("t")
    assert [(info.start, info.end) for info in second] == [(info.start, info.end) for info in first]
    assert {info.shard for info in first}.isdisjoint(info.shard for info in second)
    old = {own.replica for info in first for own in info.membership.voters}
    assert old.isdisjoint(own.replica for info in second for own in info.membership.voters)
    town.run(2_000)
    for node in town.nodes.values():
        assert old.isdisjoint(node.replicas)  # what was created of the first attempt is deleted again


def test_a_shard_being_created_goes_elsewhere_when_its_node_dies() -> None:
    town = serving("n1", "n2", "n3", "n4")
    town.on_order = lambda node, order: not (node.name == "n3" and isinstance(order, m.CreateReplica))
    town.ask(create(1, "t"))
    town.run(100)
    town.kill("n3")
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    assert {own.node for info in town.shards_of("t") for own in info.membership.voters} == {"n1", "n2", "n4"}


def test_a_dropped_table_leaves_the_map_when_its_replicas_are_gone() -> None:
    town = serving()
    town.ask(create(1, "t", shards=4))
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    town.on_order = lambda node, order: not isinstance(order, m.DropShard)
    town.ask(m.DropTable(2, "t"))
    town.run(1_000)
    assert {info.state for info in town.shards_of("t")} == {ShardState.DROPPING}
    town.on_order = lambda node, order: True
    town.run_until(lambda: town.answer_to(2) is not None)
    assert town.answer_to(2) == m.AdminDone(2, town.state.map.version)
    assert [table.name for table in town.map.tables] == ["default"]
    assert {shard for node in town.nodes.values() for shard in node.replicas.values()} == set(range(1, 13))


def test_a_dropped_tables_replica_on_a_dead_node_is_deleted_when_it_returns() -> None:
    town = serving()
    town.ask(create(1, "t", shards=2))
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    town.kill("n2")
    town.run(2_000)
    town.ask(m.DropTable(2, "t"))
    town.run_until(lambda: isinstance(town.answer_to(2), m.AdminDone))
    town.start_coordinator()
    town.run(1_000)
    assert len(town.nodes["n2"].replicas) == 14
    town.restart("n2")
    town.run(2_000)
    assert set(town.nodes["n2"].replicas.values()) == set(range(1, 13))
    town.sent.clear()
    town.run(2_000)
    assert town.orders_to("n2", m.DropShard) == []


def test_a_replica_of_a_shard_id_never_given_out_is_left_alone() -> None:
    town = serving()
    shard = town.shards_of("default")[0]
    unknown = msgspec.structs.replace(shard, shard=ShardId(999))
    node = town.nodes["n1"]
    report = m.ShardReport(ReplicaId(5000), unknown, leading=True, applied=1, rows=-1, bytes=-1)
    town.coordinator.receive(node.source, m.Alive(NodeId("n1"), node.incarnation, 999, (report,)))
    town.run(2_000)
    assert town.orders_to("n1", m.DropShard) == []
    assert ShardId(999) not in town.state.map.shards


def test_a_table_made_under_a_dropped_name_is_another_one() -> None:
    town = serving()
    town.ask(create(1, "t", shards=2))
    town.run_until(lambda: town.answer_to(1) is not None)
    town.ask(m.DropTable(2, "t"))
    town.run_until(lambda: town.answer_to(2) is not None)
    town.ask(create(3, "t", nonce=10, shards=2))
    town.run_until(lambda: town.answer_to(3) is not None)
    assert [table.table for table in town.map.tables] == [1, 3]
    assert [info.shard for info in town.shards_of("t")] == [15, 16]


def test_a_late_repetition_of_a_creation_does_not_bring_a_dropped_table_back() -> None:
    town = serving()
    town.ask(create(1, "t", nonce=10))
    town.run_until(lambda: town.answer_to(1) is not None)
    town.ask(m.DropTable(2, "t"))
    town.run_until(lambda: town.answer_to(2) is not None)
    town.start_coordinator()
    town.ask(create(3, "t", nonce=10))
    answer = town.answer_to(3)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == ("NoSuchTable", EFFECT_DONE)


# The log and its hearers ---------------------------------------------------------------------------------------------


def test_there_is_one_command_under_way_at_a_time_and_nothing_is_published_before_it_is_applied() -> None:
    town = Town("n1")
    town.turn()
    town.coordinator.broadcasts()
    town.coordinator.receive(b"x", m.Register(NodeId("n7"), 5, 0, "n7:1", "", 1.0, 1, ()))
    payloads = town.coordinator.propose()
    assert len(payloads) == 1
    town.coordinator.receive(b"y", m.Register(NodeId("n8"), 6, 0, "n8:1", "", 1.0, 1, ()))
    assert town.coordinator.propose() == []
    assert town.coordinator.broadcasts() == []
    assert [message for source, message in town.coordinator.outbox() if source == b"x"] == []


def test_versions_are_published_without_gaps_and_every_follower_ends_with_the_coordinators_map() -> None:
    town = serving()
    town.ask(create(1, "t"))
    town.kill("n1")
    town.run(3_000)
    town.wipe("n1")
    town.run(5_000)
    town.start_coordinator()
    town.run(3_000)
    assert [command.delta.version for command in town.commands] == list(range(1, len(town.commands) + 1))
    for node in town.nodes.values():
        assert node.follower.map is not None
        assert node.follower.map.snapshot() == town.map
        assert not node.follower.wants_snapshot


def test_a_quiet_cluster_hears_one_beacon_a_second_and_changes_nothing() -> None:
    town = serving()
    town.run(15_000)
    version, commands = town.state.map.version, len(town.commands)
    heard = []
    for _ in range(100):
        town.now_ms += 50
        town.coordinator.tick(town.now_ms)
        for node in town.nodes.values():
            town.coordinator.receive(node.source, m.Alive(NodeId(node.name), node.incarnation, 1))
        assert town.coordinator.propose() == []
        heard += town.coordinator.broadcasts()
    assert heard == [Beacon(town.map.incarnation, version)] * 5
    assert len(town.commands) == commands


def test_a_subscriber_hears_the_version_at_once() -> None:
    town = serving()
    town.coordinator.subscribed()
    assert town.coordinator.broadcasts() == [Beacon(town.map.incarnation, town.map.version)]


def test_a_restarted_coordinator_goes_on_from_its_version_with_the_same_cluster() -> None:
    town = serving()
    before = town.map
    town.start_coordinator()
    assert town.map == before
    town.run(3_000)
    assert all(node.registered for node in town.nodes.values())
    assert town.map == before
    assert {NodeState.UP} == {node.state for node in town.map.nodes}


def test_a_command_overtaken_by_anothers_has_no_effect_and_is_decided_anew() -> None:
    town = Town("n1", "n2", "n3")
    town.turn()
    town.coordinator.receive(b"x", m.Register(NodeId("n7"), 5, 0, "n7:1", "", 1.0, 1, ()))
    (payload,) = town.coordinator.propose()
    foreign = MapCommand(MapDelta(town.map.incarnation, town.map.version + 1), town.state.counters)
    town.coordinator.applied(foreign, town.state.apply(foreign))
    assert town.coordinator.propose() == []
    late = decode_command(payload)
    assert not town.state.apply(late)
    town.coordinator.applied(late, took_effect=False)
    town.turn()
    assert NodeId("n7") in town.state.map.nodes


def test_a_coordinator_that_stops_leading_says_so_to_who_waits_and_orders_nothing_more() -> None:
    town = serving()
    town.on_order = lambda node, order: not isinstance(order, m.CreateReplica)
    town.ask(create(1, "t"))
    town.coordinator.stop_leading()
    town.sent.clear()
    town.run(2_000)
    answer = town.answer_to(1)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == ("Unavailable", EFFECT_UNKNOWN)
    assert town.sent == []
    town.ask(create(2, "u"))
    answer = town.answer_to(2)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == ("Unavailable", EFFECT_NONE)


# Leaders -------------------------------------------------------------------------------------------------------------


def leads(town: Town) -> Counter[str]:
    return Counter(leader.node for info in town.map.shards if (leader := info.leading()) is not None)


def test_leaders_gather_nowhere_for_long() -> None:
    town = serving()
    for name in ("n2", "n3"):
        town.kill(name)
        town.run(2_000)
        town.restart(name)
        town.run(500)
    assert max(leads(town).values()) >= 6
    town.sent.clear()
    town.run(9_000)
    assert [order for _, order in town.sent if isinstance(order, m.TransferLeader)] == []
    town.run(20_000)
    assert max(leads(town).values()) <= 5
    settled = leads(town)
    town.sent.clear()
    town.run(20_000)
    assert leads(town) == settled
    assert [order for _, order in town.sent if isinstance(order, m.TransferLeader)] == []


def test_leader_balance_can_be_switched_off() -> None:
    town = serving()
    town.coordinator.balance.enabled = False
    for name in ("n2", "n3"):
        town.kill(name)
        town.run(2_000)
        town.restart(name)
    uneven = leads(town)
    town.run(60_000)
    assert leads(town) == uneven


# Figures -------------------------------------------------------------------------------------------------------------


def status_of(town: Town) -> dict[str, list[dict[str, object]]]:
    town.ask(m.StatusRequest(77))
    answer = town.answers.pop()
    assert isinstance(answer, m.StatusAnswer)
    figures: dict[str, list[dict[str, object]]] = msgspec.msgpack.decode(answer.figures)
    return figures


def test_the_figures_name_nodes_shards_and_what_is_under_way() -> None:
    town = serving()
    town.kill("n2")
    town.run(2_000)
    figures = status_of(town)
    assert [(node["node"], node["state"]) for node in figures["nodes"]] == [("n1", "up"), ("n2", "down"), ("n3", "up")]
    assert figures["below_replicas"] == list(range(1, 13))
    assert figures["operators"] == []
    assert figures["map_version"] == town.state.map.version
    town.wipe("n2")
    town.run_until(lambda: bool(town.state.operators))
    rows = status_of(town)["operators"]
    assert len(rows) == 12
    assert {(row["kind"], row["on"]) for row in rows} == {("replace-replica", "n2")}


def test_requests_for_the_map_are_counted_and_none_comes_from_a_node_that_hears_the_broadcast() -> None:
    town = serving()
    town.run(10_000)
    assert status_of(town)["map_requests"] == 0
    town.ask(m.MapRequest(5))
    assert town.answer_to(5) == m.MapAnswer(5, town.map)
    assert status_of(town)["map_requests"] == 1


def test_the_counters_of_ids_only_rise() -> None:
    town = serving()
    town.wipe("n1")
    town.run(5_000)
    seen = Counters()
    for command in town.commands:
        counters = command.counters
        assert counters.table >= seen.table
        assert counters.shard >= seen.shard
        assert counters.replica >= seen.replica
        assert counters.operator >= seen.operator
        seen = counters
    given = [own.replica for info in town.map.shards for own in info.membership.voters]
    assert max(given) < seen.replica
