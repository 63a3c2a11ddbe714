"""Three nodes and one shard: requests, forwarding, levels, leases, restarts and lost disks, without a socket."""

import pytest

from tests.core.node.trio import CLIENT, NAMES, SHARD, Trio
from zkv import limits
from zkv.core.raft.messages import AppendRequest
from zkv.core.routing.session import born_after
from zkv.core.shard.commands import (
    EFFECT_NONE,
    Answer,
    Increment,
    Incremented,
    Operation,
    Page,
    Put,
    PutIf,
    ReadGroup,
    Reason,
    Refused,
    ScanGroup,
    Values,
    WriteGroup,
    Written,
)
from zkv.core.shard.rows import Row, unpack_row
from zkv.core.shard.sessions import youngest

ME = b"\0\0\0\0\0\x09" + b"client-one"


def write(
    first: int, *operations: Operation, copies: int = -1, retry: bool = False, range_version: int = 1
) -> WriteGroup:
    return WriteGroup(first, SHARD, range_version, 5_000, ME, first, 1, copies, retry, operations)


def read(*keys: bytes, any_replica: bool = False) -> ReadGroup:
    return ReadGroup(900, SHARD, 1, 5_000, any_replica, keys)


def results(answer: Answer) -> tuple[object, ...]:
    assert isinstance(answer, Written), answer
    return answer.results


def rows(answer: Answer) -> tuple[Row | None, ...]:
    assert isinstance(answer, Values), answer
    return tuple(unpack_row(row) if row else None for row in answer.rows)


@pytest.fixture
def trio() -> Trio:
    return Trio()


def test_a_write_is_answered_once_a_majority_holds_it_and_read_back(trio: Trio) -> None:
    leader = trio.leader()
    answer = trio.answer(leader, write(1, Put(b"k", b"v")))[0]
    assert isinstance(answer, Written)
    assert answer.results == (1,)
    assert answer.committed
    assert len(answer.holders) >= 2
    assert rows(trio.answer(leader, read(b"k", b"z"))[0]) == (Row(1, b"v"), None)


def test_any_node_takes_any_request_and_passes_it_on(trio: Trio) -> None:
    trio.leader()
    for number, name in enumerate(NAMES, 1):
        assert results(trio.answer(name, write(number, Increment(b"n", 1)))[0]) == (Incremented(number, number),)
        assert rows(trio.answer(name, read(b"n"))[0]) == (Row(number, b"%d" % number),)


def test_no_write_is_answered_while_only_the_leader_has_it_on_disk(trio: Trio) -> None:
    leader = trio.leader()
    for other in trio.others(leader):
        trio.machines[other].slow_disk = True
    trio.ask(leader, write(1, Put(b"k", b"v")))
    trio.pass_ms(300)
    assert trio.answers[leader] == []
    slow = trio.others(leader)[0]
    trio.machines[slow].slow_disk = False
    trio.run(lambda: len(trio.answers[leader]) == 1)
    assert results(trio.answers[leader][0]) == (1,)


def test_w_one_answers_when_the_leader_has_it_on_disk_and_says_it_is_not_committed(trio: Trio) -> None:
    leader = trio.leader()
    for other in trio.others(leader):
        trio.machines[other].slow_disk = True
    trio.machines[leader].slow_disk = True
    trio.ask(leader, write(1, Put(b"k", b"v"), copies=1))
    trio.pass_ms(100)
    assert trio.answers[leader] == [], "its own disk has it not yet"
    trio.machines[leader].slow_disk = False
    trio.run(lambda: len(trio.answers[leader]) == 1)
    answer = trio.answers[leader][0]
    assert isinstance(answer, Written)
    assert (answer.results, answer.committed) == ((0,), False)
    refused = trio.answer(leader, write(2, PutIf(b"k", b"v", 0), copies=1))[0]
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.BAD_REQUEST


def test_w_all_waits_for_every_voter_and_says_when_it_was_not_reached(trio: Trio) -> None:
    leader = trio.leader()
    slow = trio.others(leader)[0]
    trio.machines[slow].slow_disk = True
    trio.ask(leader, write(1, Put(b"k", b"v"), copies=0))
    trio.pass_ms(300)
    assert trio.answers[leader] == []
    trio.machines[slow].slow_disk = False
    trio.run(lambda: len(trio.answers[leader]) == 1)
    answer = trio.answers[leader][0]
    assert isinstance(answer, Written)
    assert len(answer.holders) == 3
    trio.machines[slow].slow_disk = True
    late = trio.answer(leader, write(2, Put(b"k", b"w"), copies=0))[0]
    assert isinstance(late, Refused)
    assert (late.reason, late.effect) == (Reason.LEVEL_NOT_REACHED, 1)


