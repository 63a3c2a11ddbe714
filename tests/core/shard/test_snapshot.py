"""Both ends of a snapshot stream, joined by a channel that loses, doubles and reorders."""

import random
from collections.abc import Generator, Iterator

import msgspec
import pytest

from zkv import limits
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard import outgoing
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.incoming import Incoming
from zkv.core.shard.merge import Absorbing, Merge, MergeState
from zkv.core.shard.outgoing import Outgoing, StreamState
from zkv.core.shard.pace import Pace
from zkv.core.shard.rows import Changes, numbered_range, row_key, session_key
from zkv.core.shard.snapshot_messages import SnapshotChunk, SnapshotCredit, SnapshotInstalled, SnapshotOffer
from zkv.core.shard.snapshot_rows import PinnedRows, SnapshotRow
from zkv.ids import NodeId, ReplicaId, ShardId, TableId
from zkv.storage.memory import MemoryEngine

SPACE = 77
NOTHING = MemoryEngine()  # the space that the member fills is empty
INFO = ShardInfo(
    ShardId(5), TableId(1), b"", b"", 1, Membership(1, (Member(ReplicaId(10), NodeId("a"), 1),)), ReplicaId(10), 3
)


def offer(*, stream: int = 1, term: int = 3, index: int = 100) -> SnapshotOffer:
    return SnapshotOffer(ShardId(5), ReplicaId(10), ReplicaId(11), term, stream, index, 3, INFO, 9, b"\0" * 6, 0)


MERGE = Merge(7, ShardId(5), ShardId(6), b"m", b"", 1, 1, 1, INFO.membership, 1_000, 4)


def some_rows(count: int, value_bytes: int = 60_000) -> list[SnapshotRow]:
    data = [(b"r", b"key%06d" % number, b"%d" % (number % 10) * value_bytes) for number in range(count)]
    return [*data, (b"s", b"c" * 16, b"session")]


class Source:
    """A row stream that counts what was taken from it and knows whether it was closed."""

    def __init__(self, rows: list[SnapshotRow]) -> None:
        self.taken = 0
        self.closed = False
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[SnapshotRow]:
        return self

    def __next__(self) -> SnapshotRow:
        row = next(self._rows)
        self.taken += 1
        return row

    def close(self) -> None:
        self.closed = True


def expected(rows: list[SnapshotRow]) -> Changes:
    return {(row_key if kind == b"r" else session_key)(SPACE, key): value for kind, key, value in rows}


def credit(next_chunk: int, limit: int, stream: int = 1) -> SnapshotCredit:
    return SnapshotCredit(ReplicaId(11), ReplicaId(10), stream, next_chunk, limit)


def transfer(rows: list[SnapshotRow], seed: int, *, loss: float) -> tuple[Outgoing, Incoming, Changes, int]:
    """Run both ends over a bad channel until the sender is through; returns them, what was written, and the time."""
    chance = random.Random(seed)
    written: Changes = {}
    now = 0
    source = Outgoing(offer=offer(), rows=Source(rows), now_ms=0)
    target = Incoming(offer=source.start(), space=SPACE, now_ms=0)
    to_source: list[SnapshotCredit | SnapshotInstalled] = [target.credit()]
    to_target: list[SnapshotOffer | SnapshotChunk] = []
    while source.state is StreamState.STREAMING:
        now += 50
        to_target += source.tick(now)
        repeated = target.tick(now)
        to_source += [repeated] if repeated else []
        for message in disturbed(to_target, chance, loss):
            if target.complete:
                to_source.append(target.installed())
            elif isinstance(message, SnapshotChunk):
                changes = target.receive(message, NOTHING)
                if changes is not None:
                    written.update(changes)
                    to_source.append(target.credit())
        to_target = []
        for answer in disturbed(to_source, chance, loss):
            to_target += source.receive(answer)
        to_source = []
    return source, target, written, now


