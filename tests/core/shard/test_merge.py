"""A merge as each replica of the two shards applies it."""

from itertools import count

import msgspec
import pytest

from zkv import limits
from zkv.core.node.carrying import carried
from zkv.core.raft.messages import Entry, EntryKind, Member, Membership
from zkv.core.shard import merge, records
from zkv.core.shard.commands import (
    MAJORITY,
    Delete,
    Evict,
    Increment,
    Incremented,
    Operation,
    Put,
    Reason,
    Refused,
    WriteGroup,
)
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.merge import NOTHING, Begin, Carried, Freeze, Merge, Thaw, Verdict, fate
from zkv.core.shard.rows import Changes, numbered_range, unpack_row
from zkv.ids import ClientId, NodeId, ReplicaId, ShardId, TableId
from zkv.storage.memory import MemoryEngine

OLD, CLIENT, YOUNG = (ClientId(bytes(5) + letter + b"client id!") for letter in (b"a", b"b", b"c"))
MEMBERS = Membership(3, tuple(Member(ReplicaId(number), NodeId(f"n{number}"), 1) for number in (1, 2, 3)))
LEFT = ShardInfo(ShardId(7), TableId(1), b"c", b"m", 4, MEMBERS, partitioner=1)
RIGHT = ShardInfo(ShardId(8), TableId(1), b"m", b"x", 6, MEMBERS, partitioner=1)
MERGE = Merge(5, LEFT.shard, RIGHT.shard, b"m", b"x", 4, 6, 3, MEMBERS, 1_000_000, 1)


class Played:
    """A machine on an engine, fed with entries; its host gives out spaces from 50 on."""

    def __init__(self, info: ShardInfo, space: int = 5, rows: MemoryEngine | None = None) -> None:
        self.rows = rows or MemoryEngine()
        self.info = info
        self._spaces = count(50)
        self.machine = self._machine(records.Descriptor(info, space, 100 + info.shard))

    def _machine(self, descriptor: records.Descriptor) -> ShardMachine:
        return ShardMachine(ReplicaId(self.info.shard), descriptor, self.rows, bytes, bytes)

    def restart(self) -> None:
        stored = self.rows.get(b"d" + self.info.shard.to_bytes(8, "big"))
        assert stored is not None
        self.machine = self._machine(records.decode_descriptor(stored))

    def apply(self, *entries: tuple[EntryKind, object]) -> list[object]:
        """All in one turn."""
        changes: Changes = {}
        outcomes: list[object] = []
        drops: list[tuple[bytes, bytes]] = []
        for kind, payload in entries:
            entry = Entry(1, self.machine.applied.index + 1, int(kind), records.encode(payload))
            outcomes += self.machine.apply(entry, changes, None)
            drops += self.machine.after_merge_entry(lambda: next(self._spaces))
        self.machine.finish(changes)
        self.rows.apply(changes)
        for drop in drops:
            self.rows.drop(*drop)
        return outcomes

    def write(self, first: int, *operations: Operation, client: bytes = CLIENT, lowest: int = 1) -> object:
        version = self.machine.info.range_version
        group = WriteGroup(9, self.info.shard, version, 100, client, first, lowest, MAJORITY, False, operations)
        return self.apply((EntryKind.BATCH, [group]))[0]

    def read(self, *keys: bytes) -> list[tuple[int, bytes] | None]:
        found = self.machine.read(keys)
        assert found is not None
        return [tuple(unpack_row(row)) if row else None for row in found]


def freeze(source: Played) -> None:
    source.apply((EntryKind.FREEZE, Freeze(MERGE)))


def carry(source: Played) -> list[tuple[EntryKind, object]]:
    """The entries that bring all of it."""
    entries: list[tuple[EntryKind, object]] = []
    after, last = NOTHING, False
    counter, floor = source.machine.counters()
    while not last:
        rows, last = carried(source.machine, source.rows, after)
        entries.append((EntryKind.ABSORB, Carried(MERGE.number, after, rows, last, counter, floor)))
        after = rows[-1][:2] if rows else after
    return entries


