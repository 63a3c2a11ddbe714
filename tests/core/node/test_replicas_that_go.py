"""Replicas that are members no more, and learners that nobody speaks to: when they go, and when they stay (rule 22)."""

import pytest

from tests.core.node.trio import SHARD, Trio
from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Dismissed, PeerMessage, Peers
from zkv.core.node.empty_learners import SILENT_MS
from zkv.core.raft.messages import AppendRequest, Member
from zkv.core.shard.rows import row_key, session_key
from zkv.ids import ClientId, NodeId, ReplicaId, ShardId

STRANGE = ShardId(9)


@pytest.fixture
def trio() -> Trio:
    trio = Trio()
    trio.leader()
    return trio


def heartbeat(target: int) -> AppendRequest:
    """Of a leader of another shard, to a learner that it has."""
    return AppendRequest(STRANGE, ReplicaId(40), ReplicaId(target), 3, 7, 3, 7, 1, -1)


def hear(trio: Trio, name: str, *messages: PeerMessage) -> None:
    frame = Peers(77, NodeId("n2"), trio.machines[name].incarnation, messages)
    trio.machines[name].node.from_peer(frame)
    trio.turn()


def learner(trio: Trio, name: str) -> int:
    """The id of the strange shard's replica there; 0: there is none."""
    hosted = trio.machines[name].node.host.hosted.get(STRANGE)
    return hosted.replica.id if hosted is not None else 0


def held(trio: Trio, name: str) -> bool:
    return SHARD in trio.machines[name].node.host.hosted


def test_a_restart_deletes_what_a_crash_has_left_and_nothing_that_is_written_from_then_on(trio: Trio) -> None:
    machine = trio.machines["n2"]
    left = machine.node.host.new_space()
    trio.turn()
    machine.rows.apply({row_key(left, b"x"): b"1", session_key(left, ClientId(b"c" * 16)): b"1"})
    machine.rows.flush()
    trio.crash("n2")
    fresh = machine.node.host.new_space()
    written = {row_key(fresh, b"x"): b"2", session_key(fresh, ClientId(b"c" * 16)): b"2"}
    machine.node.host.effects.changes.update(written)
    trio.turn()
    assert fresh > left
    assert {key: machine.rows.get(key) for key in written} == written
    assert machine.rows.get(row_key(left, b"x")) is None
    assert machine.rows.get(session_key(left, ClientId(b"c" * 16))) is None


def test_a_learner_without_state_that_nobody_speaks_to_lets_go_and_returns_when_somebody_does(trio: Trio) -> None:
    hear(trio, "n1", heartbeat(50))
    trio.pass_ms(SILENT_MS - 500)
    assert learner(trio, "n1") == 50
    trio.pass_ms(2_000)
    assert learner(trio, "n1") == 0
    hear(trio, "n1", heartbeat(50))
    assert learner(trio, "n1") == 50


def test_a_learner_that_its_leader_speaks_to_stays(trio: Trio) -> None:
    for _ in range(2 * SILENT_MS // 300):
        hear(trio, "n1", heartbeat(50))
        trio.pass_ms(300)
    assert learner(trio, "n1") == 50


def test_a_later_learner_takes_the_place_of_an_empty_one_and_never_the_other_way_round(trio: Trio) -> None:
    hear(trio, "n1", heartbeat(50))
    hear(trio, "n1", heartbeat(51))
    assert learner(trio, "n1") == 51
    hear(trio, "n1", heartbeat(50))
    assert learner(trio, "n1") == 51


def test_who_is_dismissed_by_its_group_deletes_itself_and_says_so(trio: Trio) -> None:
    name = next(other for other in ("n1", "n2", "n3") if not trio.leads(other))
    mine = trio.machines[name].node.host.hosted[SHARD].replica.id
    hear(trio, name, Dismissed(SHARD, ReplicaId(11), mine, 1))
    trio.pass_ms(100)
    assert held(trio, name), "members of its own version: it is one of them"
    hear(trio, name, Dismissed(SHARD, ReplicaId(11), ReplicaId(99), 2))
    hear(trio, name, Dismissed(ShardId(2), ReplicaId(11), mine, 2))
    trio.pass_ms(100)
    assert held(trio, name), "another replica, or another shard"
    hear(trio, name, Dismissed(SHARD, ReplicaId(11), mine, 2))
    assert not held(trio, name)
    hear(trio, name, Dismissed(SHARD, ReplicaId(11), mine, 2))
    trio.pass_ms(500)
    assert trio.machines[name].node.host.settled(mine)


def test_a_leader_dismisses_nobody_who_is_a_member_whatever_the_coordinator_says(trio: Trio) -> None:
    leader = trio.leader()
    sent: list[object] = []

    def notes(source: str, target: str, message: object) -> bool:
        sent.append(message)
        return False

    trio.lost = notes
    for member in trio.info.membership.voters:
        trio.machines[leader].node.from_coordinator(m.DismissReplica(SHARD, member))
    trio.pass_ms(50)
    assert not any(isinstance(message, Dismissed) for message in sent)
    other = trio.others(leader)[0]
    trio.machines[leader].node.from_coordinator(m.DismissReplica(SHARD, Member(ReplicaId(77), NodeId(other), 1)))
    trio.pass_ms(50)
    assert [message.target for message in sent if isinstance(message, Dismissed)] == [77]
