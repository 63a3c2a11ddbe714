"""A shard that nobody asks falls asleep; it wakes for whoever asks, and for what happens to its leader's node."""

from collections import Counter

import pytest

from tests.core.node.test_service import read, write
from tests.core.node.trio import NAMES, SHARD, Trio
from zkv.core.raft.messages import AppendRequest
from zkv.core.raft.ready import Timing
from zkv.core.raft.replica import Role
from zkv.core.shard.commands import Put, Refused, Values, Written

PING_MS = Timing().ping_ms


@pytest.fixture
def trio() -> Trio:
    """One shard, which sleeps."""
    trio = Trio()
    name = trio.leader()
    assert isinstance(trio.answer(name, write(1, Put(b"k", b"v")))[0], Written)
    trio.run(lambda: asleep(trio))
    return trio


def asleep(trio: Trio) -> bool:
    return all(trio.machines[name].node.host.hosted[SHARD].replica.asleep for name in NAMES)


def sleeping_leader(trio: Trio) -> str:
    """Who leads, awake or asleep, in the latest term."""
    replicas = {name: trio.machines[name].node.host.hosted[SHARD].replica for name in NAMES}
    return max((one.term, name) for name, one in replicas.items() if one.role is Role.LEADER)[1]


def test_who_sleeps_says_nothing_and_its_node_gives_one_sign_of_life(trio: Trio) -> None:
    said: Counter[str] = Counter()
    leader = sleeping_leader(trio)
    trio.watch = lambda name, turn: said.update({name: len(turn.effects.messages)})
    trio.lost = lambda source, target, message: not pytest.fail(f"{source} said {message}")
    trio.pass_ms(60_000)
    assert set(+said) == {leader}, "only the leader's node must be heard of"
    assert said[leader] == pytest.approx(2 * 60_000 / PING_MS, abs=4)
    assert asleep(trio)


def test_a_read_of_a_shard_that_slept_waits_for_a_round_and_not_for_an_election(trio: Trio) -> None:
    leader = sleeping_leader(trio)
    trio.pass_ms(20_000)
    term = trio.machines[leader].node.host.hosted[SHARD].replica.term
    trio.ask(leader, read(b"k"))
    assert not trio.answers[leader][1:], "answered without having heard of anybody for 20 s"
    trio.run(lambda: len(trio.answers[leader]) > 1, ms_max=100)
    assert isinstance(trio.answers[leader][1], Values)
    assert trio.machines[leader].node.host.hosted[SHARD].replica.term == term
    trio.pass_ms(200)
    assert not any(trio.machines[name].node.host.hosted[SHARD].replica.asleep for name in NAMES)


def test_a_sleeping_follower_vouches_for_nothing(trio: Trio) -> None:
    """It cannot know that others have not elected another leader since (rule 19)."""
    follower = trio.others(sleeping_leader(trio))[0]
    trio.pass_ms(10_000)
    answer = trio.answer(follower, read(b"k", any_replica=True))[0]
    assert isinstance(answer, Values)
    assert answer.stale_ms <= 0, "the leader answers, which knows"
    trio.run(lambda: asleep(trio))
    trio.queue(follower, read(b"k", any_replica=True), forwarding=False)
    trio.run(lambda: len(trio.answers[follower]) > 1)
    assert isinstance(trio.answers[follower][1], Refused)


@pytest.mark.parametrize("how", ["paused", "cut"])
def test_the_death_of_a_sleeping_leaders_node_wakes_the_others(trio: Trio, how: str) -> None:
    leader = sleeping_leader(trio)
    one, other = trio.others(leader)
    if how == "paused":
        trio.machines[leader].paused = True
    else:
        trio.cut(leader, one)
        trio.cut(leader, other)
    trio.run(lambda: trio.leads(one) or trio.leads(other), ms_max=2_000)
    trio.machines[leader].paused = False
    trio.heal()
    # It wakes by what it hears, and sleeps again with the others once nobody asks.
    trio.run(lambda: asleep(trio))
    assert sleeping_leader(trio) != leader


def test_a_folder_that_was_lost_wakes_who_waits_for_its_replica(trio: Trio) -> None:
    """Its node lives, under another incarnation: the replica that was to wake the others is gone (rule 1)."""
    leader = sleeping_leader(trio)
    one, other = trio.others(leader)
    trio.crash(leader, empty=True)
    trio.map_version += 1
    for name in (one, other):
        trio.tell_map(trio.machines[name])
    trio.run(lambda: trio.leads(one) or trio.leads(other), ms_max=2_000)


def test_a_process_that_was_stopped_hears_what_waits_before_it_judges(trio: Trio) -> None:
    """A follower's long pause is not its leader's silence: nobody campaigns."""
    follower = trio.others(sleeping_leader(trio))[0]
    trio.machines[follower].paused = True
    trio.pass_ms(10_000)
    trio.machines[follower].paused = False
    trio.pass_ms(3_000)
    assert asleep(trio)


def test_a_clean_stop_hands_over_what_sleeps(trio: Trio) -> None:
    leader = sleeping_leader(trio)
    node = trio.machines[leader].node
    trio.run(lambda: node.hand_over() and any(trio.leads(name) for name in trio.others(leader)), ms_max=500)


def test_one_lost_sign_of_life_wakes_nobody(trio: Trio) -> None:
    leader = sleeping_leader(trio)
    one = trio.others(leader)[0]
    for _ in range(10):
        trio.cut(leader, one)
        trio.pass_ms(PING_MS)
        trio.heal()
        trio.pass_ms(PING_MS)
        assert asleep(trio)


def test_reads_keep_a_shard_awake() -> None:
    trio = Trio()
    leader = trio.leader()
    heartbeats: list[object] = []
    trio.watch = lambda name, turn: heartbeats.extend(
        message for sent in turn.effects.messages.values() for message in sent if isinstance(message, AppendRequest)
    )
    for _ in range(20):
        trio.pass_ms(500)
        assert isinstance(trio.answer(leader, read(b"k"))[0], Values)
    assert not any(beat.rest for beat in heartbeats if isinstance(beat, AppendRequest))
