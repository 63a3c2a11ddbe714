"""The shard's state machine: what each operation does, once, in its range, with a version of its own."""

from collections.abc import Iterator
from functools import partial

import msgspec
import pytest

from zkv import limits
from zkv.core.cluster.partition import partition_key, user_key
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.raft.messages import Entry, EntryKind, Member, Membership
from zkv.core.shard import records
from zkv.core.shard.commands import (
    Delete,
    Deleted,
    Evict,
    Failed,
    FailedBecause,
    Increment,
    Incremented,
    Operation,
    Put,
    PutIf,
    Reason,
    Refused,
    Result,
    ScanGroup,
    WriteGroup,
)
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.rows import Changes, Row, pack_row, unpack_row
from zkv.ids import ClientId, NodeId, ReplicaId, ShardId, TableId

ALICE = ClientId(b"\0\0\0\0\0\x09" + b"a" * 10)
BOB = ClientId(b"\0\0\0\0\0\x05" + b"b" * 10)
MEMBERSHIP = Membership(1, (Member(ReplicaId(7), NodeId("n1"), 1),))


class DictRows(dict[bytes, bytes]):
    """An engine in a dict."""

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(((k, v) for k, v in self.items() if start <= k < end), reverse=reverse))

    def take(self, changes: Changes) -> None:
        for key, value in changes.items():
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value


class Shard:
    """A machine with its engine, driven one entry a turn."""

    def __init__(self, partitioner: Partitioner = Partitioner.RANGE, start: bytes = b"", end: bytes = b"") -> None:
        self.rows = DictRows()
        info = ShardInfo(ShardId(1), TableId(1), start, end, 3, MEMBERSHIP, partitioner=partitioner)
        self.descriptor = records.Descriptor(info, 5)
        self.partitioner = partitioner
        self.machine = self.reopened()

    def reopened(self) -> ShardMachine:
        parts = partial(partition_key, self.partitioner), partial(user_key, self.partitioner)
        stored = self.rows.get(b"d" + (7).to_bytes(8, "big"))
        descriptor = records.decode_descriptor(stored) if stored else self.descriptor
        return ShardMachine(ReplicaId(7), descriptor, self.rows, *parts)

    def entry(self, kind: EntryKind, payload: bytes) -> list[list[Result] | Refused]:
        changes: Changes = {}
        outcomes = self.machine.apply(Entry(1, self.machine.applied.index + 1, kind, payload), changes, None)
        self.machine.finish(changes)
        self.rows.take(changes)
        return outcomes

    def write(
        self,
        first: int,
        *operations: Operation,
        client: ClientId = ALICE,
        lowest: int = 1,
        retry: bool = False,
        range_version: int = 3,
    ) -> list[Result] | Refused:
        group = WriteGroup(9, ShardId(1), range_version, 1000, client, first, lowest, -1, retry, operations)
        return self.entry(EntryKind.BATCH, records.encode([group]))[0]

    def get(self, key: bytes) -> Row | None:
        found = self.machine.read((key,))
        assert found is not None
        return unpack_row(found[0]) if found[0] is not None else None


@pytest.fixture(params=list(Partitioner), ids=lambda p: p.name.lower())
def shard(request: pytest.FixtureRequest) -> Shard:
    return Shard(request.param)


def test_every_operation_takes_the_next_version_whatever_it_comes_to(shard: Shard) -> None:
    assert shard.write(1, Put(b"k", b"v"), PutIf(b"k", b"w", 9), Delete(b"z"), Put(b"k", b"x")) == [
        1,
        Failed(FailedBecause.VERSION, 1),
        Deleted(False, 3),
        4,
    ]
    assert shard.get(b"k") == Row(4, b"x")


def test_conditions_see_what_the_same_entry_changed_before(shard: Shard) -> None:
    assert shard.write(1, PutIf(b"k", b"1", 0), PutIf(b"k", b"2", 1), Delete(b"k", 2), PutIf(b"k", b"3", 0)) == [
        1,
        2,
        Deleted(True, 3),
        4,
    ]


