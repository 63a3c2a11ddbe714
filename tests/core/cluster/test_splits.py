"""Splits as the coordinator plans, orders and shows them."""

import pytest
from msgspec import structs

from tests.core.cluster.made import shard, snapshot, table
from tests.core.cluster.town import RANGE, Town, create, serving, status_of
from zkv.core.cluster import messages as m
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.reports import Reports
from zkv.core.cluster.splits import SplitPlan
from zkv.core.cluster.upkeep import LEFT_ALONE_MS
from zkv.core.raft.messages import Membership
from zkv.core.shard.commands import EFFECT_NONE, EFFECT_UNKNOWN
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId, ReplicaId

WHOLE = [(b"", b"")]
HALVES = [(b"", b"m"), (b"m", b"")]


def ordered(*names: str) -> Town:
    """A town with a range table of one shard."""
    town = serving(*names)
    town.ask(create(1, "ordered", partitioner=RANGE))
    town.run_until(lambda: town.serves("ordered"))
    return town


def ranges(town: Town) -> list[tuple[bytes, bytes]]:
    return [(info.start, info.end) for info in town.shards_of("ordered")]


def split(town: Town, at: bytes = b"m", number: int = 5) -> None:
    town.ask(m.SplitTable(number, "ordered", at))


def losing(town: Town) -> list[m.SplitShard]:
    """Orders to split are lost from now on, and gather here."""
    lost: list[m.SplitShard] = []

    def passes(node: object, order: object) -> bool:
        if isinstance(order, m.SplitShard):
            lost.append(order)
        return not isinstance(order, m.SplitShard)

    town.on_order = passes
    return lost


def called_off_unheard(town: Town) -> tuple[m.SplitShard, SplitPlan]:
    """A split is ordered and called off, and no order arrives: its first one, and the plan."""
    orders = losing(town)
    split(town)
    town.run_until(lambda: bool(orders))
    town.on_order = lambda node, order: False
    [plan] = town.state.splits.values()
    town.ask(m.CancelOperator(9, plan.id))
    return orders[0], plan


def test_both_halves_come_into_the_map_in_one_change() -> None:
    town = ordered()
    before = town.shards_of("ordered")[0]
    split(town)
    town.run_until(lambda: town.serves("ordered") and ranges(town) == HALVES)
    left, right = town.shards_of("ordered")
    command = next(own for own in town.commands if right.shard in {info.shard for info in own.delta.shards})
    assert left.shard in {info.shard for info in command.delta.shards}
    assert (left.shard, left.range_version, right.range_version) == (before.shard, 2, 2)
    assert [voter.node for voter in right.membership.voters] == [voter.node for voter in left.membership.voters]
    assert {voter.replica for voter in right.membership.voters}.isdisjoint(
        voter.replica for voter in left.membership.voters
    )
    assert town.answer_to(5) == m.AdminDone(5, command.delta.version)
    town.run(500)
    assert town.state.splits == {}


@pytest.mark.parametrize(
    ("table", "at", "error", "what"),
    [
        ("nothing", b"m", "NoSuchTable", "there is no table 'nothing'"),
        ("default", b"m", "NotPossible", "table default is hashed"),
    ],
)
def test_what_cannot_be_split_is_refused_at_once(table: str, at: bytes, error: str, what: str) -> None:
    town = ordered()
    town.ask(m.SplitTable(5, table, at))
    answer = town.answer_to(5)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, what in answer.what, answer.effect) == (error, True, EFFECT_NONE)


def test_a_table_has_no_more_shards_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    town = ordered()
    monkeypatch.setattr("zkv.limits.SHARDS_PER_TABLE_MAX", 1)
    split(town)
    answer = town.answer_to(5)
    assert isinstance(answer, m.AdminRefused)
    assert answer.what == "table ordered has 1 shards, which is the most"


def test_where_a_shard_begins_already_nothing_is_done() -> None:
    town = ordered()
    split(town)
    town.run_until(lambda: town.answer_to(5) is not None)
    split(town, number=6)
    assert town.answer_to(6) == m.AdminDone(6, town.state.map.version)
    town.run(2_000)
    assert ranges(town) == HALVES


def test_a_lost_order_is_repeated_and_a_late_answer_says_that_it_goes_on() -> None:
    town = ordered()
    orders = losing(town)
    split(town)
    town.run_until(lambda: town.answer_to(5) is not None)
    answer = town.answer_to(5)
    assert isinstance(answer, m.AdminRefused)
    assert (answer.error, answer.effect) == ("Timeout", EFFECT_UNKNOWN)
    assert len(orders) > 10
    assert len({order.split.shard for order in orders}) == 1, "under the same ids, for the first may have come through"
    town.on_order = lambda node, order: True
    town.run_until(lambda: ranges(town) == HALVES)


def test_a_coordinator_that_begins_anew_goes_on_under_the_same_ids() -> None:
    town = ordered()
    orders = losing(town)
    split(town)
    town.run_until(lambda: bool(orders))
    town.start_coordinator()
    town.on_order = lambda node, order: True
    town.run_until(lambda: ranges(town) == HALVES)
    assert town.shards_of("ordered")[1].shard == orders[0].split.shard


