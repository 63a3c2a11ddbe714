"""The router over a healthy cluster: results, packing, numbers, limits."""

import pytest

from tests.core.routing.fake_cluster import FakeCluster
from zkv import errors, limits
from zkv.core.cluster.frames import Requests
from zkv.core.cluster.messages import MapRequest
from zkv.core.routing import operations as ops
from zkv.core.shard.commands import ReadGroup, WriteGroup


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(shards=4)


def test_a_value_put_is_got_with_the_version_that_the_put_returned(cluster: FakeCluster) -> None:
    version = cluster.result(ops.put("k", "v"))
    entry = cluster.result(ops.get_entry("k"))
    assert isinstance(entry, ops.Entry)
    assert (version, entry.value, entry.version) == (1, b"v", 1)


def test_each_verb_gives_what_its_signature_says(cluster: FakeCluster) -> None:
    outcomes = [
        cluster.result(request)
        for request in (
            ops.get("k"),
            ops.put("k", b"1"),
            ops.increment("k", 4),
            ops.get("k"),
            ops.delete("k"),
            ops.delete("k"),
            ops.get_entry("k"),
            ops.increment("k", -2),
        )
    ]
    assert outcomes == [None, 1, 5, b"5", True, False, None, -2]


def test_a_condition_that_does_not_hold_is_an_error_with_the_version_found(cluster: FakeCluster) -> None:
    cluster.result(ops.put("k", "v"))
    taken = cluster.result(ops.put("k", "w", if_absent=True))
    gone = cluster.result(ops.delete(cluster.key_in(1, 3), if_version=9))
    assert isinstance(taken, errors.ConditionFailed)
    assert isinstance(gone, errors.ConditionFailed)
    assert (taken.version, taken.effect, gone.version) == (1, "none", None)
    assert cluster.result(ops.put("k", "w", if_version=1)) == 3


def test_a_receipt_names_shard_node_and_holders(cluster: FakeCluster) -> None:
    key = cluster.key_in(2)
    receipt = cluster.result(ops.with_receipt(ops.increment(key, 7)))
    assert receipt == ops.Receipt(7, 1, 2, "n2", (1, 2), True, -1)


def test_a_batch_gives_each_key_in_the_callers_order(cluster: FakeCluster) -> None:
    rows = {b"key%03d" % number: b"%d" % number for number in range(300)}
    versions = cluster.result(ops.mput(rows))
    assert isinstance(versions, dict)
    assert list(versions) == list(rows)
    assert cluster.result(ops.mget([*rows, "absent"])) == {**rows, b"absent": None}
    assert cluster.result(ops.mdelete([b"key000", "absent"])) == {b"key000": True, b"absent": False}


def test_an_empty_batch_is_done_at_once(cluster: FakeCluster) -> None:
    assert cluster.result(ops.mput({})) == {}
    assert cluster.groups() == []


def test_what_one_turn_asks_of_a_node_travels_in_one_message(cluster: FakeCluster) -> None:
    cluster.result(ops.get("warm"))
    cluster.sent.clear()
    calls = [cluster.ask(ops.put(b"k%d" % number, b"v")) for number in range(200)]
    calls += [cluster.ask(ops.get(b"k%d" % number)) for number in range(200)]
    cluster.run(*calls)
    assert sorted(address for address, _ in cluster.sent) == ["n1:1", "n2:1", "n3:1"]
    assert len(cluster.groups(WriteGroup)) == len(cluster.groups(ReadGroup)) == 4


def test_each_group_has_consecutive_numbers_and_no_number_is_given_twice(cluster: FakeCluster) -> None:
    calls = [cluster.ask(ops.put(b"k%d" % number, b"v")) for number in range(500)]
    cluster.run(*calls)
    spans = sorted((group.first, group.first + len(group.operations)) for _, group in cluster.groups())
    assert spans[0][0] == 1
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert spans[-1][1] == 501


def test_the_lowest_awaited_number_rises_only_past_what_has_ended(cluster: FakeCluster) -> None:
    stuck = cluster.key_in(1)
    cluster.result(ops.get(stuck))
    cluster.deaf.add(cluster.leader_address(1))
    waiting = cluster.ask(ops.put(stuck, b"v"))
    cluster.run(for_ms=10)
    cluster.result(ops.put(cluster.key_in(2), b"v"))
    cluster.result(ops.put(cluster.key_in(2), b"w"))
    assert [(group.first, group.lowest) for _, group in cluster.groups()] == [(1, 1), (2, 1), (3, 1)]
    assert not waiting.done


def test_writes_beyond_the_window_wait_in_the_client_and_then_go(cluster: FakeCluster) -> None:
    calls = [cluster.ask(ops.put(b"k%d" % number, b"v")) for number in range(limits.WINDOW_SEQUENCES + 1_000)]
    cluster.run(for_ms=2)  # the map and the connections
    cluster.run(for_ms=1)
    sent = sum(len(group.operations) for _, group in cluster.groups())
    assert sent == limits.WINDOW_SEQUENCES
    cluster.run(*calls)
    assert all(isinstance(call.outcome, int) for call in calls)


def test_a_batch_larger_than_the_room_left_in_the_window_is_not_starved(cluster: FakeCluster) -> None:
    singles = [cluster.ask(ops.put(b"k%d" % number, b"v")) for number in range(limits.WINDOW_SEQUENCES - 10)]
    batch = cluster.ask(ops.mput({b"b%d" % number: b"v" for number in range(1_000)}))
    cluster.run(*singles, batch)
    assert isinstance(batch.outcome, dict)
    assert len(batch.outcome) == 1_000