def disturbed(messages: list, chance: random.Random, loss: float) -> list:
    kept = [message for message in messages for _ in range(chance.choice([1, 1, 2])) if chance.random() >= loss]
    if loss:
        chance.shuffle(kept)
    return kept


@pytest.mark.parametrize("count", [0, 1, 4, 50])
def test_every_row_and_session_arrives_in_the_new_space(count: int) -> None:
    rows = some_rows(count) if count else []
    source, target, written, _ = transfer(rows, seed=1, loss=0.0)
    assert written == expected(rows)
    assert (source.state, source.installed, target.complete) == (StreamState.DONE, True, True)
    assert source.bytes_credited == target.bytes_received


@pytest.mark.parametrize("seed", range(20))
def test_loss_duplication_and_reordering_are_harmless(seed: int) -> None:
    rows = some_rows(40)
    source, _, written, now = transfer(rows, seed, loss=0.3)
    assert written == expected(rows)
    assert source.installed
    assert now < 10 * outgoing.GIVE_UP_MS


def test_the_sender_cuts_no_more_chunks_than_it_has_credit_for() -> None:
    rows = Source(some_rows(1_000))
    source = Outgoing(offer=offer(), rows=rows, now_ms=0)
    assert rows.taken == 1
    chunks = source.receive(credit(0, 1_000_000))
    assert [chunk.number for chunk in chunks] == list(range(limits.SNAPSHOT_CREDIT_CHUNKS))
    assert rows.taken <= 5 * limits.SNAPSHOT_CREDIT_CHUNKS
    assert source.receive(credit(0, 1_000_000)) == []
    assert [chunk.number for chunk in source.receive(credit(3, 10))] == [8, 9]


def test_a_chunk_keeps_to_its_size_and_a_row_that_is_larger_travels_alone() -> None:
    rows = [(b"r", b"a", b"x" * 10), (b"r", b"b", b"x" * limits.VALUE_BYTES_MAX), (b"r", b"c", b"x" * 10)]
    source = Outgoing(offer=offer(), rows=Source(rows), now_ms=0)
    chunks = source.receive(credit(0, 8))
    assert [[row[1] for row in chunk.rows] for chunk in chunks] == [[b"a"], [b"b"], [b"c"]]
    assert [chunk.last for chunk in chunks] == [False, False, True]


def test_what_was_not_credited_is_sent_again_after_a_second_and_given_up_after_thirty() -> None:
    rows = Source(some_rows(20))
    source = Outgoing(offer=offer(), rows=rows, now_ms=0)
    assert source.tick(999) == []
    assert source.tick(1_000) == [source.offer]
    first = source.receive(credit(0, 2))
    assert source.tick(1_999) == []
    assert source.tick(2_000) == first
    assert source.tick(2_001) == []
    assert source.receive(credit(1, 2)) == []
    assert source.tick(3_001) == [first[1]]
    assert source.tick(2_001 + outgoing.GIVE_UP_MS) == []
    assert (source.state, rows.closed) == (StreamState.FAILED, True)
    assert source.receive(credit(2, 4)) == []


def test_a_refusal_ends_the_stream_and_one_of_another_stream_does_not() -> None:
    rows = Source(some_rows(1))
    source = Outgoing(offer=offer(), rows=rows, now_ms=0)
    source.receive(SnapshotInstalled(ReplicaId(11), ReplicaId(10), 2, False, 100))
    assert source.state is StreamState.STREAMING
    source.receive(SnapshotInstalled(ReplicaId(11), ReplicaId(10), 1, False, 100))
    assert (source.state, source.installed, rows.closed) == (StreamState.DONE, False, True)


def test_closing_lets_the_rows_go() -> None:
    rows = Source(some_rows(1))
    source = Outgoing(offer=offer(), rows=rows, now_ms=0)
    source.close()
    assert (source.state, rows.closed, source.tick(5_000)) == (StreamState.FAILED, True, [])


def test_a_credit_beyond_what_was_sent_is_ignored() -> None:
    source = Outgoing(offer=offer(), rows=Source(some_rows(20)), now_ms=0)
    source.receive(credit(0, 1))
    assert source.receive(credit(2, 10)) == []
    assert source.chunks_credited == 0


