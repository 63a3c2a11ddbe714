"""A node meets peers and coordinators of other versions: one apart they work together, further apart it refuses."""

import msgspec
import pytest

from tests.core.node.trio import SHARD, Trio
from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Peers
from zkv.core.cluster.versions import PROTOCOL_VERSION
from zkv.core.raft.messages import EntryKind, Member, Membership, VoteRequest
from zkv.core.shard.merge import Merge
from zkv.core.shard.split import Split
from zkv.ids import NodeId, ReplicaId, ShardId

LATER = 1_000  # a term


@pytest.mark.parametrize(("ahead", "heeded"), [(0, True), (1, True), (-1, True), (2, False), (-2, False)])
def test_a_peer_is_listened_to_up_to_one_version_away(ahead: int, heeded: bool) -> None:
    """The word of a later term is what nobody ignores who hears it."""
    trio = Trio()
    leader = trio.machines[trio.leader()]
    other = next(name for name in trio.machines if name != leader.name)
    mine = leader.node.host.hosted[SHARD].replica
    sender = ReplicaId(next(peer for peer, _ in mine.progress() if peer != mine.id))
    word = VoteRequest(SHARD, sender, mine.id, LATER, 0, 0, False, True)
    frame = Peers(77, NodeId(other), leader.incarnation, (word,), protocol=PROTOCOL_VERSION + ahead)
    leader.node.from_peer(frame)
    assert (mine.term == LATER) is heeded
    assert (leader.node.links.told() == []) is heeded


@pytest.mark.parametrize(("ahead", "stopped"), [(0, False), (1, False), (2, True)])
def test_a_coordinator_is_obeyed_up_to_one_version_away(ahead: int, stopped: bool) -> None:
    trio = Trio()
    trio.leader()
    node = trio.machines["n1"].node
    assert node.follower.map is not None
    node.from_coordinator(m.Registered(77, node.follower.map.snapshot(), PROTOCOL_VERSION + ahead))
    assert node.registration.registered is not stopped
    assert node.turn().stop == (
        "it speaks protocol 4, this node 2: more than one version apart they do not work together, so upgrade one "
        "version at a time"
        if stopped
        else ""
    )


@pytest.mark.parametrize(("stated", "proposed"), [(1, False), (2, True), (3, True)])
def test_a_split_waits_until_every_replica_s_node_has_stated_that_it_knows_splits(stated: int, proposed: bool) -> None:
    trio = Trio()
    leader = trio.machines[trio.leader()]
    hosted = leader.node.host.hosted[SHARD]
    other = next(name for name in trio.machines if name != leader.name)
    trio.pass_ms(100)  # so that everybody has all there is
    leader.node.from_peer(Peers(77, NodeId(other), leader.incarnation, (), protocol=stated))
    members = tuple(
        Member(ReplicaId(own.replica + 10), own.node, own.incarnation) for own in trio.info.membership.voters
    )
    split = Split(b"m", 1, 1, ShardId(2), Membership(1, members))
    leader.node.from_coordinator(m.SplitShard(SHARD, split))
    leader.node.turn()
    turn = leader.node.turn()
    assert hosted.replica.is_parting is proposed
    refusal = f": {other} has not stated that it knows splits"
    assert turn.events[-1] == "shard 1: split into it and 2" + ("" if proposed else refusal)


@pytest.mark.parametrize(("stated", "proposed"), [(1, False), (2, True)])
def test_a_merge_waits_until_every_replica_s_node_has_stated_that_it_knows_merges(
    stated: int, *, proposed: bool
) -> None:
    """Also those of the source alone: the word to freeze would be lost there, and the entry end them."""
    trio = Trio()
    leader = trio.machines[trio.leader()]
    machine = leader.node.host.hosted[SHARD].machine
    assert machine is not None
    machine.info = msgspec.structs.replace(machine.info, end=b"m")
    trio.pass_ms(100)
    leader.node.from_peer(Peers(77, NodeId("n9"), leader.incarnation, (), protocol=stated))
    members = Membership(1, (Member(ReplicaId(30), NodeId("n9"), 1),))
    leader.node.from_coordinator(m.MergeShard(Merge(5, SHARD, ShardId(2), b"m", b"", 1, 1, 1, members, 100, 1)))
    turn = leader.node.turn()
    logged = [entry.kind for item in (turn.effects.log.items if turn.effects.log else ()) for entry in item.entries]
    assert logged == ([EntryKind.ABSORB] if proposed else [])
    turn = leader.node.turn()
    leader.node.tick(trio.now_ms)
    events = turn.events + leader.node.turn().events
    refusal = "shard 1: merge of shard 2: n9 has not stated that it knows merges"
    assert (refusal in events) is not proposed
