"""Merges as the coordinator plans, orders and shows them."""

import pytest
from msgspec import structs

from tests.core.cluster.test_splits import HALVES, WHOLE, ordered, ranges, split
from tests.core.cluster.town import Town, status_of
from zkv.core.cluster import messages as m
from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.joining import MERGE_MS_MAX
from zkv.core.shard.commands import EFFECT_NONE, EFFECT_UNKNOWN
from zkv.ids import NodeId


def halves(*names: str) -> Town:
    """A town with a range table of two shards."""
    town = ordered(*names)
    split(town)
    town.run_until(lambda: town.serves("ordered") and ranges(town) == HALVES and not town.state.splits)
    return town


def merge(town: Town, at: bytes = b"m", number: int = 6) -> None:
    town.ask(m.MergeTable(number, "ordered", at))


def losing(town: Town) -> list[m.MergeShard]:
    """Orders to merge are lost from now on, and gather here."""
    lost: list[m.MergeShard] = []

    def passes(node: object, order: object) -> bool:
        if isinstance(order, m.MergeShard):
            lost.append(order)
        return not isinstance(order, m.MergeShard)

    town.on_order = passes
    return lost


def test_the_merged_shard_comes_into_the_map_in_one_change_and_the_source_goes_with_it() -> None:
    town = halves()
    left, right = town.shards_of("ordered")
    merge(town)
    town.run_until(lambda: ranges(town) == WHOLE)
    command = next(own for own in town.commands if right.shard in own.delta.dropped_shards)
    (shown,) = [info for info in command.delta.shards if info.shard == left.shard]
    assert (shown.end, shown.range_version) == (b"", 3)
    town.run_until(lambda: town.answer_to(6) is not None)
    assert town.answer_to(6) == m.AdminDone(6, command.delta.version)
    assert town.state.merges == {}
    town.run(2_000)
    assert all(right.shard not in node.replicas.values() for node in town.nodes.values())
    assert CoordinatorState.load(town.rows).merges == {}


def test_where_no_shard_begins_nothing_is_done() -> None:
    town = halves()
    merge(town, b"n")
    assert town.answer_to(6) == m.AdminDone(6, town.state.map.version)
    town.run(1_000)
    assert ranges(town) == HALVES


@pytest.mark.parametrize(
    ("table", "error", "what"),
    [
        ("nothing", "NoSuchTable", "there is no table 'nothing'"),
        ("default", "NotPossible", "table default is hashed"),
    ],
)
def test_what_cannot_be_merged_is_refused_at_once(table: str, error: str, what: str) -> None:
    town = halves()
    border = town.shards_of("default")[1].start
    town.ask(m.MergeTable(6, table, border))
    answer = town.answer_to(6)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, what in answer.what, answer.effect) == (error, True, EFFECT_NONE)


def test_a_plan_outlives_the_coordinator_and_is_ordered_again() -> None:
    town = halves()
    losing(town)
    merge(town)
    town.run(1_000)
    (plan,) = town.state.merges.values()
    town.on_order = lambda node, order: True
    town.start_coordinator()
    assert town.state.merges == {plan.id: plan}
    for name in list(town.nodes):
        town.restart(name)
    town.run_until(lambda: ranges(town) == WHOLE)
    town.run(500)
    assert town.state.merges == {}


def test_one_that_came_to_nothing_is_said_so_and_can_be_asked_for_again() -> None:
    """The source has changed its members since it was planned: its log would never take the freeze."""
    town = halves()
    orders = losing(town)
    merge(town)
    town.run(200)
    source = town.groups[town.shards_of("ordered")[1].shard]
    members = source.info.membership
    source.info = structs.replace(source.info, membership=structs.replace(members, version=members.version + 1))
    town.on_order = lambda node, order: True
    town.run_until(lambda: town.answer_to(6) is not None)
    answer = town.answer_to(6)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == ("NotPossible", EFFECT_NONE)
    assert len({order.merge.number for order in orders}) == 1, "it is planned once for one request"
    assert ranges(town) == HALVES
    merge(town, number=7)
    town.run_until(lambda: ranges(town) == WHOLE)