@pytest.mark.parametrize(
    "change",
    [
        {"rows": ((b"r", b"key000000", b"another value"),)},
        {"rows": ((b"s", b"key000000", b"0"),)},
        {"rows": ((b"r", b"key0000000", b""),)},
        {"rows": ()},
        {"checksum": 1},
    ],
    ids=["value", "kind", "boundary", "cut", "checksum"],
)
def test_a_chunk_that_is_not_what_was_sent_ends_the_stream(change: dict[str, object]) -> None:
    source = Outgoing(offer=offer(), rows=Source([(b"r", b"key000000", b"0")]), now_ms=0)
    [chunk] = source.receive(credit(0, 8))
    target = Incoming(offer=offer(), space=SPACE, now_ms=0)
    assert target.receive(msgspec.structs.replace(chunk, **change), NOTHING) is None
    assert target.damaged
    assert target.receive(chunk, NOTHING) is None
    assert target.refusal() == SnapshotInstalled(ReplicaId(11), ReplicaId(10), 1, False, 100)


def test_a_chunk_of_an_unknown_kind_of_row_is_never_written() -> None:
    source = Outgoing(offer=offer(), rows=Source([(b"d", b"key", b"0")]), now_ms=0)
    [chunk] = source.receive(credit(0, 8))
    target = Incoming(offer=offer(), space=SPACE, now_ms=0)
    assert target.receive(chunk, NOTHING) is None
    assert target.damaged


def test_what_an_unsettled_merge_has_brought_comes_last_and_fills_a_space_of_its_own() -> None:
    client = b"c" * 16
    merging = MergeState(absorbing=Absorbing(MERGE, space=9, reached=(b"s", client)))
    table = Table({row_key(7, b"a"): b"1", session_key(7, client): b"2"})
    table.rows |= {row_key(9, b"n"): b"3", session_key(9, client): b"4", row_key(10, b"n"): b"other space"}
    rows = PinnedRows(table, sessions=7, ranges=[numbered_range(b"r", 7)], brought=9)
    source = Outgoing(offer=offer(), rows=rows, now_ms=0)
    target = Incoming(offer=offer(), space=SPACE, now_ms=0, merging=merging, brought=SPACE + 1)
    [chunk] = source.receive(credit(0, 8))
    assert [kind for kind, _, _ in chunk.rows] == [b"r", b"s", b"R", b"S"]
    assert target.receive(chunk, NOTHING) == {
        row_key(SPACE, b"a"): b"1",
        session_key(SPACE, client): b"2",
        row_key(SPACE + 1, b"n"): b"3",
        session_key(SPACE + 1, client): b"4",
    }
    assert target.merging == MergeState(absorbing=Absorbing(MERGE, space=SPACE + 1, reached=(b"s", client)))
    unaware = Incoming(offer=offer(), space=SPACE, now_ms=0)
    assert unaware.receive(chunk, NOTHING) is None
    assert unaware.damaged, "a merge that the offer says nothing of has brought nothing"


def test_the_checksum_is_chained_so_that_a_whole_chunk_cannot_be_exchanged() -> None:
    source = Outgoing(offer=offer(), rows=Source(some_rows(12)), now_ms=0)
    other = Outgoing(offer=offer(), rows=Source([(b"r", b"x", b"y" * 300_000), *some_rows(12)]), now_ms=0)
    target = Incoming(offer=offer(), space=SPACE, now_ms=0)
    assert target.receive(source.receive(credit(0, 8))[0], NOTHING) is not None
    assert target.receive(other.receive(credit(0, 8))[1], NOTHING) is None
    assert target.damaged