def test_a_retry_after_a_failover_is_answered_and_not_applied_again(trio: Trio) -> None:
    leader = trio.leader()
    trio.answer(leader, write(1, Increment(b"n", 1)))
    trio.machines[leader].paused = True
    trio.run(lambda: any(trio.leads(name) for name in trio.others(leader)))
    second = next(name for name in trio.others(leader) if trio.leads(name))
    assert results(trio.answer(second, write(1, Increment(b"n", 1), retry=True))[0]) == (Incremented(1, 1),)
    assert rows(trio.answer(second, read(b"n"))[0]) == (Row(1, b"1"),)


def test_a_stopped_leader_that_wakes_serves_no_stale_read(trio: Trio) -> None:
    leader = trio.leader()
    trio.answer(leader, write(1, Put(b"k", b"old")))
    trio.machines[leader].paused = True
    trio.run(lambda: any(trio.leads(name) for name in trio.others(leader)))
    second = next(name for name in trio.others(leader) if trio.leads(name))
    trio.answer(second, write(2, Put(b"k", b"new")))
    machine = trio.machines[leader]
    machine.inbox.clear()  # what the others said is lost: only its clock can tell it
    machine.node.tick(trio.now_ms)
    trio.ask(leader, read(b"k"))
    machine.paused = False
    trio.run(lambda: bool(trio.answers[leader][1:]))
    answer = trio.answers[leader][-1]
    assert isinstance(answer, Refused) or rows(answer) == (Row(2, b"new"),)


def test_all_three_lose_power_and_nothing_that_was_acknowledged_is_lost(trio: Trio) -> None:
    leader = trio.leader()
    for number in range(1, 21):
        trio.answer(
            leader,
            write(number, Put(b"k%d" % number, b"v"), Increment(b"n", 1))
            if number == 1
            else write(number + 1, Put(b"k%d" % number, b"v")),
        )
    for name in NAMES:
        trio.crash(name)
    leader = trio.leader()
    found = rows(trio.answer(leader, read(*[b"k%d" % number for number in range(1, 21)], b"n"))[0])
    assert [row.value if row else None for row in found] == [b"v"] * 20 + [b"1"]


def test_what_was_not_known_to_be_committed_is_not_applied_at_a_restart(trio: Trio) -> None:
    old = trio.leader()
    trio.answer(old, write(1, Put(b"k", b"first")))
    for other in trio.others(old):
        trio.cut(old, other)
    trio.ask(old, write(2, Put(b"k", b"never committed")))
    trio.run(lambda: any(trio.leads(name) for name in trio.others(old)))
    new = next(name for name in trio.others(old) if trio.leads(name))
    trio.crash(old)
    trio.pass_ms(50)
    stored = [value for key, value in dump(trio, old) if key == b"rk"]
    assert [value[9:] for value in stored] == [b"first"]
    trio.answer(new, write(3, Put(b"k", b"second")))
    trio.heal()
    trio.pass_ms(1_000)
    assert dump(trio, old) == dump(trio, new)


def test_a_follower_beyond_the_leaders_tail_gets_a_snapshot(trio: Trio) -> None:
    leader = trio.leader()
    away = trio.others(leader)[0]
    trio.machines[away].paused = True
    for number in range(1, 31):
        trio.answer(leader, write(number, Put(b"k%d" % number, b"v" * 1000)))
    for name in NAMES:
        replica = trio.machines[name].node.host.hosted[SHARD].replica
        if name != away:
            replica.forget(replica.applied)
    machine = trio.machines[away]
    machine.inbox.clear()
    machine.paused = False
    target = trio.machines[leader].node.host.hosted[SHARD].replica.applied
    trio.run(lambda: machine.node.host.hosted[SHARD].replica.applied >= target)
    assert dump(trio, away) == dump(trio, leader)
    trio.answer(leader, write(31, Put(b"after", b"v")))
    trio.pass_ms(300)
    assert dump(trio, away) == dump(trio, leader)
    trio.crash(away)
    trio.pass_ms(300)
    assert dump(trio, away) == dump(trio, leader), "what a snapshot brought outlives a power cut"


def test_an_empty_folder_under_a_known_name_neither_votes_nor_acknowledges(trio: Trio) -> None:
    leader = trio.leader()
    wiped, laggard = trio.others(leader)
    trio.machines[laggard].paused = True
    trio.answer(leader, write(1, Put(b"k", b"v")))
    trio.crash(wiped, empty=True)
    trio.machines[laggard].paused = False
    trio.machines[laggard].inbox.clear()
    trio.machines[leader].paused = True
    trio.pass_ms(5_000)
    assert not any(trio.leads(name) for name in (wiped, laggard)), "one disk is lost, one behind: none may lead"
    trio.machines[leader].paused = False
    assert rows(trio.answer(trio.leader(), read(b"k"))[0]) == (Row(1, b"v"),)


def test_a_request_for_another_range_is_refused_with_news(trio: Trio) -> None:
    leader = trio.leader()
    refused = trio.answer(leader, write(1, Put(b"k", b"v"), range_version=0))[0]
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.effect) == (Reason.STALE_RANGE, 0)
    assert refused.news is not None
    assert refused.news.leader != 0