def verdict(committed: bool) -> tuple[EntryKind, object]:
    return EntryKind.MERGE, Verdict(MERGE.number, MERGE.target_version, committed)


def merged(target: Played, source: Played) -> None:
    freeze(source)
    target.apply((EntryKind.ABSORB, Begin(MERGE)), *carry(source), verdict(True))


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "in one space"])
@pytest.mark.parametrize("chunk", [1, 10_000])
def test_the_target_has_rows_sessions_counter_and_floor_of_both(
    monkeypatch: pytest.MonkeyPatch, chunk: int, *, shared: bool
) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_CHUNK_BYTES", chunk)
    target = Played(LEFT)
    source = Played(RIGHT, 5 if shared else 6, target.rows if shared else None)
    target.write(1, Put(b"d", b"1"), Put(b"l", b"2"))
    source.write(3, *(Put(b"n%d" % number, b"3") for number in range(4)), Increment(b"p", 4))
    source.write(1, Put(b"q", b"5"), client=OLD)
    source.apply((EntryKind.EVICT, Evict((OLD,))))
    merged(target, source)
    machine = target.machine
    assert (machine.info.start, machine.info.end, machine.info.range_version) == (b"c", b"x", 7)
    assert (machine.counter, machine.sessions.floor, machine.merging.state.merged) == (6, OLD[:6], (5,))
    assert target.read(b"d", b"l", b"n3", b"p", b"q") == [(1, b"1"), (2, b"2"), (4, b"3"), (5, b"4"), (6, b"5")]
    assert target.write(7, Increment(b"p", 4)) == [Incremented(4, 5)], "what the source has done, the target knows"
    target.restart()
    assert target.read(b"p") == [(5, b"4")]
    assert target.write(3, Put(b"n0", b"x"), Put(b"n1", b"x")) == [1, 2], "and after a restart, too"


def test_a_source_that_goes_takes_nothing_of_the_target_s_along() -> None:
    target = Played(LEFT)
    source = Played(RIGHT, 5, target.rows)
    source.write(1, Put(b"n", b"1"))
    merged(target, source)
    for drop in source.machine.held_ranges():
        target.rows.drop(*drop)
    target.restart()
    assert target.read(b"n") == [(1, b"1")]
    assert target.write(1, Put(b"n", b"2")) == [1]


def test_what_has_come_is_seen_by_nobody_before_the_verdict_and_gone_after_the_other_one() -> None:
    target, source = Played(LEFT), Played(RIGHT)
    source.write(1, Put(b"n", b"1"))
    freeze(source)
    target.apply((EntryKind.ABSORB, Begin(MERGE)), *carry(source))
    assert target.machine.read((b"n",)) is None
    assert target.machine.sessions.result(CLIENT, 1) is None
    assert list(target.rows.scan(*numbered_range(b"r", 50)))
    target.restart()
    target.apply(verdict(False))
    assert (target.machine.info.end, target.machine.info.range_version) == (b"m", 5)
    assert not [*target.rows.scan(*numbered_range(b"r", 50)), *target.rows.scan(*numbered_range(b"s", 50))]
    target.apply((EntryKind.ABSORB, Begin(MERGE)), verdict(True), verdict(False))
    assert (target.machine.info.end, target.machine.info.range_version) == (b"m", 5), "its time is over"


def test_a_restart_amid_the_pieces_forgets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_CHUNK_BYTES", 1)
    target, source = Played(LEFT), Played(RIGHT)
    source.write(1, Put(b"n", b"1"), Put(b"o", b"1"))
    source.write(1, Put(b"n", b"2"), client=YOUNG)
    freeze(source)
    target.apply((EntryKind.ABSORB, Begin(MERGE)))
    for entry in carry(source):
        target.apply(entry)
        target.apply(entry)  # said twice, as by a leader that took over
        target.restart()
    target.apply(verdict(True))
    assert target.read(b"n", b"o") == [(3, b"2"), (2, b"1")]
    assert (target.write(1, Put(b"n", b"x")), target.write(1, Put(b"n", b"x"), client=YOUNG)) == ([1], [3])


