"""Refusals, lost answers, dead nodes: each write takes effect once, and each error says exactly what it did."""

import pytest

from tests.core.routing.fake_cluster import FakeCluster
from tests.core.routing.fake_shards import EATEN, LOST, Fault
from zkv import errors
from zkv.core.cluster.frames import Answers
from zkv.core.cluster.messages import Hello
from zkv.core.cluster.shardmap import NodeState
from zkv.core.routing import operations as ops
from zkv.core.routing.retry import RULES
from zkv.core.shard.commands import Answer, Group, ReadGroup, Reason, Refused, WriteGroup
from zkv.ids import NodeId


def refuse(
    reason: Reason, effect: int = 0, *, times: int = 1_000_000, only: type = WriteGroup, floor: bytes = b""
) -> Fault:
    """Refuse the first `times` groups of that kind."""
    left = [times]

    def fault(address: str, group: Group) -> Answer | None:
        if not isinstance(group, only) or not left[0]:
            return None
        left[0] -= 1
        return Refused(group.id, reason, effect, f"as scripted: {reason.name}", 10, None, floor)

    return fault


def lose(word: str, *, times: int = 1_000_000) -> Fault:
    """Lose the first `times` write groups (EATEN) or their answers (LOST)."""
    left = [times]

    def fault(address: str, group: Group) -> str | None:
        if not isinstance(group, WriteGroup) or not left[0]:
            return None
        left[0] -= 1
        return word

    return fault


def in_turn(*faults: Fault) -> Fault:
    """The first write group meets the first fault, the second the second, all others none."""
    queue = list(faults)

    def fault(address: str, group: Group) -> Answer | str | None:
        return queue.pop(0)(address, group) if isinstance(group, WriteGroup) and queue else None

    return fault


def numbers(cluster: FakeCluster) -> list[tuple[bytes, int, int]]:
    """(client, first, last) of every write group sent."""
    return [(group.client, group.first, group.first + len(group.operations) - 1) for _, group in cluster.groups()]


def answers(cluster: FakeCluster, *given: Answer) -> Answers:
    """A frame of answers, as a node sends it."""
    return Answers(cluster.version, NodeId("n1"), given)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(shards=3)


def test_every_reason_has_its_rule() -> None:
    assert set(RULES) == set(Reason)


@pytest.mark.parametrize(
    "reason",
    [Reason.NOT_LEADER, Reason.STALE_RANGE, Reason.NO_SHARD, Reason.OVERLOADED, Reason.UNAVAILABLE, Reason.TIMEOUT],
)
def test_a_write_refused_without_effect_is_tried_again_under_its_number(cluster: FakeCluster, reason: Reason) -> None:
    cluster.fault = refuse(reason, times=4)
    assert cluster.result(ops.increment("k")) == 1
    assert len(set(numbers(cluster))) == 1
    assert [group.retry for _, group in cluster.groups()] == [False] * 5
    assert len(cluster.effects) == 1


@pytest.mark.parametrize("word", [LOST, EATEN])
def test_a_write_whose_answer_is_lost_is_sent_again_under_its_number_and_applied_once(
    cluster: FakeCluster, word: str
) -> None:
    cluster.fault = lose(word, times=2)
    assert cluster.result(ops.increment("k")) == 1
    assert len(set(numbers(cluster))) == 1
    first, *others = [group.retry for _, group in cluster.groups()]
    assert not first
    assert all(others)
    assert len(cluster.effects) == 1


