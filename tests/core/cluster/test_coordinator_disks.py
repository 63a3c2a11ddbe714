"""Disks that were lost: the coordinator replaces what they held, under new ids."""

from collections import Counter

import pytest

from tests.core.cluster.town import FakeNode, serving, status_of
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.message import Message
from zkv.ids import NodeId, ReplicaId, ShardId


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


def test_a_fresh_replica_that_passes_for_missing_by_a_late_register_stays_once_it_is_found() -> None:
    town = serving()
    town.wipe("n2")
    node = town.nodes["n2"]
    brought: dict[int, ReplicaId] = {}

    def has_room(node: FakeNode, order: Message) -> bool:
        """A node holds one replica of a shard: another never catches up. And no removal comes too soon."""
        if isinstance(order, m.ChangeMember) and order.action == "remove":
            return town.now_ms > late_ms + 500
        is_promotion = isinstance(order, m.ChangeMember) and order.action == "promote"
        return not is_promotion or brought.get(order.shard, order.member.replica) == order.member.replica

    def is_promoted() -> bool:
        for info in town.shards_of("default"):
            for own in info.membership.voters:
                if own.node == "n2" and own.incarnation == node.incarnation:
                    brought[info.shard] = own.replica
        return bool(brought)

    late_ms = 1 << 40
    town.on_order = has_room
    town.run_until(is_promoted)
    late_ms = town.now_ms
    late = m.Register(NodeId("n2"), node.incarnation, node.cluster, node.address, "", 1.0, 1, ())
    town.ask(late, node.source)
    assert any(plan.lost[-1].replica in brought.values() for plan in town.state.operators.values())
    town.run_until(lambda: not town.state.operators)
    town.run(1_000)
    for shard, replica in brought.items():
        members = town.state.map.shards[ShardId(shard)].membership
        assert [own.replica for own in members.voters if own.node == "n2"] == [replica]
        assert (len(members.voters), members.learners) == (3, ())


def test_a_learner_beside_a_voter_that_stays_replaces_nobody_else() -> None:
    """A voter passed for missing, and another was begun on its node; it is found, and then a third node dies."""
    town = serving()
    node = town.nodes["n2"]
    town.on_order = lambda node, order: not isinstance(order, m.ChangeMember) or order.action == "learn"
    town.ask(m.Register(NodeId("n2"), node.incarnation, node.cluster, node.address, "", 1.0, 1, ()), node.source)
    town.run_until(lambda: any(plan.undone for plan in town.state.operators.values()))
    town.kill("n3")
    town.run(town.state.map.tuning.grace_ms + 5_000)
    beside = {
        info.shard for info in town.shards_of("default") if any(own.node == "n2" for own in info.membership.learners)
    }
    assert beside
    for plan in town.state.operators.values():
        assert plan.shard not in beside or plan.undone or plan.fresh.node != "n2", plan