def test_a_shard_without_a_majority_answers_in_time_that_it_cannot(trio: Trio) -> None:
    leader = trio.leader()
    trio.lost = lambda source, target, message: isinstance(message, AppendRequest)
    answer = trio.answer(leader, write(1, Put(b"k", b"v")))[0]
    assert isinstance(answer, Refused)
    assert answer.effect == 2


def test_r_any_says_how_stale_it_is_at_most(trio: Trio) -> None:
    leader = trio.leader()
    other = trio.others(leader)[0]
    trio.answer(leader, write(1, Put(b"k", b"old")))
    trio.pass_ms(500)
    answer = trio.answer(other, read(b"k", any_replica=True))[0]
    assert isinstance(answer, Values)
    assert rows(answer) == (Row(1, b"old"),)
    assert 0 <= answer.stale_ms < 500
    trio.machines[other].cut_from |= {leader}
    trio.machines[leader].cut_from |= {other}
    written_at = trio.now_ms
    trio.answer(leader, write(2, Put(b"k", b"new")))
    trio.pass_ms(300)
    answer = trio.answer(other, read(b"k", any_replica=True))[0]
    assert isinstance(answer, Values)
    assert rows(answer) == (Row(1, b"old"),)
    assert answer.stale_ms >= trio.now_ms - written_at - 20


def dump(trio: Trio, name: str) -> list[tuple[bytes, bytes]]:
    """The shard's rows and sessions on one node, without the space's number."""
    machine = trio.machines[name]
    state = machine.node.host.hosted[SHARD].machine
    assert state is not None
    kept = []
    for kind in (b"r", b"s"):
        prefix = kind + state.pieces.space.to_bytes(8, "big")
        end = kind + (state.pieces.space + 1).to_bytes(8, "big")
        kept += [(kind + key[len(prefix) :], value) for key, value in machine.rows.scan(prefix, end)]
    return kept


def test_no_client_gets_more_than_its_share_of_pages_in_one_turn(trio: Trio) -> None:
    leader = trio.leader()
    for number in range(1, 5):
        trio.answer(leader, write(number, Put(b"k%d" % number, bytes(500_000))))
    pages = trio.answer(
        leader, *[ScanGroup(number, SHARD, 1, 5_000, False, b"", b"", b"", 2, False) for number in range(9)]
    )
    given = [answer for answer in pages if isinstance(answer, Page)]
    assert [len(page.rows) for page in given] == [2, 2]
    assert [answer.reason for answer in pages if isinstance(answer, Refused)] == [Reason.OVERLOADED] * 7
    assert isinstance(trio.answer(leader, ScanGroup(9, SHARD, 1, 5_000, False, b"", b"", b"", 2, False))[0], Page)


def test_nothing_is_done_for_a_client_that_does_not_read(trio: Trio) -> None:
    leader = trio.leader()
    node = trio.machines[leader].node
    node.crowded = {CLIENT}
    for answer in trio.answer(leader, write(1, Put(b"k", b"v")), read(b"k")):
        assert isinstance(answer, Refused)
        assert (answer.reason, answer.effect) == (Reason.OVERLOADED, EFFECT_NONE)
    node.crowded = set()
    assert rows(trio.answer(leader, read(b"k"))[0]) == (None,)


def test_no_clients_id_can_shut_others_out_of_a_shard(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = 1_800_000_000_000

    def wall_is(wall_ms: int) -> None:
        for machine in trio.machines.values():
            machine.node.service.youngest = youngest(wall_ms)

    def ask(birth: int, chance: bytes = b"ten-random") -> Answer:
        group = WriteGroup(1, SHARD, 1, 5_000, birth.to_bytes(6, "big") + chance, 1, 1, -1, False, (Put(b"k", b"v"),))
        return trio.answer(trio.leader(), group)[0]

    monkeypatch.setattr(limits, "SESSIONS_PER_SHARD_MAX", 2)
    wall_is(now_ms)
    for birth in (2**48 - 1, now_ms + limits.BIRTH_AHEAD_MS_MAX + 1):
        refused = ask(birth, b"\xff" * 10)
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.effect) == (Reason.UNAVAILABLE, EFFECT_NONE)
    for number in range(3):
        assert isinstance(ask(now_ms + limits.BIRTH_AHEAD_MS_MAX - number), Written), "the latest that is taken"
    trio.pass_ms(3_000)
    forgotten = ask(now_ms)
    assert isinstance(forgotten, Refused)
    assert forgotten.reason is Reason.SESSION_EXPIRED, "the latest was forgotten, and the floor is where it was born"
    later_ms = now_ms + 5
    wall_is(later_ms)
    assert isinstance(ask(born_after(forgotten.floor, later_ms)), Written)