def test_other_ids_are_given_only_once_the_members_have_changed() -> None:
    town = ordered()
    orders = losing(town)
    split(town)
    town.run_until(lambda: bool(orders))
    group = town.groups[town.shards_of("ordered")[0].shard]
    held = group.info.membership
    group.info = ShardInfo(
        group.info.shard, group.info.table, b"", b"", 1, Membership(held.version + 1, held.voters), partitioner=RANGE
    )
    town.run_until(lambda: orders[-1].split.shard != orders[0].split.shard)
    assert orders[-1].split.member_version == held.version + 1
    town.on_order = lambda node, order: True
    town.run_until(lambda: ranges(town) == HALVES)
    assert town.shards_of("ordered")[1].shard == orders[-1].split.shard


def test_a_split_of_a_range_whose_version_has_changed_since_is_planned_anew() -> None:
    """Planned when a merge had come to nothing and its source had not heard of it: it serves again in a new range."""
    town = ordered()
    orders = losing(town)
    split(town)
    town.run_until(lambda: bool(orders))
    group = town.groups[town.shards_of("ordered")[0].shard]
    group.info = structs.replace(group.info, range_version=2)
    town.run_until(lambda: orders[-1].split.shard != orders[0].split.shard)
    assert orders[-1].split.range_version == 2
    town.on_order = lambda node, order: True
    town.run_until(lambda: ranges(town) == HALVES)


def test_two_splits_of_one_shard_go_one_after_the_other() -> None:
    town = ordered()
    split(town, b"m", 5)
    split(town, b"d", 6)
    town.run_until(lambda: town.answer_to(5) is not None and town.answer_to(6) is not None)
    assert ranges(town) == [(b"", b"d"), (b"d", b"m"), (b"m", b"")]


def test_a_replica_that_is_reported_before_the_map_shows_its_shard_is_no_stray() -> None:
    town = ordered()
    orders = losing(town)
    split(town)
    town.run_until(lambda: bool(orders))
    member = orders[0].split.members.voters[1]
    info = ShardInfo(orders[0].split.shard, town.shards_of("ordered")[0].table, b"m", b"", 2, orders[0].split.members)
    report = m.ShardReport(member.replica, info, False, applied=1, rows=-1, bytes=-1)
    node = town.nodes[member.node]
    town.ask(m.Alive(NodeId(node.name), node.incarnation, 999, (report,)), source=node.source)
    town.run(1_000)
    assert town.orders_to(node.name, m.DropShard) == []


def test_what_was_said_of_a_shard_before_the_map_shows_it_counts_once_it_does() -> None:
    before = snapshot(5, tables=(table(1),), shards=(shard(1),))
    told = structs.replace(shard(2), leader=ReplicaId(22), term=2)
    reports = Reports()
    reports.registered(NodeId("n2"), (m.ShardReport(ReplicaId(22), told, True, 1, -1, -1),), ShardMap(before))
    assert reports.news(ShardMap(before)) == []
    after = ShardMap(structs.replace(before, shards=(shard(1), structs.replace(shard(2), leader=ReplicaId(0), term=0))))
    assert [(info.shard, info.leader, info.term) for info in reports.news(after)] == [(2, 22, 2)]


def test_a_node_that_has_not_applied_the_split_yet_has_lost_nothing() -> None:
    """It restarts on its folder, and reports no replica of the new shard: that is to come."""
    town = ordered()
    town.late.add("n3")
    split(town)
    town.run_until(lambda: ranges(town) == HALVES)
    town.restart("n3")
    town.run(2_000)
    assert town.state.operators == {}
    rows = [row for row in status_of(town)["operators"] if row["kind"] == "split-shard"]
    assert [(row["step"], row["on"]) for row in rows] == [("settle", "n3")]
    right = town.shards_of("ordered")[1]
    mine = next(voter.replica for voter in right.membership.voters if voter.node == "n3")
    town.nodes["n3"].replicas[ReplicaId(mine)] = right.shard
    town.run(1_000)
    assert status_of(town)["operators"] == []
    town.nodes["n3"].replicas.pop(ReplicaId(mine))
    town.restart("n3")
    town.run_until(lambda: bool(town.state.operators))  # once it had it, it is missed


def test_a_table_that_is_dropped_while_it_is_split_goes_as_a_whole() -> None:
    town = ordered()
    orders = losing(town)
    split(town)
    town.run_until(lambda: bool(orders))
    town.ask(m.DropTable(7, "ordered"))
    town.split_group(orders[0])  # an order that was late
    town.run_until(lambda: isinstance(town.answer_to(7), m.AdminDone))
    town.run(2_000)
    assert all(shard in town.state.map.shards for node in town.nodes.values() for shard in node.replicas.values())
    assert town.state.splits == {}


def sized(town: Town, size: int, middle: bytes = b"m", ranges: int = 1) -> None:
    """The leader says how large its shard is."""
    told = m.ShardSize(town.shards_of("ordered")[0].shard, ranges, middle, size)
    node = town.nodes["n1"]
    town.ask(m.ShardSizes(NodeId("n1"), (told,)), source=node.source)


