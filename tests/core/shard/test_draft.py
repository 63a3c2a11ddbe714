"""A stream goes on with the draft that an earlier one has left, whatever has become of the shard's rows since."""

import random
from collections.abc import Iterable, Iterator

import msgspec
import pytest

from zkv import limits
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard import draft
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.incoming import Incoming
from zkv.core.shard.outgoing import Outgoing, StreamState
from zkv.core.shard.rows import numbered_range, row_key, session_key
from zkv.core.shard.snapshot_messages import (
    DraftCredit,
    SnapshotChunk,
    SnapshotCredit,
    SnapshotDigest,
    SnapshotInstalled,
    SnapshotOffer,
)
from zkv.core.shard.snapshot_rows import SnapshotRow, size_of
from zkv.ids import NodeId, ReplicaId, ShardId, TableId
from zkv.storage.memory import MemoryEngine

SPACE = 77
INFO = ShardInfo(
    ShardId(5), TableId(1), b"", b"", 1, Membership(1, (Member(ReplicaId(10), NodeId("a"), 1),)), ReplicaId(10), 3
)
OFFER = SnapshotOffer(ShardId(5), ReplicaId(10), ReplicaId(11), 3, 1, 100, 3, INFO, 9, b"\0" * 6, 0)
SESSION = (b"s", b"c" * 16, b"session")
CHUNK = 4_000  # bytes, in these tests


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_CHUNK_BYTES", CHUNK)


def rows_of(values: dict[bytes, bytes]) -> list[SnapshotRow]:
    """A shard's rows, and a session behind them."""
    return [*((b"r", key, value) for key, value in sorted(values.items())), SESSION]


def table(count: int) -> dict[bytes, bytes]:
    return {b"key%06d" % number: b"value %d " % number * 5 for number in range(count)}


def engine_with(values: dict[bytes, bytes]) -> MemoryEngine:
    """A member's engine with that draft, and others' rows around it."""
    engine = MemoryEngine()
    engine.apply({row_key(SPACE, key): value for key, value in values.items()})
    engine.apply({row_key(SPACE - 1, b"x"): b"other", row_key(SPACE + 1, b"x"): b"other"})
    return engine


def drafted(engine: MemoryEngine) -> dict[bytes, bytes]:
    return {key[9:]: value for key, value in engine.scan(*numbered_range(b"r", SPACE))}


class Rows:
    """A row stream that knows whether it was closed."""

    def __init__(self, rows: Iterable[SnapshotRow]) -> None:
        self.closed = False
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[SnapshotRow]:
        return self

    def __next__(self) -> SnapshotRow:
        return next(self._rows)

    def close(self) -> None:
        self.closed = True


class Stream:
    """Both ends, and what is on the way between them; `sent`: rows that the sender has put into chunks."""

    def __init__(self, values: dict[bytes, bytes], engine: MemoryEngine, *, seed: int = 1, loss: float = 0.0) -> None:
        self.engine = engine
        self.chance = random.Random(seed)
        self.loss = loss
        self.now_ms = 0
        self.source = Outgoing(offer=OFFER, rows=Rows(rows_of(values)), now_ms=0)
        self.target = Incoming(offer=OFFER, space=SPACE, now_ms=0, reached=draft.reach(engine, SPACE))
        self.sent: list[SnapshotRow] = []
        self.digests = 0
        self.most_held = 0
        self._answers: list[SnapshotCredit | DraftCredit | SnapshotInstalled] = [self.target.credit()]

    def turn(self) -> None:
        """Each end takes what the other has said; what is lost comes again after a second."""
        self.now_ms += 50
        said: list[object] = list(self.source.tick(self.now_ms))
        for answer in self._disturbed(self._answers):
            said += self.source.receive(answer)
        self._answers = []
        self._look(said)
        repeated = self.target.tick(self.now_ms)
        self._answers += [repeated] if repeated is not None else []
        for message in self._disturbed(said):
            self._take(message)

    def run(self) -> None:
        while self.source.state is StreamState.STREAMING:
            assert self.now_ms < 600_000, "it does not end"
            assert not self.target.damaged
            self.turn()

    def _look(self, said: list[object]) -> None:
        self.digests += sum(isinstance(message, SnapshotDigest) for message in said)
        self.sent += [row for message in said if isinstance(message, SnapshotChunk) for row in message.rows]
        self.most_held = max(self.most_held, len(self.source._held), len(self.target._compared))

    def _take(self, message: object) -> None:
        if self.target.complete:
            self._answers.append(self.target.installed())
        elif isinstance(message, SnapshotDigest):
            drops = self.target.compare(message, self.engine)
            if drops is not None:
                for start, end in drops:
                    self.engine.drop(start, end)
                self._answers.append(self.target.credit(message.number))
        elif isinstance(message, SnapshotChunk):
            changes = self.target.receive(message, self.engine)
            if changes is not None:
                self.engine.apply(changes)
                self._answers.append(self.target.credit())
                self._answers += [self.target.installed()] if self.target.complete else []

    def _disturbed(self, messages: list) -> list:
        kept = [one for one in messages for _ in range(self.chance.choice([1, 1, 2]) if self.loss else 1)]
        kept = [one for one in kept if self.chance.random() >= self.loss]
        if self.loss:
            self.chance.shuffle(kept)
        return kept