def test_a_frozen_shard_changes_no_more_and_serves_again_under_another_version() -> None:
    source = Played(RIGHT)
    source.write(1, Put(b"n", b"1"))
    freeze(source)
    refused = source.write(2, Delete(b"n"))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.effect) == (Reason.UNAVAILABLE, 0)
    source.apply((EntryKind.EVICT, Evict((CLIENT,))))
    assert source.machine.sessions.known(CLIENT)
    assert source.machine.sessions.result(CLIENT, 2) is None
    source.restart()
    assert source.machine.merging.state.frozen == MERGE
    source.apply((EntryKind.FREEZE, Thaw(4)))
    assert source.machine.merging.state.frozen == MERGE, "of another merge"
    source.apply((EntryKind.FREEZE, Thaw(5)))
    assert (source.machine.info.range_version, source.machine.merging.state.frozen) == (7, None)
    freeze(source)
    assert source.machine.merging.state.frozen is None, "a late entry finds another version"
    assert source.write(2, Delete(b"n")) != refused


@pytest.mark.parametrize("change", [{"source_version": 5}, {"member_version": 2}, {"at": b"n"}, {"end": b"y"}])
def test_a_freeze_that_does_not_fit_does_nothing(change: dict[str, object]) -> None:
    source = Played(RIGHT)
    source.apply((EntryKind.FREEZE, Freeze(msgspec.structs.replace(MERGE, **change))))
    assert source.machine.merging.state.frozen is None


def test_what_only_one_of_them_remembers_may_be_forgotten_by_the_other() -> None:
    """The source has forgotten what it did for a client, and the target does not know it: nobody may say "never"."""
    target, source = Played(LEFT), Played(RIGHT)
    target.write(1, Put(b"d", b"1"), client=OLD)
    source.write(2, Increment(b"n", 1), client=OLD)
    source.apply((EntryKind.EVICT, Evict((OLD,))))
    merged(target, source)
    again = target.write(2, Increment(b"n", 1), client=OLD)
    assert isinstance(again, Refused)
    assert again.reason is Reason.SESSION_EXPIRED
    assert target.read(b"n") == [(1, b"1")]


def test_both_memories_of_a_client_are_one() -> None:
    target, source = Played(LEFT), Played(RIGHT)
    target.write(1, Put(b"d", b"1"))
    target.write(4, Put(b"d", b"1"), Put(b"d", b"1"), lowest=3)
    source.write(2, Put(b"n", b"1"), Put(b"n", b"1"))
    merged(target, source)
    session = target.machine.sessions.get(CLIENT)
    assert (session.lowest, session.highest, session.runs, session.size) == (3, 5, {3: (2, 2, 3)}, 3)


def test_a_merged_shard_is_split_where_its_pieces_meet_and_elsewhere() -> None:
    target, source = Played(LEFT), Played(RIGHT)
    target.write(1, Put(b"d", b"1"))
    source.write(2, Put(b"n", b"1"), Put(b"o", b"2"))
    merged(target, source)
    both = [row for span in target.machine.row_ranges() for row in target.rows.scan(*span)]
    for at in (b"d", b"m", b"n", b"o"):
        left, right = target.machine.pieces.parted(at)
        spans = [*left.ranges(b"c", at), *right.ranges(at, b"x")]
        assert [row for span in spans for row in target.rows.scan(*span)] == both
        assert all(right.row_key(key) == target.machine.pieces.row_key(key) for key in (b"o", b"p"))


def test_a_target_knows_what_became_of_a_merge_or_says_nothing() -> None:
    target, source = Played(LEFT), Played(RIGHT)

    def told() -> bool | None:
        return fate(target.machine.info, target.machine.merging.state, 5, MERGE.target_version)

    assert told() is None, "it may still begin"
    freeze(source)
    target.apply((EntryKind.ABSORB, Begin(MERGE)), *carry(source))
    assert told() is None
    target.apply(verdict(True))
    assert told() is True
    state = merge.MergeState(merged=tuple(range(10, 10 + merge.MERGED_KEPT)))
    assert fate(target.machine.info, state, 5, 4) is None, "it has forgotten"
    assert fate(target.machine.info, state, 11, 4) is True
    assert fate(target.machine.info, merge.MergeState(), 5, 4) is False