def test_a_shard_above_the_bound_is_split_in_the_middle_and_not_again_for_the_same_size() -> None:
    town = ordered()
    sized(town, town.state.bounds.split_bytes)
    town.run(1_000)
    assert ranges(town) == WHOLE, "it is not above"
    sized(town, town.state.bounds.split_bytes + 1)
    town.run_until(lambda: ranges(town) == HALVES)
    sized(town, town.state.bounds.split_bytes + 1, b"d")  # a count of before
    town.run(5_000)
    assert ranges(town) == HALVES
    sized(town, town.state.bounds.split_bytes + 1, b"d", ranges=2)
    town.run_until(lambda: ranges(town) == [(b"", b"d"), (b"d", b"m"), (b"m", b"")])


@pytest.mark.parametrize("middle", [b"", b"z"])
def test_a_shard_whose_middle_is_no_place_to_part_it_stays(middle: bytes) -> None:
    town = ordered()
    split(town)
    town.run_until(lambda: ranges(town) == HALVES)
    sized(town, 1 << 40, middle, ranges=2)
    town.run(3_000)
    assert ranges(town) == HALVES


def test_the_bound_can_be_set_and_turned_off_and_is_kept() -> None:
    town = ordered()
    town.ask(m.TuneSplits(8, 0))
    assert isinstance(town.answer_to(8), m.AdminDone)
    sized(town, 1 << 40)
    town.start_coordinator()
    town.run(3_000)
    assert (town.state.bounds.split_bytes, ranges(town)) == (0, WHOLE)
    town.ask(m.TuneSplits(9, 1))
    assert isinstance(town.answer_to(9), m.AdminRefused)
    town.ask(m.TuneSplits(10, 100_000))
    assert isinstance(town.answer_to(10), m.AdminDone)
    sized(town, 100_001)
    town.run_until(lambda: ranges(town) == HALVES)
    assert status_of(town)["tuning"]["split_bytes"] == 100_000  # type: ignore[call-overload]  # a dict, by its name


def test_a_planned_split_is_called_off_by_its_shard_and_no_late_order_begins_it() -> None:
    town = ordered()
    orders = losing(town)
    split(town)
    town.run_until(lambda: bool(orders))
    [plan] = town.state.splits.values()
    town.ask(m.CancelOperator(9, plan.id))
    assert isinstance(town.answer_to(9), m.AdminDone)
    town.run_until(lambda: town.state.splits == {})
    refused = town.answer_to(5)
    assert isinstance(refused, m.AdminRefused)
    assert ("come to nothing" in refused.what, refused.effect) == (True, EFFECT_NONE)
    town.split_group(orders[0])
    town.run(2_000)
    assert ranges(town) == WHOLE
    assert town.shards_of("ordered")[0].membership.version == plan.split.member_version + 1


def test_a_split_that_is_called_off_too_late_is_done_and_shown() -> None:
    """The shard is split, its leader dies before it says so, and the plan is called off meanwhile."""
    town = ordered()
    order, _ = called_off_unheard(town)
    town.split_group(order)
    town.on_order = lambda node, order: True
    town.run_until(lambda: ranges(town) == HALVES)
    town.run(1_000)
    assert town.state.splits == {}
    assert town.answer_to(5) is not None


def test_a_split_that_is_done_cannot_be_called_off_and_says_what_undoes_it() -> None:
    town = ordered()
    town.late.add("n3")
    split(town)
    town.run_until(lambda: ranges(town) == HALVES)
    [plan] = town.state.splits.values()
    town.ask(m.CancelOperator(9, plan.id))
    refused = town.answer_to(9)
    assert isinstance(refused, m.AdminRefused)
    assert ("zkv table merge" in refused.what, refused.effect) == (True, EFFECT_NONE)


def test_a_coordinator_that_begins_anew_goes_on_calling_it_off() -> None:
    town = ordered()
    _, plan = called_off_unheard(town)
    town.run(1_000)
    row = next(row for row in status_of(town)["operators"] if row["kind"] == "split-shard")
    assert (row["step"], row["id"]) == ("abandon", plan.id)
    town.start_coordinator()
    town.on_order = lambda node, order: not isinstance(order, m.SplitShard)
    town.run_until(lambda: town.state.splits == {})
    assert ranges(town) == WHOLE


def test_a_shard_whose_split_was_called_off_is_not_split_by_itself_for_a_while() -> None:
    town = ordered()
    orders = losing(town)
    sized(town, town.state.bounds.split_bytes + 1)
    town.run_until(lambda: bool(orders))
    [plan] = town.state.splits.values()
    town.ask(m.CancelOperator(9, plan.id))
    town.run_until(lambda: town.state.splits == {})
    town.on_order = lambda node, order: True
    sized(town, town.state.bounds.split_bytes + 1)
    town.run(LEFT_ALONE_MS // 2)
    assert ranges(town) == WHOLE
    town.run(LEFT_ALONE_MS)
    sized(town, town.state.bounds.split_bytes + 1)
    town.run_until(lambda: ranges(town) == HALVES)