@pytest.mark.parametrize(
    ("stored", "by", "result"),
    [
        (None, 5, Incremented(5, 2)),
        (b"-7", 3, Incremented(-4, 2)),
        (b"07", 1, Failed(FailedBecause.NOT_AN_INTEGER, 1)),
        (b"", 1, Failed(FailedBecause.NOT_AN_INTEGER, 1)),
        (b" 1", 1, Failed(FailedBecause.NOT_AN_INTEGER, 1)),
        (b"-0", 1, Failed(FailedBecause.NOT_AN_INTEGER, 1)),
        (b"9223372036854775807", 1, Failed(FailedBecause.OVERFLOW, 1)),
        (b"9223372036854775808", -1, Failed(FailedBecause.NOT_AN_INTEGER, 1)),
        (b"9" * 5000, 1, Failed(FailedBecause.NOT_AN_INTEGER, 1)),
    ],
)
def test_an_increment_adds_to_a_64_bit_decimal_and_to_nothing_else(
    shard: Shard, stored: bytes | None, by: int, result: Result
) -> None:
    shard.write(1, Put(b"k", stored) if stored is not None else Put(b"other", b""))
    assert shard.write(2, Increment(b"k", by)) == [result]


def test_a_retried_operation_is_answered_and_not_applied_again(shard: Shard) -> None:
    shard.write(1, Increment(b"n", 1), Increment(b"n", 1))
    assert shard.write(1, Increment(b"n", 1), Increment(b"n", 1), retry=True) == [Incremented(1, 1), Incremented(2, 2)]
    assert shard.get(b"n") == Row(2, b"2")


def test_a_retry_cut_differently_is_remembered_per_operation(shard: Shard) -> None:
    shard.write(2, Increment(b"n", 1))
    assert shard.write(1, Increment(b"n", 10), Increment(b"n", 1), Increment(b"n", 100), retry=True) == [
        Incremented(11, 2),
        Incremented(1, 1),
        Incremented(111, 3),
    ]


def test_a_condition_that_failed_is_remembered_too(shard: Shard) -> None:
    shard.write(1, PutIf(b"k", b"v", 4))
    shard.write(2, Put(b"k", b"w"))
    assert shard.write(1, PutIf(b"k", b"v", 2), retry=True) == [Failed(FailedBecause.VERSION, 0)]


def test_results_outlive_a_restart(shard: Shard) -> None:
    shard.write(1, Increment(b"n", 1))
    shard.machine = shard.reopened()
    assert shard.write(1, Increment(b"n", 1), retry=True) == [Incremented(1, 1)]
    assert shard.write(2, Put(b"k", b"v")) == [2]


def test_what_the_client_no_longer_awaits_is_forgotten_and_refused(shard: Shard) -> None:
    shard.write(1, Put(b"a", b""), Put(b"b", b""))
    shard.write(3, Put(b"c", b""), lowest=3)
    refused = shard.write(2, Put(b"b", b""), lowest=1, retry=True)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.effect) == (Reason.WINDOW, 2)
    assert shard.machine.sessions.find(ALICE).runs == {3: (3,)}  # type: ignore[union-attr]  # it was just used


def test_numbers_beyond_the_window_are_refused(shard: Shard) -> None:
    refused = shard.write(limits.WINDOW_SEQUENCES + 1, Put(b"a", b""))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.effect) == (Reason.WINDOW, 0)
    assert shard.get(b"a") is None


def test_a_group_cut_for_another_range_is_refused_when_it_is_applied(shard: Shard) -> None:
    refused = shard.write(1, Put(b"k", b"v"), range_version=2)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.STALE_RANGE
    assert shard.get(b"k") is None
    assert shard.write(1, Put(b"k", b"v"), retry=True) == [1], "a refusal for the range is not remembered"


