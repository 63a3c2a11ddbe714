"""The client's map: followed by broadcast, healed by what answers show, never polled."""

from collections.abc import Callable

import msgspec
import pytest

from tests.core.routing.fake_cluster import FakeCluster
from tests.core.routing.fake_shards import Fault
from zkv import errors
from zkv.core.cluster.messages import MapRequest, Welcome
from zkv.core.cluster.shardmap import MapDelta, NodeState, Partitioner
from zkv.core.routing import admin
from zkv.core.routing import operations as ops
from zkv.core.routing.operations import Request
from zkv.core.shard.commands import EFFECT_NONE, Answer, Group, Reason, Refused, WriteGroup


@pytest.fixture
def cluster() -> FakeCluster:
    """A client that has its map and its connections."""
    cluster = FakeCluster(shards=3)
    cluster.result(ops.get("warm"))
    cluster.run(for_ms=10)
    cluster.sent.clear()
    return cluster


def test_a_change_that_the_broadcast_brings_asks_nobody(cluster: FakeCluster) -> None:
    cluster.lead(1, "n3")
    cluster.run(for_ms=500)
    cluster.result(ops.put(cluster.key_in(1), b"v"))
    assert [address for address, _ in cluster.groups()] == ["n3:1"]
    assert cluster.count(MapRequest) == 0


def test_with_the_broadcast_cut_one_answer_puts_the_map_right_with_one_question(cluster: FakeCluster) -> None:
    cluster.broadcasting = False
    cluster.lead(1, "n3")
    other = cluster.key_in(2)
    cluster.result(ops.put(other, b"v"))  # its answer shows that the map is behind
    cluster.run(for_ms=60)
    assert [address for address, message in cluster.sent if isinstance(message, MapRequest)] == ["n2:1"]
    cluster.result(ops.put(cluster.key_in(1), b"v"))
    assert cluster.groups()[-1][0] == "n3:1"
    cluster.run(for_ms=60_000)
    assert cluster.count(MapRequest) == 1


def test_the_broadcast_gets_its_moment_before_anybody_is_asked(cluster: FakeCluster) -> None:
    cluster.broadcasting = False
    cluster.lead(1, "n3")
    late = MapDelta(1, cluster.version, shards=(cluster.shards[1].info,))  # type: ignore[index]
    cluster.result(ops.put(cluster.key_in(2), b"v"))
    cluster.run(for_ms=40)
    cluster.router.heard(late, cluster.now_ms)
    cluster.run(for_ms=1_000)
    assert cluster.count(MapRequest) == 0


def test_a_refusal_with_news_sends_the_request_on_at_once(cluster: FakeCluster) -> None:
    cluster.broadcasting = False
    cluster.lead(1, "n3")
    began_ms = cluster.now_ms
    cluster.result(ops.put(cluster.key_in(1), b"v"))
    assert [address for address, _ in cluster.groups()] == ["n1:1", "n3:1"]
    assert cluster.now_ms - began_ms <= 4


def test_a_gap_in_the_broadcast_is_healed_and_nothing_of_it_is_applied_before(cluster: FakeCluster) -> None:
    cluster.broadcasting = False
    cluster.lead(1, "n3")
    cluster.broadcasting = True
    cluster.lead(2, "n3")  # this delta does not follow the client's map
    cluster.run(for_ms=5)
    held = cluster.router.atlas.map
    assert held is not None
    assert held.version == 1
    assert held.shards[2].term == 1  # type: ignore[index]
    cluster.run(for_ms=100)
    healed = cluster.router.atlas.map
    assert healed is not None
    assert healed.version == 3
    assert healed.shards[1].term == healed.shards[2].term == 2  # type: ignore[index]
    assert cluster.count(MapRequest) == 1


def test_a_beacon_shows_that_the_last_change_was_missed(cluster: FakeCluster) -> None:
    cluster.broadcasting = False
    cluster.lead(1, "n3")
    cluster.beacon()
    cluster.run(for_ms=100)
    held = cluster.router.atlas.map
    assert held is not None
    assert held.version == 2


def test_beacons_of_the_version_held_ask_nobody(cluster: FakeCluster) -> None:
    for _ in range(50):
        cluster.beacon()
        cluster.run(for_ms=1_000)
    assert cluster.sent == []


def test_a_split_under_way_regroups_writes_under_their_own_numbers() -> None:
    cluster = FakeCluster(partitioner=Partitioner.RANGE, splits=(b"k50",))
    cluster.result(ops.get("warm"))
    keys = [b"k%02d" % number for number in range(50, 100)]
    cluster.broadcasting = False
    cluster.split(2, b"k75")
    outcome = cluster.result(ops.mput(dict.fromkeys(keys, b"v")))
    assert isinstance(outcome, dict)
    assert list(outcome) == keys
    sent = {
        (group.first + place, operation.key)
        for _, group in cluster.groups()
        for place, operation in enumerate(group.operations)
    }
    assert len(sent) == 50  # whatever the groups, each key had one number
    assert len(cluster.effects) == 50
    assert not any(group.retry for _, group in cluster.groups())


