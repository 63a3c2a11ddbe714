"""The coordinator from outside: what it publishes, orders and answers, with fake nodes that obey."""

from collections import Counter

import msgspec
import pytest

from tests.core.cluster.town import CLIENT, HASH, Town, create, serving, status_of
from zkv.core.cluster import messages as m
from zkv.core.cluster.commands import Counters, MapCommand, decode_command
from zkv.core.cluster.shardmap import Beacon, MapDelta, NodeState
from zkv.core.cluster.versions import PROTOCOL_VERSION
from zkv.core.shard.commands import EFFECT_NONE, EFFECT_UNKNOWN
from zkv.core.shard.descriptor import ShardState
from zkv.ids import NodeId, ReplicaId

# Beginning -----------------------------------------------------------------------------------------------------------


def test_the_first_command_makes_the_cluster_and_those_who_asked_before_it_are_answered() -> None:
    town = Town()
    town.coordinator.receive(CLIENT, m.Hello(1, 1, 0))
    assert town.coordinator.outbox() == []
    town.turn()
    assert town.commands[0].delta.version == 1
    cluster = town.commands[0].cluster
    assert 0 < cluster < 2**63
    assert town.answers == [m.Welcome(1, PROTOCOL_VERSION, cluster, "coordinator", "coordinator", 1)]


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
