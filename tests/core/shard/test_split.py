"""A split as each replica applies it."""

import msgspec
import pytest

from zkv.core.raft.messages import Entry, EntryKind, Member, Membership
from zkv.core.shard import records, split
from zkv.core.shard.commands import MAJORITY, Evict, Increment, Put, Reason, Refused, WriteGroup
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.rows import Changes
from zkv.core.shard.split import Split
from zkv.ids import ClientId, NodeId, ReplicaId, ShardId, TableId
from zkv.storage.memory import MemoryEngine

CLIENT, OTHER = (ClientId(bytes(5) + letter + b"client id!") for letter in (b"b", b"a"))
VOTERS = tuple(Member(ReplicaId(number), NodeId(f"n{number}"), 100 + number) for number in (1, 2, 3))
NEW = tuple(Member(ReplicaId(own.replica + 10), own.node, own.incarnation) for own in VOTERS)
INFO = ShardInfo(ShardId(7), TableId(1), b"c", b"x", 4, Membership(3, VOTERS), partitioner=1)
SPLIT = Split(b"m", 4, 3, ShardId(8), Membership(1, NEW))


class Played:
    """A machine on an engine, fed with entries."""

    def __init__(self, replica: int = 2) -> None:
        self.rows = MemoryEngine()
        descriptor = records.Descriptor(INFO, 5)
        self.machine = ShardMachine(ReplicaId(replica), descriptor, self.rows, bytes, bytes)

    def apply(self, kind: EntryKind, payload: object) -> list[object]:
        changes: Changes = {}
        entry = Entry(1, self.machine.applied.index + 1, int(kind), records.encode(payload))
        outcomes = self.machine.apply(entry, changes, None)
        self.machine.finish(changes)
        self.rows.apply(changes)
        return list(outcomes)

    def write(self, first: int, *operations: Put | Increment, client: bytes = CLIENT, ranges: int = 4) -> object:
        group = WriteGroup(9, ShardId(7), ranges, 100, client, first, 1, MAJORITY, False, operations)
        return self.apply(EntryKind.BATCH, [group])[0]


def test_the_right_half_takes_its_rows_sessions_counter_and_floor_along() -> None:
    played = Played()
    played.write(1, Put(b"d", b"1"), client=OTHER)
    played.apply(EntryKind.EVICT, Evict((OTHER,)))
    played.write(1, Put(b"d", b"1"), Increment(b"p", 4))
    played.apply(EntryKind.SPLIT, SPLIT)
    parted = played.machine.take_parted()
    assert parted is not None
    assert (parted.replica, parted.pieces.space, parted.counter, parted.floor) == (12, 5, 3, OTHER[:6])
    assert (parted.info.start, parted.info.end, parted.info.range_version) == (b"m", b"x", 5)
    assert (parted.info.membership, parted.info.table, parted.info.partitioner) == (SPLIT.members, 1, 1)
    assert parted.sessions == {CLIENT: played.machine.sessions.records()[CLIENT]}
    assert (played.machine.info.start, played.machine.info.end, played.machine.info.range_version) == (b"c", b"m", 5)
    assert played.machine.take_parted() is None, "given out once"
    stored = played.rows.get(b"d" + (2).to_bytes(8, "big"))
    assert stored is not None
    assert records.decode_descriptor(stored).info == played.machine.info


def test_what_stands_behind_the_split_is_refused_in_both_halves_and_not_remembered() -> None:
    played = Played()
    played.apply(EntryKind.SPLIT, SPLIT)
    for key in (b"d", b"p"):
        refused = played.write(1, Put(key, b"1"))
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.effect, refused.news) == (Reason.STALE_RANGE, 0, played.machine.info)
    assert played.write(1, Put(b"d", b"1"), ranges=5) == [1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"range_version": 3}, "its range is at version 4, not 3"),
        ({"member_version": 2}, "its members are at version 3, not 2"),
        ({"at": b"c"}, "the key is not inside its range"),
        ({"at": b"x"}, "the key is not inside its range"),
        ({"members": Membership(1, NEW[:2])}, "the new shard's replicas would not be where its own are"),
        ({"members": Membership(1, NEW[::-1])}, "the new shard's replicas would not be where its own are"),
    ],
)
def test_a_split_that_does_not_fit_does_nothing(change: dict[str, object], why: str) -> None:
    wrong = msgspec.structs.replace(SPLIT, **change)
    assert split.wrong_with(INFO, wrong) == why
    played = Played()
    played.apply(EntryKind.SPLIT, wrong)
    assert (played.machine.take_parted(), played.machine.info) == (None, INFO)
    assert played.machine.applied.index == 1


def test_a_shard_that_brings_a_replica_up_is_not_split() -> None:
    learning = msgspec.structs.replace(INFO, membership=Membership(3, VOTERS, (Member(ReplicaId(4), NodeId("n4"), 1),)))
    assert split.wrong_with(learning, SPLIT) == "one of its replicas is being brought up"


def test_the_new_replica_is_the_one_on_the_same_folder() -> None:
    assert split.beside(INFO, SPLIT, ReplicaId(3)) == 13
    assert split.beside(INFO, SPLIT, ReplicaId(4)) is None