def test_the_member_repeats_its_credit_each_second_and_expires_after_thirty() -> None:
    target = Incoming(offer=offer(), space=SPACE, now_ms=0)
    assert target.credit() == credit(0, limits.SNAPSHOT_CREDIT_CHUNKS)
    assert target.tick(999) is None
    assert target.tick(1_000) == credit(0, limits.SNAPSHOT_CREDIT_CHUNKS)
    assert target.tick(1_999) is None
    assert not target.expired(outgoing.GIVE_UP_MS - 1)
    assert target.expired(outgoing.GIVE_UP_MS)


@pytest.mark.parametrize(
    ("newer", "replaces"),
    [
        (offer(stream=1, index=200), False),
        (offer(stream=2), True),
        (offer(stream=2, index=101), True),
        (offer(stream=2, index=99), False),
        (offer(stream=2, term=4, index=50), True),
        (offer(stream=2, term=2, index=500), False),
    ],
    ids=["same stream", "same index", "newer index", "older index", "newer leader", "older leader"],
)
def test_an_offer_replaces_a_stream_unless_it_is_the_same_or_older(newer: SnapshotOffer, replaces: bool) -> None:
    assert Incoming(offer=offer(), space=SPACE, now_ms=0).replaced_by(newer) is replaces


class Table:
    """Rows in a dict, scanned as they are at the call."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = rows

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Generator[tuple[bytes, bytes], None, None]:
        found = sorted((key, value) for key, value in self.rows.items() if start <= key < end)
        return (row for row in (reversed(found) if reverse else found))


def test_pinned_rows_are_one_spaces_range_and_sessions_as_they_were() -> None:
    client = b"c" * 16
    table = Table(
        {
            row_key(7, b"a"): b"below",
            row_key(7, b"b"): b"1",
            row_key(7, b"c"): b"2",
            row_key(7, b"d"): b"above",
            row_key(8, b"b"): b"other space",
            session_key(7, client): b"3",
            session_key(8, client): b"other",
        }
    )
    rows = PinnedRows(table, sessions=7, ranges=[(row_key(7, b"b"), row_key(7, b"d"))])
    table.rows[row_key(7, b"bb")] = b"later"
    assert list(rows) == [(b"r", b"b", b"1"), (b"r", b"c", b"2"), (b"s", client, b"3")]
    assert numbered_range(b"r", 7)[0] == row_key(7, b"")


def test_a_pace_spreads_the_chunks_over_time_and_nothing_is_lost() -> None:
    rows = [(b"r", b"key%06d" % number, b"x" * 1_000) for number in range(2_000)]
    pace = Pace()
    pace.bytes_per_s = 1_000_000
    source = Outgoing(offer=offer(), rows=Source(rows), now_ms=0, pace=pace)
    target = Incoming(offer=offer(), space=7, now_ms=0)
    now_ms, sent = 0, 0
    waiting = source.receive(target.credit())
    while not target.complete:
        for chunk in waiting:
            sent += len(chunk.rows)
            assert target.receive(chunk, NOTHING) is not None
        if target.complete:
            break
        now_ms += 20
        pace.tick(now_ms)
        waiting = source.receive(target.credit()) or [
            one for one in source.tick(now_ms) if isinstance(one, SnapshotChunk)
        ]
        assert now_ms < 10_000
    assert sent == 2_000
    assert 1_500 <= now_ms <= 2_200, "2 MB at 1 MB a second, the last chunk owed"


def test_a_stream_that_only_its_pace_keeps_back_is_not_given_up() -> None:
    pace = Pace()
    pace.bytes_per_s = 1_000
    rows = [(b"r", b"key%06d" % number, b"x" * 100_000) for number in range(8)]
    source = Outgoing(offer=offer(), rows=Source(rows), now_ms=0, pace=pace)
    pace.tick(1)
    [first] = source.receive(credit(0, 8))
    assert source.receive(credit(1, 9)) == []
    for now_ms in range(1_000, 100_000, 1_000):
        pace.tick(now_ms)
        source.tick(now_ms)
    assert source.state is StreamState.STREAMING
    pace.tick(400_000)
    assert [chunk.number for chunk in source.tick(400_000)] == [1]
    assert first.number == 0