# (what happens to the attempts, in order; the last one for ever) -> (error, effect)
PATHS: list[tuple[str, Fault, type[errors.ZkvError], str]] = [
    ("every answer lost", lose(LOST), errors.Timeout, "unknown"),
    ("every request lost", lose(EATEN), errors.Timeout, "unknown"),
    ("always without a leader", refuse(Reason.UNAVAILABLE), errors.Unavailable, "none"),
    ("leadership lost under it", refuse(Reason.UNAVAILABLE, 2), errors.Timeout, "unknown"),
    ("always overloaded", refuse(Reason.OVERLOADED), errors.Overloaded, "none"),
    ("always another leader", refuse(Reason.NOT_LEADER), errors.Unavailable, "none"),
    ("the shard always gone", refuse(Reason.NO_SHARD), errors.Unavailable, "none"),
    ("the range always stale", refuse(Reason.STALE_RANGE), errors.Unavailable, "none"),
    ("late at the leader, appended", refuse(Reason.TIMEOUT, 2), errors.Timeout, "unknown"),
    ("late at the leader, not appended", refuse(Reason.TIMEOUT, 0), errors.Timeout, "none"),
    ("not on every replica", refuse(Reason.LEVEL_NOT_REACHED, 1), errors.Timeout, "done"),
    ("disk full", refuse(Reason.DISK_FULL), errors.Overloaded, "none"),
    ("too large", refuse(Reason.TOO_LARGE), errors.TooLarge, "none"),
    ("a bad request", refuse(Reason.BAD_REQUEST), errors.InvalidRequest, "none"),
    (
        "a lost answer, then no leader",
        in_turn(lose(LOST), *[refuse(Reason.UNAVAILABLE)] * 90),
        errors.Timeout,
        "unknown",
    ),
    ("a lost answer, then disk full", in_turn(lose(LOST), refuse(Reason.DISK_FULL)), errors.Overloaded, "unknown"),
    ("a lost answer, then bad", in_turn(lose(LOST), refuse(Reason.BAD_REQUEST)), errors.InvalidRequest, "unknown"),
    (
        "a lost answer, then expired",
        in_turn(lose(LOST), refuse(Reason.SESSION_EXPIRED, 2)),
        errors.Unavailable,
        "unknown",
    ),
    (
        "unknown, then expired",
        in_turn(refuse(Reason.TIMEOUT, 2), refuse(Reason.SESSION_EXPIRED, 2)),
        errors.Unavailable,
        "unknown",
    ),
    (
        "unknown, then below the window",
        in_turn(refuse(Reason.TIMEOUT, 2), refuse(Reason.WINDOW, 2)),
        errors.Unavailable,
        "unknown",
    ),
    ("a lost answer, then always lost", in_turn(*[lose(LOST)] * 90), errors.Timeout, "unknown"),
]


@pytest.mark.parametrize(("path", "fault", "error", "effect"), PATHS, ids=[path[0] for path in PATHS])
def test_the_effect_is_exact_on_each_path(path: str, fault: Fault, error: type[errors.ZkvError], effect: str) -> None:
    cluster = FakeCluster(shards=3)
    cluster.fault = fault
    outcome = cluster.result(ops.increment("k"), timeout_ms=3_000)
    assert type(outcome) is error
    assert outcome.effect == effect
    if effect == "none":
        assert cluster.effects == []


def test_a_read_never_claims_an_effect(cluster: FakeCluster) -> None:
    cluster.fault = lambda address, group: LOST
    lost = cluster.result(ops.get("k"), timeout_ms=2_000)
    cluster.fault = refuse(Reason.UNAVAILABLE, only=ReadGroup)
    refused = cluster.result(ops.get("k"), timeout_ms=2_000)
    assert isinstance(lost, errors.ZkvError)
    assert isinstance(refused, errors.Unavailable)
    assert (lost.effect, refused.effect) == ("none", "none")


def test_every_request_ends_at_its_deadline_to_the_millisecond(cluster: FakeCluster) -> None:
    cluster.result(ops.put("warm", "v"))
    began_ms = cluster.now_ms
    cluster.fault = lambda address, group: LOST
    calls = [cluster.ask(ops.put(b"k%d" % number, b"v"), timeout_ms=100 + number) for number in range(50)]
    calls += [cluster.ask(ops.get(b"k%d" % number), timeout_ms=100 + number) for number in range(50)]
    cluster.run(*calls)
    assert [call.ended_ms for call in calls] == [began_ms + 100 + number for number in range(50)] * 2