def test_an_evicted_client_is_refused_and_so_is_everybody_as_old(shard: Shard) -> None:
    shard.write(1, Increment(b"n", 1))
    shard.entry(EntryKind.EVICT, records.encode(Evict((ALICE,))))
    again = shard.write(1, Increment(b"n", 1), retry=True)
    assert isinstance(again, Refused)
    assert (again.reason, again.effect, again.floor) == (Reason.SESSION_EXPIRED, 2, ALICE[:6])
    older = shard.write(1, Increment(b"n", 1), client=BOB)
    assert isinstance(older, Refused)
    assert (older.reason, older.effect) == (Reason.SESSION_EXPIRED, 0)
    younger = ClientId(b"\0\0\0\0\0\x0a" + b"c" * 10)
    assert shard.write(1, Increment(b"n", 1), client=younger) == [Incremented(2, 2)]
    shard.machine = shard.reopened()
    assert isinstance(shard.write(1, Increment(b"n", 1), client=BOB), Refused), "the floor outlives a restart"


def test_the_version_counter_outlives_deletes_and_restarts(shard: Shard) -> None:
    shard.write(1, Put(b"k", b"v"), Delete(b"k"))
    shard.machine = shard.reopened()
    assert shard.write(3, Put(b"k", b"v")) == [3]


def test_a_membership_entry_becomes_part_of_the_descriptor(shard: Shard) -> None:
    wider = msgspec.structs.replace(MEMBERSHIP, version=2, learners=(Member(ReplicaId(8), NodeId("n2"), 1),))
    shard.entry(EntryKind.MEMBERSHIP, msgspec.msgpack.encode(wider))
    assert shard.machine.info.membership == wider
    assert shard.reopened().info.membership == wider


def test_measure_counts_bytes_and_notices_keys_outside_the_range() -> None:
    shard = Shard(Partitioner.RANGE, b"b", b"d")
    assert shard.machine.measure((Put(b"b", b"1234"), Delete(b"cc"))) == 7
    assert shard.machine.measure((Put(b"b", b""), Put(b"d", b""))) == -1
    assert shard.machine.measure((Put(b"a", b""),)) == -1


def scan(shard: Shard, **wanted: object) -> tuple[list[bytes], bool, bytes]:
    plain = {"start": b"", "end": b"", "prefix": b"", "limit": 1000, "reverse": False} | wanted
    page = shard.machine.scan(ScanGroup(1, ShardId(1), 3, 1000, False, **plain))  # type: ignore[arg-type]  # fields by name
    return [key for key, _, _ in page.rows], page.more, page.resume


def test_a_scan_pages_in_key_order_within_the_shards_range() -> None:
    shard = Shard(Partitioner.RANGE, b"b", b"y")
    shard.write(1, *[Put(bytes([letter]), b"v") for letter in b"bcdefg"])
    assert scan(shard, limit=4) == ([b"b", b"c", b"d", b"e"], True, b"e\0")
    assert scan(shard, start=b"e\0") == ([b"f", b"g"], False, b"g\0")
    assert scan(shard, end=b"d") == ([b"b", b"c"], False, b"c\0")
    assert scan(shard, limit=2, reverse=True) == ([b"g", b"f"], True, b"f")
    assert scan(shard, end=b"f", limit=2, reverse=True) == ([b"e", b"d"], True, b"d")
    assert scan(shard, prefix=b"d")[0] == [b"d"]


def test_a_page_is_bounded_in_bytes_even_where_no_row_matches() -> None:
    shard = Shard(Partitioner.RANGE)
    big = b"x" * (limits.SCAN_PAGE_BYTES_MAX // 2)
    shard.write(1, Put(b"a", big), Put(b"b", big), Put(b"c", big), Put(b"z", b""))
    keys, more, resume = scan(shard, prefix=b"z")
    assert (keys, more) == ([], True)
    assert scan(shard, prefix=b"z", start=resume) == ([b"z"], False, b"z\0")


def test_a_read_gives_rows_as_they_are_stored_and_nothing_outside_the_range() -> None:
    shard = Shard(Partitioner.RANGE)
    shard.write(1, Put(b"a", b"12"), Put(b"b", b"345"))
    assert shard.machine.read((b"b", b"z", b"a")) == [pack_row(2, b"345"), None, pack_row(1, b"12")]
    shard.machine.info = msgspec.structs.replace(shard.machine.info, start=b"b")
    assert shard.machine.read((b"b", b"z", b"a")) is None