def test_one_that_never_ends_is_called_off_and_only_the_target_can_say_so() -> None:
    town = halves()
    orders = losing(town)
    merge(town)
    town.run_until(lambda: town.answer_to(6) is not None, 30_000)
    answer = town.answer_to(6)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == ("Timeout", EFFECT_UNKNOWN)
    town.run_until(lambda: orders[-1].abandon, MERGE_MS_MAX + 1_000)
    assert town.state.merges, "a late order may still begin it"
    town.on_order = lambda node, order: True
    town.run_until(lambda: not town.state.merges)
    first = next(order for order in orders if not order.abandon)
    town.merge_groups(first)
    town.run(1_000)
    assert ranges(town) == HALVES


def test_an_operator_can_cancel_it() -> None:
    town = halves()
    losing(town)
    merge(town)
    town.run(200)
    (row,) = [row for row in status_of(town)["operators"] if row["kind"] == "merge-shard"]
    assert (row["shard"], row["step"]) == (town.shards_of("ordered")[0].shard, "merge")
    town.on_order = lambda node, order: not isinstance(order, m.MergeShard) or order.abandon
    town.ask(m.CancelOperator(8, int(str(row["id"]))))
    town.run_until(lambda: town.answer_to(8) is not None)
    assert isinstance(town.answer_to(8), m.AdminDone)
    town.run_until(lambda: not town.state.merges)
    assert ranges(town) == HALVES


def test_shards_that_are_being_merged_are_left_alone() -> None:
    town = halves("n1", "n2", "n3", "n4")
    losing(town)
    merge(town)
    town.run(200)
    split(town, b"c", 9)
    town.run(500)
    assert not town.state.splits
    (plan,) = town.state.merges.values()
    holder = town.shards_of("ordered")[1].membership.voters[0].node
    town.ask(m.ChangeNode(10, NodeId(holder), "drain"))
    town.run(2_000)
    now = {info.shard: info.membership.version for info in town.shards_of("ordered")}
    assert now[plan.merge.source] == plan.merge.member_version, "no move begins meanwhile"
    town.on_order = lambda node, order: True
    town.run_until(lambda: not town.state.merges)
    assert plan.merge.source not in town.state.map.shards


def test_a_node_that_was_away_drops_what_it_has_of_the_source() -> None:
    town = halves()
    right = town.shards_of("ordered")[1]
    away = right.membership.voters[-1].node
    town.late.add(away)
    merge(town)
    town.run_until(lambda: ranges(town) == WHOLE)
    town.run_until(lambda: right.shard not in town.nodes[away].replicas.values())


def test_what_is_said_of_a_shard_that_has_just_become_part_of_another_is_no_news() -> None:
    town = halves()
    right = town.shards_of("ordered")[1]
    voter = right.membership.voters[0]
    info = structs.replace(right, term=right.term + 1, leader=voter.replica)
    report = m.ShardReport(voter.replica, info, True, 1, -1, -1)
    reports = town.coordinator.reports
    assert reports.take(voter.node, (report,), town.state.map), "of a shard in the map it is"
    merge(town)
    town.run_until(lambda: ranges(town) == WHOLE)
    reports.take(voter.node, (report,), town.state.map)
    assert reports.news(town.state.map) == []


def test_a_node_that_comes_back_without_its_replica_of_the_source_has_lost_nothing() -> None:
    """It has deleted it by the target's word, before the map shows the merge."""
    town = halves()
    losing(town)
    merge(town)
    town.run(200)
    right = town.shards_of("ordered")[1]
    gone = right.membership.voters[0]
    del town.nodes[gone.node].replicas[gone.replica]
    town.restart(gone.node)
    town.run(1_000)
    assert gone.replica not in town.coordinator.registrar.missing
    assert not town.state.operators
