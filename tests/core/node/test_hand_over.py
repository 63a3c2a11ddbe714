"""A node that stops hands over what it leads, and waits no longer than somebody may still take it."""

from tests.core.node.trio import SHARD, Trio
from zkv import limits


def stop(trio: Trio, name: str) -> int:
    """Ask until it says that it is through, as a node that stops does each turn; the milliseconds that it took."""
    begun = trio.now_ms
    trio.run(trio.machines[name].node.hand_over)
    return trio.now_ms - begun


def test_who_stops_is_through_when_another_leads() -> None:
    trio = Trio()
    leader = trio.leader()
    assert stop(trio, leader) < limits.ELECTION_MS_MIN
    assert trio.machines[leader].node.host.hosted[SHARD].replica.role.name == "FOLLOWER"
    assert trio.leader() != leader


def test_who_stops_last_does_not_wait_for_those_that_are_gone() -> None:
    trio = Trio()
    leader = trio.leader()
    for other in trio.others(leader):
        trio.machines[other].paused = True
    assert stop(trio, leader) <= limits.ELECTION_MS_MIN + 10


def test_who_leads_nothing_is_through_at_once() -> None:
    trio = Trio()
    (other, *_) = trio.others(trio.leader())
    assert trio.machines[other].node.hand_over()