def test_no_group_is_larger_than_a_shard_takes(cluster: FakeCluster) -> None:
    value = b"v" * (limits.VALUE_BYTES_MAX // 2)
    calls = [cluster.ask(ops.put(cluster.key_in(1, number), value)) for number in range(20)]
    calls += [cluster.ask(ops.put(b"k%d" % number, b"")) for number in range(3_000)]
    cluster.run(*calls)
    for _, group in cluster.groups():
        assert len(group.operations) <= limits.BATCH_OPERATIONS_MAX
        assert sum(len(one.key) + len(one.value) for one in group.operations) <= limits.BATCH_BYTES_MAX
    assert all(isinstance(call.outcome, int) for call in calls)


def test_no_frame_is_larger_than_the_sockets_let_through() -> None:
    cluster = FakeCluster(shards=1, nodes=1)
    value = b"v" * limits.VALUE_BYTES_MAX
    calls = [cluster.ask(ops.put(b"k%d" % number, value)) for number in range(20)]
    cluster.run(*calls)
    frames = [frame for _, frame in cluster.sent if isinstance(frame, Requests)]
    sizes = [sum(len(one.value) for group in frame.groups for one in group.operations) for frame in frames]
    assert sum(sizes) == 20 * limits.VALUE_BYTES_MAX
    assert max(sizes) < limits.FRAME_BYTES_MAX


def test_levels_do_not_share_a_group(cluster: FakeCluster) -> None:
    cluster.result(ops.get("warm"))
    key = cluster.key_in(1)
    calls = [cluster.ask(ops.put(key, b"v", w=w)) for w in ("majority", "all", 1, "1", 3)]
    cluster.run(*calls)
    assert [(group.copies, len(group.operations)) for _, group in cluster.groups()] == [(-1, 1), (0, 1), (1, 2), (3, 1)]
    assert [call.outcome for call in calls] == [1, 2, 0, 0, 5]


def test_any_replica_serves_a_stale_read_and_the_reader_is_told(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.put(key, b"v"))
    receipts = [cluster.result(ops.with_receipt(ops.get(key, r="any"))) for _ in range(6)]
    assert {receipt.node for receipt in receipts} == {"n1", "n2", "n3"}
    assert {(receipt.result, receipt.stale_ms) for receipt in receipts} == {(b"v", 5)}


@pytest.mark.parametrize(
    "request_", [ops.increment("k", w=1), ops.put("k", "v", if_absent=True, w=1), ops.put("k", "v", w=4)]
)
def test_a_level_that_the_shard_cannot_give_is_refused_before_it_is_sent(request_: ops.KeyRequest[int]) -> None:
    cluster = FakeCluster()
    refused = cluster.result(request_)
    assert isinstance(refused, errors.InvalidRequest)
    assert cluster.groups() == []


def test_without_direct_everything_goes_to_the_one_node_given_and_it_passes_on() -> None:
    cluster = FakeCluster(shards=3, given=("n2:1",), direct=False)
    cluster.result(ops.mput({b"k%d" % number: b"v" for number in range(50)}))
    assert {address for address, _ in cluster.groups()} == {"n2:1"}
    assert {frame.forwarding for _, frame in cluster.sent if isinstance(frame, Requests)} == {True}


def test_a_client_of_one_node_learns_of_the_others_and_asks_leaders_itself() -> None:
    cluster = FakeCluster(shards=3, given=("n2:1",))
    cluster.result(ops.get("warm"))
    cluster.run(for_ms=10)
    cluster.sent.clear()
    cluster.result(ops.mput({b"k%d" % number: b"v" for number in range(50)}))
    assert {address for address, _ in cluster.groups()} == {"n1:1", "n2:1", "n3:1"}


def test_an_idle_client_asks_nobody_anything(cluster: FakeCluster) -> None:
    cluster.result(ops.put("k", "v"))
    cluster.run(for_ms=10)
    cluster.sent.clear()
    cluster.run(for_ms=600_000)
    assert cluster.sent == []


def test_the_map_is_asked_for_once_by_a_client_of_one_address(cluster: FakeCluster) -> None:
    for number in range(100):
        cluster.result(ops.put(b"k%d" % number, b"v"))
    assert cluster.count(MapRequest) == 1


def test_a_request_is_for_one_call(cluster: FakeCluster) -> None:
    request = ops.increment("k")
    assert cluster.result(request) == 1
    assert isinstance(cluster.result(request), errors.InvalidRequest)
    assert len(cluster.effects) == 1


def test_what_waits_in_the_client_ends_by_its_deadline_too(cluster: FakeCluster) -> None:
    cluster.result(ops.get("warm"))
    cluster.deaf |= {"n1:1", "n2:1", "n3:1"}
    began_ms = cluster.now_ms
    calls = [
        cluster.ask(ops.put(b"k%d" % number, b"v"), timeout_ms=1_000 + number % 100)
        for number in range(limits.WINDOW_SEQUENCES + 500)
    ]
    cluster.run(*calls)
    sent = {operation.key for _, group in cluster.groups() for operation in group.operations}
    effects = {b"k%d" % number: call.outcome.effect for number, call in enumerate(calls)}
    assert {key for key, effect in effects.items() if effect == "unknown"} == sent
    assert set(effects.values()) == {"unknown", "none"}
    assert all(call.ended_ms - began_ms <= 1_110 + number % 100 for number, call in enumerate(calls))
