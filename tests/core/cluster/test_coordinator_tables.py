"""Tables that are asked for and dropped at the coordinator."""

from collections import Counter

import msgspec
import pytest

from tests.core.cluster.town import RANGE, create, serving
from zkv.core.cluster import messages as m
from zkv.core.shard.commands import EFFECT_DONE, EFFECT_NONE, EFFECT_UNKNOWN
from zkv.core.shard.descriptor import ShardState
from zkv.ids import NodeId, ReplicaId, ShardId


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


def test_a_majority_of_disks_lost_while_a_shard_is_created_begins_it_anew_under_new_ids() -> None:
    town = serving()
    town.on_order = lambda node, order: not (node.name == "n3" and isinstance(order, m.CreateReplica))
    town.ask(create(1, "t", shards=2))
    town.run(200)
    first = town.shards_of("t")
    town.on_order = lambda node, order: True
    for name in ("n2", "n3"):
        town.kill(name)
        town.wipe(name)
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    second = town.shards_of("t")
    assert [(info.start, info.end) for info in second] == [(info.start, info.end) for info in first]
    assert {info.shard for info in first}.isdisjoint(info.shard for info in second)
    old = {own.replica for info in first for own in info.membership.voters}
    assert old.isdisjoint(own.replica for info in second for own in info.membership.voters)
    town.run(2_000)
    for node in town.nodes.values():
        assert old.isdisjoint(node.replicas)  # what was created of the first attempt is deleted again


@pytest.mark.parametrize("away", [("n3",), ("n2",), ("n2", "n3")], ids=["not created yet", "created", "a majority"])
def test_a_shard_being_created_is_kept_when_nodes_fall_silent_for_it_may_hold_acknowledged_writes(
    away: tuple[str, ...],
) -> None:
    town = serving("n1", "n2", "n3", "n4", "n5", "n6")
    town.on_order = lambda node, order: not (node.name == "n3" and isinstance(order, m.CreateReplica))
    town.ask(create(1, "t"))
    town.run(100)
    first = [(info.shard, info.membership.voters) for info in town.shards_of("t")]
    for name in away:
        town.kill(name)
    town.run(5_000)
    assert [(info.shard, info.membership.voters) for info in town.shards_of("t")] == first
    town.on_order = lambda node, order: True
    for name in away:
        town.restart(name)
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    assert [info.shard for info in town.shards_of("t")] == [shard for shard, _ in first]


def test_a_disk_lost_while_a_shard_is_created_is_replaced_once_it_is_active() -> None:
    town = serving()
    town.ask(create(1, "t", shards=2))
    town.on_order = lambda node, order: not (node.name == "n3" and isinstance(order, m.CreateReplica))
    town.run(100)
    first = town.shards_of("t")
    town.on_order = lambda node, order: True
    town.kill("n3")
    town.wipe("n3")
    town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    town.run(3_000)
    assert [info.shard for info in town.shards_of("t")] == [info.shard for info in first]
    for before, after in zip(first, town.shards_of("t"), strict=True):
        kept = {own for own in before.membership.voters if own.node != "n3"}
        assert kept < set(after.membership.voters)
        assert before.membership.voters != after.membership.voters
        assert {own.node for own in after.membership.voters} == {"n1", "n2", "n3"}


def test_a_shard_being_created_is_active_without_a_node_that_died_and_is_rebuilt_elsewhere() -> None:
    town = serving("n1", "n2", "n3", "n4")
    town.on_order = lambda node, order: not (node.name == "n3" and isinstance(order, m.CreateReplica))
    town.ask(create(1, "t"))
    town.run(100)
    town.kill("n3")
    took = town.run_until(lambda: isinstance(town.answer_to(1), m.AdminDone))
    assert took < 3_000
    town.run(70_000)
    assert {own.node for info in town.shards_of("t") for own in info.membership.voters} == {"n1", "n2", "n4"}


def test_what_a_late_register_leaves_out_does_not_begin_a_shard_anew() -> None:
    town = serving()
    town.on_order = lambda node, order: not (node.name == "n3" and isinstance(order, m.CreateReplica))
    town.ask(create(1, "t"))
    town.run(100)
    first = [info.shard for info in town.shards_of("t")]
    for node in (town.nodes["n1"], town.nodes["n2"]):
        late = m.Register(NodeId(node.name), node.incarnation, node.cluster, node.address, "", 1.0, 1, ())
        town.ask(late, node.source)
    assert town.coordinator.registrar.missing
    assert [info.shard for info in town.shards_of("t")] == first


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