def finished(values: dict[bytes, bytes], engine: MemoryEngine, *, seed: int = 1, loss: float = 0.0) -> Stream:
    """A stream that is through, and has left exactly the sender's rows."""
    stream = Stream(values, engine, seed=seed, loss=loss)
    stream.run()
    assert drafted(engine) == values
    assert engine.get(session_key(SPACE, SESSION[1])) == SESSION[2]
    assert (engine.get(row_key(SPACE - 1, b"x")), engine.get(row_key(SPACE + 1, b"x"))) == (b"other", b"other")
    whole = size_of(tuple(rows_of(values)))
    assert stream.target.bytes_received == whole
    assert stream.source.bytes_kept == stream.target.bytes_kept
    return stream


def test_what_the_member_has_is_not_sent_again() -> None:
    values = table(1_000)
    half = dict(list(values.items())[:500])
    stream = finished(values, engine_with(half))
    assert [row[1] for row in stream.sent] == [*list(values)[500:], SESSION[1]]
    assert stream.source.bytes_kept == size_of(tuple(rows_of(half)[:-1]))


def test_a_member_that_has_everything_gets_the_sessions_alone() -> None:
    values = table(300)
    assert finished(values, engine_with(values)).sent == [SESSION]


def test_an_empty_shard_clears_the_draft() -> None:
    assert finished({}, engine_with(table(3_000))).sent == [SESSION]


def test_rows_that_have_changed_come_anew_with_their_piece_alone() -> None:
    before = table(1_000)
    after = before | {b"key000300": b"another"}
    stream = finished(after, engine_with(before))
    assert (b"r", b"key000300", b"another") in stream.sent
    assert 1 < len(stream.sent) <= 1 + CHUNK // limits.SNAPSHOT_PIECES // 16


def test_rows_that_were_deleted_since_vanish() -> None:
    before = table(1_000)
    for gone in (b"key000000", b"key000300", b"key000999"):
        after = {key: value for key, value in before.items() if key != gone}
        assert len(finished(after, engine_with(before)).sent) <= 1 + CHUNK // limits.SNAPSHOT_PIECES // 16


def test_rows_that_were_added_since_come() -> None:
    before = table(1_000)
    for new in (b"a", b"key000300 and", b"key000999", b"z"):
        stream = finished(before | {new: b"new"}, engine_with(before))
        assert (b"r", new, b"new") in stream.sent
        assert len(stream.sent) <= 2 + CHUNK // limits.SNAPSHOT_PIECES // 16


@pytest.mark.parametrize(
    "kept", [range(1_000, 9_000), range(1_000), range(8_000, 9_000)], ids=["all but the start", "the start", "the end"]
)
def test_a_large_part_that_was_deleted_since_is_dropped_unread(kept: range) -> None:
    """Else one turn would read, and one batch delete, as much as the shard was."""
    before = table(9_000)
    keys = list(before)
    after = {keys[number]: before[keys[number]] for number in kept}
    stream = Stream(after, engine_with(before))
    counted = Counted(stream.engine)
    stream.engine = counted
    stream.run()
    assert counted.most_read <= 4 * CHUNK // limits.SNAPSHOT_PIECES // 60, "for one piece"
    assert drafted(stream.engine) == after
    assert stream.sent == [SESSION] or len(stream.sent) <= 2 + CHUNK // limits.SNAPSHOT_PIECES // 16


