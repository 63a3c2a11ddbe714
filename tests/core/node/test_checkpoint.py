"""A checkpoint of the log: what a restart on it knows is what the replicas had promised (rule 5)."""

import pytest

from tests.core.node.trio import NAMES, RIGHT, SHARD, Trio
from zkv.core.cluster import messages as m
from zkv.core.raft.messages import HardState
from zkv.core.shard.commands import Put, WriteGroup
from zkv.ids import ShardId
from zkv.wire import codec

ME = b"\0\0\0\0\0\x09" + b"client-one"


def put(number: int, key: bytes, shard: ShardId = SHARD, range_version: int = 1) -> WriteGroup:
    return WriteGroup(number, shard, range_version, 5_000, ME, number, 1, -1, False, (Put(key, b"v"),))


@pytest.fixture
def trio() -> Trio:
    """n1 leads, has one committed entry more than its first, and another that is on its disk alone."""
    trio = Trio()
    leader = trio.leader()
    trio.answer(leader, put(1, b"a"))
    trio.pass_ms(300)
    for other in trio.others(leader):
        trio.machines[other].slow_disk = True
    trio.ask(leader, put(2, b"b"))
    trio.pass_ms(20)
    return trio


def checkpoint(trio: Trio, name: str) -> None:
    """The engine is flushed, and the log begins anew."""
    machine = trio.machines[name]
    points = machine.node.host.points()
    machine.rows.flush()
    machine.flushed = [codec.encode(machine.node.host.checkpoint(points))]


def test_term_vote_uncommitted_suffix_and_commit_mark_outlive_a_checkpoint(trio: Trio) -> None:
    leader = trio.leader()
    checkpoint(trio, leader)
    replica = trio.machines[leader].node.host.hosted[SHARD].replica
    found = trio.machines[leader].recovered()[replica.id]
    assert found.hard_state == HardState(replica.term, replica.id), "it voted for itself"
    assert found.start[0] == replica.applied
    assert found.commit == replica.committed == replica.last.index - 1
    assert found.entries == list(replica.suffix(replica.applied))
    assert len(found.entries) == 1


def test_a_vote_outlives_a_checkpoint_at_a_follower(trio: Trio) -> None:
    leader = trio.leader()
    vote = trio.machines[leader].node.host.hosted[SHARD].replica
    for name in trio.others(leader):
        before = trio.machines[name].recovered()
        checkpoint(trio, name)
        after = trio.machines[name].recovered()
        assert {replica: held.hard_state for replica, held in after.items()} == {
            replica: held.hard_state for replica, held in before.items()
        }
    assert any(
        held.hard_state.vote == vote.id
        for name in trio.others(leader)
        for held in trio.machines[name].recovered().values()
    )


def test_a_checkpoint_begins_where_the_engine_was_when_its_flush_began(trio: Trio) -> None:
    leader = trio.leader()
    machine = trio.machines[leader]
    points = machine.node.host.points()
    for other in trio.others(leader):
        trio.machines[other].slow_disk = False
    trio.pass_ms(100)
    replica = machine.node.host.hosted[SHARD].replica
    assert replica.applied > points[replica.id].index, "more was applied while the engine was flushed"
    batch = machine.node.host.checkpoint(points)
    assert [(item.start, [entry.index for entry in item.entries]) for item in batch.items] == [
        (points[replica.id], [replica.applied])
    ]


def test_everybody_restarts_on_checkpoints_with_all_that_was_acknowledged(trio: Trio) -> None:
    for other in trio.others(trio.leader()):
        trio.machines[other].slow_disk = False
    trio.pass_ms(100)
    for name in NAMES:
        checkpoint(trio, name)
        trio.crash(name)
    leader = trio.leader()
    trio.answer(leader, put(3, b"c"))
    machine = trio.machines[leader]
    rows = machine.rows.scan(*machine.node.host.hosted[SHARD].machine.row_ranges()[0])  # type: ignore[union-attr]  # it leads
    assert [key[9:] for key, _ in rows] == [b"a", b"b", b"c"]


@pytest.fixture
def parted() -> Trio:
    """The shard was split, the new one has acknowledged a write, and then everybody loses power."""
    trio = Trio()
    trio.split(b"m")
    trio.answer(trio.leader(), put(1, b"x", RIGHT, 2))
    for name in NAMES:
        trio.crash(name)
        assert RIGHT not in trio.machines[name].node.host.hosted, "no engine has been flushed since the split"
    return trio


def all_have_it(trio: Trio) -> None:
    """In time, everybody has the new shard with what it acknowledged."""
    trio.run(lambda: any(trio.leads(name, RIGHT) for name in NAMES))
    for machine in trio.machines.values():
        host = machine.node.host
        trio.run(lambda host=host: host.hosted[RIGHT].replica.applied >= 3)  # type: ignore[misc]  # it binds what it names
        held = host.hosted[RIGHT].machine
        assert held is not None
        assert [key[9:] for key, _ in machine.rows.scan(*held.row_ranges()[0])] == [b"x"]


def test_a_node_registers_with_all_that_splits_have_made(parted: Trio) -> None:
    said: list[m.Register] = []
    parted.watch = lambda _, turn: said.extend(one for one in turn.coordinator if isinstance(one, m.Register))
    parted.run(lambda: len(said) >= len(NAMES))
    assert [{report.info.shard for report in word.reports} for word in said[: len(NAMES)]] == [{SHARD, RIGHT}] * 3


def test_nothing_is_dropped_before_it_has_applied_its_split_anew(parted: Trio) -> None:
    node = parted.machines["n1"].node
    node.tick(parted.now_ms)
    node.from_coordinator(m.DropShard(1, SHARD, node.host.hosted[SHARD].replica.id))
    all_have_it(parted)


def test_what_a_split_is_to_bring_back_outlives_a_checkpoint_that_comes_before_it(parted: Trio) -> None:
    for name in NAMES:
        checkpoint(parted, name)
        parted.crash(name)
    all_have_it(parted)