def test_a_split_after_a_lost_answer_applies_nothing_twice() -> None:
    cluster = FakeCluster(partitioner=Partitioner.RANGE, splits=(b"k50",))
    cluster.result(ops.get("warm"))
    cluster.run(for_ms=10)
    keys = [b"k%02d" % number for number in range(50, 100)]
    lost = [True]

    def fault(address: str, group: Group) -> str | None:
        if isinstance(group, WriteGroup) and lost and lost.pop():
            return "lost"
        return None

    cluster.fault = fault
    call = cluster.ask(ops.mput(dict.fromkeys(keys, b"v")))
    cluster.run(for_ms=10)
    assert len(cluster.effects) == 50
    cluster.split(2, b"k75")
    cluster.run(call)
    assert isinstance(call.outcome, dict)
    assert len(cluster.effects) == 50
    assert all(group.retry for _, group in cluster.groups()[1:])


def test_writes_that_wait_for_the_window_follow_a_split() -> None:
    cluster = FakeCluster(partitioner=Partitioner.RANGE, splits=(b"k50",))
    cluster.result(ops.get("warm"))
    cluster.run(for_ms=10)
    calls = [cluster.ask(ops.put(b"k%04d" % (5_000 + number), b"v")) for number in range(4_500)]
    cluster.run(for_ms=0)
    cluster.split(2, b"k7")
    cluster.run(*calls)
    assert all(isinstance(call.outcome, int) for call in calls)
    assert len(cluster.effects) == 4_500


def test_a_table_that_the_map_lacks_is_asked_for_before_anybody_is_told_so(cluster: FakeCluster) -> None:
    calls = [cluster.ask(ops.get("k", table="absent")) for _ in range(10)]
    cluster.run(*calls)
    assert {type(call.outcome) for call in calls} == {errors.NoSuchTable}
    assert cluster.count(MapRequest) == 1


def test_a_table_made_by_somebody_else_a_moment_ago_is_found(cluster: FakeCluster) -> None:
    cluster.broadcasting = False
    table = msgspec.structs.replace(cluster.tables["default"], table=9, name="new")
    info = msgspec.structs.replace(cluster.shards[1].info, shard=9, table=9, start=b"", end=b"")  # type: ignore[index]
    cluster.change(info, publish=False)
    cluster.publish(MapDelta(1, 2, tables=(table,), shards=(info,)))
    assert cluster.result(ops.put("k", "v", table="new")) == 1