class Counted(MemoryEngine):
    """Knows the most rows that one scan has read."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__()
        self.apply(dict(engine.scan(b"", b"\xff")))
        self.most_read = self._read = 0

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        self._read = 0
        for row in super().scan(start, end, reverse=reverse):
            self._read += 1
            self.most_read = max(self.most_read, self._read)
            yield row


@pytest.mark.parametrize("seed", range(30))
def test_whatever_has_changed_and_whatever_is_lost_the_member_ends_with_the_sender_s_rows(seed: int) -> None:
    """Streams break off again and again, and the rows change between them."""
    chance = random.Random(seed)
    keys = [b"%d" % number for number in range(600)]
    values = {key: b"v" * chance.randrange(60) for key in chance.sample(keys, 300)}
    engine = engine_with({})
    for _ in range(4):
        stream = Stream(values, engine, seed=chance.random(), loss=chance.choice([0.0, 0.2]))
        for _ in range(chance.randrange(60)):
            if stream.source.state is StreamState.STREAMING:
                stream.turn()
                assert not stream.target.damaged
        engine.drop(*numbered_range(b"s", SPACE))
        for key in chance.sample(keys, chance.choice([0, 3, 60])):
            values[key] = b"w" * chance.randrange(60)
        for key in chance.sample(keys, chance.choice([0, 3, 60])):
            values.pop(key, None)
    finished(values, engine, seed=seed, loss=0.2)


def test_no_end_holds_more_than_some_chunks() -> None:
    values = table(5_000)
    changed = {key: b"changed" + value for key, value in values.items()}
    stream = finished(changed, engine_with(values))
    assert len(stream.sent) == len(values) + 1
    assert stream.digests > 5 * limits.DRAFT_CREDIT_CHUNKS
    assert stream.most_held <= limits.SNAPSHOT_CREDIT_CHUNKS


def test_digests_are_given_out_some_at_a_time() -> None:
    values = table(5_000)
    source = Outgoing(offer=OFFER, rows=Rows(rows_of(values)), now_ms=0)
    target = Incoming(offer=OFFER, space=SPACE, now_ms=0, reached=list(values)[-1])
    credit = target.credit()
    assert isinstance(credit, DraftCredit)
    said = source.receive(credit)
    assert [message.number for message in said] == list(range(limits.DRAFT_CREDIT_CHUNKS))
    assert source.receive(credit) == []
    assert all(isinstance(message, SnapshotDigest) for message in said)
    assert all(len(message.pieces) <= 2 * limits.SNAPSHOT_PIECES for message in said)


def test_wanted_rows_that_are_lost_are_said_again_after_a_second_and_not_before() -> None:
    values = table(30)
    source = Outgoing(offer=OFFER, rows=Rows(rows_of(values)), now_ms=0)
    target = Incoming(offer=OFFER, space=SPACE, now_ms=0, reached=b"z")
    [digest] = source.receive(target.credit())
    assert isinstance(digest, SnapshotDigest)
    engine = engine_with({})
    assert target.compare(digest, engine) == []
    wish = target.credit(0)
    assert isinstance(wish, DraftCredit)
    assert wish.wanted == tuple(range(len(digest.pieces)))
    [rows] = source.receive(wish)
    assert isinstance(rows, SnapshotChunk)
    assert len(rows.rows) == 30
    assert source.tick(999) == []
    assert source.tick(1_000) == [rows]
    assert target.tick(1_000) == wish
    assert target.compare(digest, engine) == [], "the same digest once more"
    assert target.credit(0) == wish
    changes = target.receive(rows, engine)
    assert changes == {row_key(SPACE, key): value for key, value in values.items()}
    assert target.receive(rows, engine) is None
    assert target.credit() == SnapshotCredit(ReplicaId(11), ReplicaId(10), 1, 1, 1 + limits.SNAPSHOT_CREDIT_CHUNKS)


def begun(values: dict[bytes, bytes], engine: MemoryEngine) -> tuple[Outgoing, Incoming, SnapshotDigest]:
    source = Outgoing(offer=OFFER, rows=Rows(rows_of(values)), now_ms=0)
    target = Incoming(offer=OFFER, space=SPACE, now_ms=0, reached=draft.reach(engine, SPACE))
    digest = source.receive(target.credit())[0]
    assert isinstance(digest, SnapshotDigest)
    return source, target, digest


@pytest.mark.parametrize(
    "change",
    [
        {"pieces": ()},
        {"pieces": ((b"b", 1, b""), (b"a", 1, b""))},
        {"pieces": ((b"a", 1, b""), (b"a", 1, b""))},
        {"start": b"zzz"},
    ],
    ids=["no pieces", "backwards", "twice the same", "beyond its end"],
)
def test_a_digest_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    engine = engine_with(table(100))
    _, target, digest = begun(table(100), engine)
    assert target.compare(msgspec.structs.replace(digest, **change), engine) is None
    assert target.damaged


@pytest.mark.parametrize("change", [{"checksum": 1}, {"start": b"k"}], ids=["checksum", "start"])
def test_digests_are_chained_so_that_no_span_can_be_left_out(change: dict[str, object]) -> None:
    engine = engine_with(table(100))
    _, target, digest = begun(table(100), engine)
    assert target.compare(msgspec.structs.replace(digest, **change), engine) is None
    assert target.damaged


def test_a_digest_is_damage_where_the_member_has_spoken_of_no_draft() -> None:
    engine = engine_with(table(100))
    _, _, digest = begun(table(100), engine)
    target = Incoming(offer=OFFER, space=SPACE, now_ms=0)
    assert target.compare(digest, engine) is None
    assert target.damaged


def test_a_sender_that_passes_over_the_draft_is_refused() -> None:
    """Rows that were deleted since would stay."""
    engine = engine_with(table(10))
    target = Incoming(offer=OFFER, space=SPACE, now_ms=0, reached=b"key000009")
    source = Outgoing(offer=OFFER, rows=Rows(rows_of({})), now_ms=0)
    [chunk] = source.receive(SnapshotCredit(ReplicaId(11), ReplicaId(10), 1, 0, 8))
    assert isinstance(chunk, SnapshotChunk)
    assert target.receive(chunk, engine) is None
    assert target.damaged


@pytest.mark.parametrize(
    "rows",
    [
        (),
        ((b"r", b"key000000", b"wrong"),),
        ((b"r", b"zzz", b"of no piece"),),
        ((b"s", b"key000000", b"value 0 " * 5),),
    ],
    ids=["none", "another value", "of no piece", "another kind"],
)
def test_rows_that_are_not_what_the_digest_says_end_the_stream(rows: tuple[SnapshotRow, ...]) -> None:
    engine = engine_with({b"key000000": b"old"})
    source, target, digest = begun(table(1), engine)
    assert target.compare(digest, engine) == []
    [chunk] = source.receive(target.credit(0))
    assert isinstance(chunk, SnapshotChunk)
    wrong = msgspec.structs.replace(chunk, rows=rows, checksum=draft.chained(0, rows))
    assert target.receive(wrong, engine) is None
    assert target.damaged


def test_a_wish_for_pieces_that_are_not_is_ignored() -> None:
    engine = engine_with(table(100))
    source, target, _ = begun(dict.fromkeys(table(100), b"new"), engine)
    wish = DraftCredit(ReplicaId(11), ReplicaId(10), 1, 0, 8, b"", 0, (-1, 1_000))
    [chunk] = source.receive(wish)
    assert isinstance(chunk, SnapshotChunk)
    assert chunk.rows == ()
    assert source.receive(msgspec.structs.replace(wish, number=99)) == []
    assert not target.damaged


def test_what_is_said_of_rows_bounds_every_field() -> None:
    one, other = [(b"a", b"bc")], [(b"ab", b"c")]
    assert draft.digest_of(one) != draft.digest_of(other)
    assert draft.digest_of([*one, *other]) != draft.digest_of([*other, *one])
