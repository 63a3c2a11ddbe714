"""Frozen replicas: whose order they follow, and whose word they wait for."""

import msgspec
import pytest

from tests.core.node.trio import SHARD, Trio
from zkv.core.cluster import messages as m
from zkv.core.raft.messages import Entry, EntryKind
from zkv.core.shard.descriptor import ShardState
from zkv.core.shard.merge import Freeze, Merge, encode
from zkv.core.shard.merge_messages import Fate
from zkv.core.shard.rows import Changes
from zkv.ids import NodeId, ShardId

TARGET = ShardId(9)


def frozen() -> Trio:
    """The one shard of the trio is frozen on n1, for a target that is nowhere."""
    trio = Trio()
    trio.leader()
    trio.pass_ms(100)
    hosted = trio.machines["n1"].node.host.hosted[SHARD]
    assert hosted.machine is not None
    members = trio.info.membership
    merge = Merge(5, TARGET, SHARD, b"", b"", 1, 1, members.version, members, 100, 1)
    changes: Changes = {}
    applied = hosted.machine.applied
    hosted.machine.apply(
        Entry(applied.term, applied.index + 1, int(EntryKind.FREEZE), encode(Freeze(merge))), changes, None
    )
    assert hosted.machine.merging.state.frozen == merge
    return trio


@pytest.mark.parametrize(
    ("shards", "waits"),
    [
        ([], False),
        ([TARGET], True),
        ([TARGET, SHARD], True),
        ([SHARD], False),
    ],
    ids=["neither is in the map", "the target alone", "both", "the source alone"],
)
@pytest.mark.parametrize("dropping", [False, True])
def test_a_frozen_replica_goes_by_its_target_s_word_unless_that_goes_itself(
    shards: list[ShardId], *, waits: bool, dropping: bool
) -> None:
    trio = frozen()
    node = trio.machines["n1"].node
    state = ShardState.DROPPING if dropping else ShardState.ACTIVE
    infos = tuple(msgspec.structs.replace(trio.info, shard=shard, state=state) for shard in shards)
    trio.map_version += 1
    node.from_coordinator(m.MapAnswer(0, msgspec.structs.replace(trio.map(), shards=infos)))
    replica = node.host.hosted[SHARD].replica.id
    node.from_coordinator(m.DropShard(1, SHARD, replica))
    stays = waits and not (dropping and SHARD in shards)
    assert (SHARD in node.host.hosted) is stays


def test_once_its_merge_has_come_to_nothing_a_frozen_replica_goes_by_an_order_again() -> None:
    """Its shard has thawed without it, and is part of another since: nobody is left who could tell it so."""
    trio = frozen()
    node = trio.machines["n1"].node
    trio.map_version += 1
    infos = (msgspec.structs.replace(trio.info, shard=TARGET),)
    node.from_coordinator(m.MapAnswer(0, msgspec.structs.replace(trio.map(), shards=infos)))
    replica = node.host.hosted[SHARD].replica.id
    node.mergers.receive(Fate(SHARD, 4, committed=False), NodeId("n2"))
    node.from_coordinator(m.DropShard(1, SHARD, replica))
    assert SHARD in node.host.hosted, "that was of another merge"
    node.mergers.receive(Fate(SHARD, 5, committed=False), NodeId("n2"))
    assert SHARD in node.host.hosted
    node.from_coordinator(m.DropShard(1, SHARD, replica))
    assert SHARD not in node.host.hosted


def test_one_that_is_not_frozen_is_dropped_as_it_was_ordered() -> None:
    trio = Trio()
    trio.leader()
    node = trio.machines["n1"].node
    node.from_coordinator(m.DropShard(1, SHARD, node.host.hosted[SHARD].replica.id))
    assert SHARD not in node.host.hosted