def test_a_table_dropped_under_a_write_in_doubt_leaves_the_effect_unknown(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.deaf.add("n1:1")
    sent = cluster.ask(ops.put(key, b"v"))
    cluster.run(for_ms=10)
    gone = tuple(cluster.shards)
    cluster.publish(MapDelta(1, 2, dropped_tables=(cluster.tables["default"].table,), dropped_shards=gone))
    unsent = cluster.ask(ops.put(b"any", b"v"))
    cluster.run(sent, unsent)
    assert isinstance(sent.outcome, errors.NoSuchTable)
    assert isinstance(unsent.outcome, errors.NoSuchTable)
    assert (sent.outcome.effect, unsent.outcome.effect) == ("unknown", "none")


def test_addresses_where_nobody_answers_are_named_and_nothing_was_written() -> None:
    cluster = FakeCluster(given=("x:1", "y:1"))
    error = cluster.result(ops.put("k", "v"), timeout_ms=1_000)
    assert isinstance(error, errors.Unavailable)
    assert error.effect == "none"
    assert "x:1, y:1" in str(error)


def test_a_dead_address_beside_a_living_one_does_no_harm() -> None:
    cluster = FakeCluster(given=("x:1", "n3:1"))
    assert cluster.result(ops.put("k", "v")) == 1


def test_a_coordinator_that_dies_after_the_map_is_known_is_not_missed(cluster: FakeCluster) -> None:
    cluster.kill("c:1")
    keys = [cluster.key_in(shard) for shard in (1, 2, 3)]
    cluster.kill("n1:1")
    cluster.lead(1, "n2", publish=False)
    assert cluster.result(ops.mput(dict.fromkeys(keys, b"v"))) == dict.fromkeys(keys, 1)


@pytest.mark.parametrize(
    "asked",
    [lambda: ops.get("k"), admin.shard_map, admin.status, lambda: admin.create_table("new", 5)],
    ids=["get", "map", "status", "create a table"],
)
def test_whatever_is_asked_of_a_peer_of_a_protocol_too_far_away_ends_at_once(
    asked: Callable[[], Request[object]],
) -> None:
    cluster = FakeCluster(given=("n1:1",))
    cluster.deaf.add("n1:1")
    call = cluster.ask(asked())
    cluster.run(for_ms=5)
    cluster.answer("n1:1", Welcome(0, 4, 77, "n1", "node", 1))
    cluster.run(call, for_ms=10)
    assert isinstance(call.outcome, errors.ProtocolError)
    assert call.outcome.effect == "none"


@pytest.mark.parametrize(
    ("welcome", "said"),
    [
        (Welcome(0, 4, 77, "n1", "node", 1), "n1:1 speaks protocol 4, this client 2: more than one version apart"),
        (Welcome(0, 9, 0, "c", "coordinator", 1), "n1:1 speaks protocol 9, this client 2"),
    ],
)
def test_a_peer_of_a_protocol_too_far_away_is_a_protocol_error_at_once(welcome: Welcome, said: str) -> None:
    cluster = FakeCluster(given=("n1:1",))
    cluster.deaf.add("n1:1")
    call = cluster.ask(ops.put("k", "v"))
    cluster.run(for_ms=5)
    cluster.answer("n1:1", welcome)
    cluster.run(call, for_ms=10)
    assert isinstance(call.outcome, errors.ProtocolError)
    assert said in str(call.outcome)


def test_a_node_one_version_ahead_is_asked_like_any_other(cluster: FakeCluster) -> None:
    cluster.answer("n1:1", Welcome(0, 2, 77, "n1", "node", 1))
    cluster.run(for_ms=5)
    cluster.lead(1, "n1")
    cluster.result(ops.mput({b"k%d" % number: b"v" for number in range(50)}))
    assert "n1:1" in {address for address, _ in cluster.groups()}


@pytest.mark.parametrize(("protocol", "id_of_cluster"), [(4, 77), (1, 99)], ids=["too far ahead", "of another cluster"])
def test_a_node_that_does_not_fit_is_not_asked_while_others_serve(
    cluster: FakeCluster, protocol: int, id_of_cluster: int
) -> None:
    cluster.answer("n1:1", Welcome(0, protocol, id_of_cluster, "n1", "node", 1))
    cluster.run(for_ms=5)
    cluster.lead(1, "n2")
    cluster.result(ops.mput({b"k%d" % number: b"v" for number in range(50)}))
    assert "n1:1" not in {address for address, _ in cluster.groups()}


def test_a_cluster_made_anew_at_the_old_addresses_is_a_protocol_error() -> None:
    cluster = FakeCluster(shards=3)
    cluster.result(ops.get("warm"))
    cluster.run(for_ms=10)
    for address in ("c:1", "n1:1", "n2:1", "n3:1"):
        cluster.answer(address, Welcome(0, 1, 99, "whoever", "node", 1))
    cluster.run(for_ms=5)
    error = cluster.result(ops.put("k", "v"), timeout_ms=500)
    assert isinstance(error, errors.ProtocolError)
    assert "n1:1 belongs to another cluster" in str(error)
    assert error.effect == "none"


def foreign(*addresses: str) -> Fault:
    """Nodes of another cluster listen at these addresses."""

    def fault(address: str, group: Group) -> Answer | None:
        if address not in addresses:
            return None
        return Refused(group.id, Reason.WRONG_CLUSTER, EFFECT_NONE, "this node belongs to another cluster")

    return fault


def test_where_another_clusters_node_has_taken_an_address_the_next_leader_is_asked(cluster: FakeCluster) -> None:
    cluster.fault = foreign("n1:1")
    key = cluster.key_in(1)
    call = cluster.ask(ops.put(key, b"v"))
    cluster.run(for_ms=50)
    cluster.lead(1, "n2")
    cluster.run(call)
    assert call.outcome == 1
    assert [address for address, _ in cluster.groups()].count("n1:1") == 1, "it is asked no more"


def test_where_no_address_is_of_the_cluster_the_error_says_so_at_once() -> None:
    cluster = FakeCluster(shards=3, given=("n1:1",), direct=False)
    cluster.result(ops.get("warm"))
    cluster.answer("c:1", Welcome(0, 1, 99, "whoever", "coordinator", 1))
    cluster.run(for_ms=5)
    cluster.fault = foreign("n1:1", "n2:1", "n3:1")
    began = cluster.now_ms
    error = cluster.result(ops.put("k", "v"), timeout_ms=5_000)
    assert isinstance(error, errors.ProtocolError)
    assert "another cluster" in str(error)
    assert error.effect == "none"
    assert cluster.now_ms - began < 100


def test_a_node_called_down_that_answers_all_the_same_is_used_again(cluster: FakeCluster) -> None:
    cluster.mark("n1", NodeState.DOWN)
    cluster.run(for_ms=10)
    cluster.lead(2, "n3")  # any later change of the map, in which it is still called down
    cluster.run(for_ms=10)
    cluster.sent.clear()
    cluster.result(ops.put(cluster.key_in(1), b"v"))
    assert [address for address, _ in cluster.groups()] == ["n1:1"]