def test_a_late_answer_to_an_earlier_attempt_counts(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    home = cluster.leader_address(1)
    held: list[WriteGroup] = []

    def slow(address: str, group: Group) -> Answer | str | None:
        if isinstance(group, WriteGroup) and address == home:
            held.append(group)
        return EATEN if isinstance(group, WriteGroup) else None

    cluster.fault = slow
    call = cluster.ask(ops.increment(key))
    cluster.run(for_ms=1_000)
    assert not call.done
    written = cluster.do(cluster.shards[cluster.shard_of(key)], held[0])
    cluster.answer(home, answers(cluster, written))
    cluster.run(for_ms=5)
    assert call.outcome == 1


@pytest.mark.parametrize("late_answer", [True, False])
def test_a_batch_read_of_which_a_part_is_asked_for_twice_gets_each_key_once(
    cluster: FakeCluster, late_answer: bool
) -> None:
    pair, other = [cluster.key_in(1, number) for number in range(2)], cluster.key_in(2)
    cluster.result(ops.mput(dict.fromkeys((*pair, other), b"v")))
    held: list[tuple[str, ReadGroup]] = []

    def one_attempt_is_slow_and_one_shard_silent(address: str, group: Group) -> str | None:
        if not isinstance(group, ReadGroup):
            return None
        if set(group.keys) == {other}:
            return EATEN
        held.append((address, group))
        return EATEN if len(held) == 1 else None

    cluster.fault = one_attempt_is_slow_and_one_shard_silent
    call = cluster.ask(ops.mget([*pair, other]), timeout_ms=3_000)
    cluster.run(for_ms=1_000)
    assert len(held) > 1
    if late_answer:
        address, group = held[0]
        cluster.answer(address, answers(cluster, cluster.do(cluster.shards[cluster.shard_of(pair[0])], group)))
    cluster.run(for_ms=500)
    assert not call.done
    cluster.run(call)
    assert isinstance(call.outcome, errors.Timeout)
    assert [call.outcome.results[key] for key in pair] == [b"v", b"v"]
    assert isinstance(call.outcome.results[other], errors.Timeout)


def test_a_late_refusal_of_an_earlier_attempt_makes_the_effect_known_again(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    held: list[tuple[str, WriteGroup]] = []

    def first_is_slow(address: str, group: Group) -> Answer | str | None:
        if not isinstance(group, WriteGroup):
            return None
        if not held:
            held.append((address, group))
            return EATEN
        return Refused(group.id, Reason.UNAVAILABLE, 0, "no leader")

    cluster.fault = first_is_slow
    call = cluster.ask(ops.increment(key), timeout_ms=3_000)
    cluster.run(for_ms=1_000)
    address, group = held[0]
    cluster.answer(address, answers(cluster, Refused(group.id, Reason.UNAVAILABLE, 0, "no leader")))
    cluster.run(call)
    assert isinstance(call.outcome, errors.Unavailable)
    assert call.outcome.effect == "none"


def test_a_dead_leaders_requests_go_to_another_member_at_once_and_reach_the_new_leader(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.put(key, b"1"))
    cluster.broadcasting = False  # the coordinator may be dead as well
    call = cluster.ask(ops.increment(key))
    cluster.run(for_ms=0)
    cluster.kill("n1:1")
    cluster.run(for_ms=900)
    assert not call.done
    elected_ms = cluster.now_ms
    cluster.lead(1, "n3", publish=False)
    cluster.run(call)
    assert call.outcome == 2
    assert call.ended_ms is not None
    assert call.ended_ms - elected_ms <= 250


def test_a_lost_connection_is_not_waited_on(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster.broadcasting = False
    cluster.deaf.add("n1:1")
    call = cluster.ask(ops.increment(key))
    cluster.run(for_ms=10)
    cluster.lead(1, "n2", publish=False)
    cluster.kill("n1:1")
    cluster.run(call, for_ms=10)
    assert call.outcome == 1


def test_a_broadcast_of_the_new_leader_releases_what_waits_at_once(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster.deaf.add("n1:1")
    call = cluster.ask(ops.increment(key))
    cluster.run(for_ms=100)
    assert not call.done
    cluster.lead(1, "n2")
    cluster.run(call, for_ms=10)
    assert call.outcome == 1


def test_a_node_that_the_map_calls_down_is_not_waited_for(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster.deaf.add("n1:1")
    call = cluster.ask(ops.increment(key))
    cluster.run(for_ms=50)
    cluster.lead(1, "n2", publish=False)
    cluster.mark("n1", NodeState.DOWN)
    cluster.run(call, for_ms=20)
    assert call.outcome == 1


def test_a_leader_out_of_sight_is_reached_through_a_member_that_passes_on(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster.kill("n1:1")
    cluster.dead.discard("n1:1")
    healthy = cluster.exists
    cluster.exists = lambda address: address != "n1:1" and healthy(address)  # type: ignore[method-assign]  # cut from us
    call = cluster.ask(ops.increment(key))
    cluster.run(call)
    assert call.outcome == 1
    assert {address for address, _ in cluster.groups()} <= {"n2:1", "n3:1"}


def test_a_paused_leader_that_wakes_is_asked_directly_again(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster.deaf.add("n1:1")
    lost = cluster.ask(ops.get(key), timeout_ms=600)
    cluster.run(lost)
    cluster.deaf.discard("n1:1")
    cluster.run(for_ms=4_000)  # the silent link is made anew, and answers
    cluster.sent.clear()
    assert cluster.result(ops.put(key, b"v")) == 1
    assert [address for address, _ in cluster.groups()] == ["n1:1"]


def test_a_silent_node_is_asked_who_it_is_rather_than_given_up(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster.sent.clear()
    cluster.deaf.add("n1:1")
    cluster.run(cluster.ask(ops.get(key), timeout_ms=600))
    assert [address for address, message in cluster.sent if isinstance(message, Hello)] == ["n1:1"]


def test_a_usually_slow_node_is_given_more_time_before_it_is_asked_again(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster.router.peers.known["n1:1"].usual_ms = 300.0
    cluster.sent.clear()
    cluster.deaf.add("n1:1")
    cluster.ask(ops.put(key, b"v"), timeout_ms=5_000)
    cluster.run(for_ms=1_150)
    assert len(cluster.groups()) == 1
    cluster.run(for_ms=100)
    assert len(cluster.groups()) > 1


def test_an_expired_session_is_left_for_one_born_after_the_shards_floor(cluster: FakeCluster) -> None:
    floor = (2_000_000_000_000).to_bytes(6, "big")  # a shard whose clock ran ahead
    cluster.fault = refuse(Reason.SESSION_EXPIRED, times=1, floor=floor)
    assert cluster.result(ops.increment("k")) == 1
    (old, _, _), (new, first, _) = numbers(cluster)
    assert old != new
    assert new[:6] > floor
    assert first == 1
    assert cluster.result(ops.increment("k")) == 2
    assert numbers(cluster)[-1][0] == new


def test_writes_under_way_in_an_expired_session_keep_their_numbers_there(cluster: FakeCluster) -> None:
    one, two = cluster.key_in(1), cluster.key_in(2)
    cluster.result(ops.get(one))
    cluster.deaf.add(cluster.leader_address(1))
    stuck = cluster.ask(ops.increment(one))
    cluster.run(for_ms=5)
    cluster.fault = refuse(Reason.SESSION_EXPIRED, times=1)
    assert cluster.result(ops.increment(two)) == 1
    cluster.deaf.clear()
    cluster.run(stuck)
    assert stuck.outcome == 1
    sessions = [group.client for _, group in cluster.groups() if group.operations[0].key == one]
    assert len(sessions) > 1
    assert len(set(sessions)) == 1


def test_a_batch_in_which_some_keys_fail_says_what_became_of_each(cluster: FakeCluster) -> None:
    bad = cluster.key_in(2)
    rows = {cluster.key_in(1): b"a", bad: b"b", cluster.key_in(3): b"c"}

    def fault(address: str, group: Group) -> Answer | None:
        if isinstance(group, WriteGroup) and any(one.key == bad for one in group.operations):
            return Refused(group.id, Reason.DISK_FULL, 0, "the disk is full")
        return None

    cluster.fault = fault
    error = cluster.result(ops.mput(rows))
    assert isinstance(error, errors.Overloaded)
    assert list(error.results) == list(rows)
    assert isinstance(error.results[bad], errors.Overloaded)
    assert [error.results[key] for key in rows if key != bad] == [1, 1]
    assert error.effect == "unknown"  # some of it happened; `results` says what
    assert "1 of 3 keys" in str(error)


def test_a_batch_in_which_every_key_fails_without_effect_had_none(cluster: FakeCluster) -> None:
    cluster.fault = refuse(Reason.DISK_FULL)
    error = cluster.result(ops.mput({b"k%d" % number: b"v" for number in range(20)}))
    assert isinstance(error, errors.Overloaded)
    assert error.effect == "none"
    assert len(error.results) == 20


def test_reads_that_are_too_large_together_are_asked_for_in_smaller_groups(cluster: FakeCluster) -> None:
    keys = [cluster.key_in(1, number) for number in range(10)]
    cluster.result(ops.mput(dict.fromkeys(keys, b"v")))

    def fault(address: str, group: Group) -> Answer | None:
        if isinstance(group, ReadGroup) and len(group.keys) > 3:
            return Refused(group.id, Reason.TOO_LARGE, 0, "ask for fewer keys")
        return None

    cluster.fault = fault
    calls = [cluster.ask(ops.get(key)) for key in keys]
    batch = cluster.ask(ops.mget(keys))
    cluster.run(*calls, batch)
    assert {call.outcome for call in calls} == {b"v"}
    assert batch.outcome == dict.fromkeys(keys, b"v")


def test_a_message_that_could_not_be_sent_has_not_been_sent(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster._linked.clear()  # every queue is full, and the router has not heard of it
    cluster.exists = lambda address: False  # type: ignore[method-assign]
    error = cluster.result(ops.increment(key), timeout_ms=500)
    assert isinstance(error, errors.Unavailable)
    assert error.effect == "none"
    assert cluster.groups() == []


def test_abandoned_requests_end_with_what_is_known_of_them(cluster: FakeCluster) -> None:
    key = cluster.key_in(1)
    cluster.result(ops.get(key))
    cluster.deaf.add("n1:1")
    sent = cluster.ask(ops.put(key, b"v"))
    cluster.run(for_ms=10)
    unsent = cluster.ask(ops.put(key, b"v"))
    ended = dict(cluster.router.abandon())
    assert {type(ended[sent]), type(ended[unsent])} == {errors.Unavailable}
    assert (ended[sent].effect, ended[unsent].effect) == ("unknown", "none")
    assert cluster.router.awaited == 0


def test_a_write_that_cannot_have_happened_is_not_held_back_by_one_that_may_have(cluster: FakeCluster) -> None:
    one, two = cluster.keys_in(1, 2)
    cluster.result(ops.get(one))
    cluster.fault = lose(EATEN, times=1)
    doubtful = cluster.ask(ops.increment(one))
    cluster.run(for_ms=0)
    cluster.fault = in_turn(lose(EATEN), refuse(Reason.UNAVAILABLE))
    sure = cluster.ask(ops.increment(two))
    cluster.run(for_ms=10)

    def expired_once(address: str, group: Group) -> Answer | None:
        if not isinstance(group, WriteGroup) or group.client != numbers(cluster)[0][0]:
            return None
        return Refused(group.id, Reason.SESSION_EXPIRED, 2 if group.retry else 0, "forgotten", floor=group.client[:6])

    cluster.fault = expired_once
    cluster.lead(1, "n2")  # both are sent again in one turn, under consecutive numbers
    cluster.run(doubtful, sure)
    assert isinstance(doubtful.outcome, errors.Unavailable)
    assert doubtful.outcome.effect == "unknown"
    assert sure.outcome == 1
