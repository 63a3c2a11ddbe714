"""The two ends of a snapshot stream: rows cut into numbered chunks, sent on credit, checked and written (rules 20, 21).

Neither end reads a clock, an engine or a socket: the owner hands in `now_ms` by `tick` before it hands in messages,
sends what comes back, and writes what `Incoming.receive` returns. Loss, duplication and reordering are harmless: only
the next chunk is taken, a credit only ever moves forward, and what was not credited is sent again.
"""

import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Protocol

from msgspec.structs import replace

from zkv import limits
from zkv.core.shard.merge import MergeState
from zkv.core.shard.pace import Pace
from zkv.core.shard.rows import SPACE_BYTES, Changes, Rows, numbered_range, row_key, session_key
from zkv.core.shard.snapshot_messages import SnapshotChunk, SnapshotCredit, SnapshotInstalled, SnapshotOffer

SnapshotRow = tuple[bytes, bytes, bytes]  # kind, key within it, value

DATA = b"r"
SESSION = b"s"
BROUGHT_DATA = b"R"  # what a merge that is not settled has brought so far
BROUGHT_SESSION = b"S"
RESEND_MS = 1_000  # nothing moved for so long: say it again
GIVE_UP_MS = 30_000  # nothing moved for so long: the stream is over, and the engine's iterator is let go
_ROW_OVERHEAD_BYTES = 16


class RowStream(Protocol):
    """An iterator that pins something until it is closed; a generator fits."""

    def __iter__(self) -> Iterator[SnapshotRow]: ...

    def __next__(self) -> SnapshotRow: ...

    def close(self) -> None: ...


class PinnedRows:
    """A shard's rows, then its sessions, as they are when this is made (rule 20: the range is ours).

    `ranges` are of engine keys, as `ShardMachine.row_ranges` gives them; `sessions` is the space of those; `brought`
    that of what an unsettled merge has brought, which comes last; 0: there is none.
    """

    def __init__(self, rows: Rows, *, sessions: int, ranges: list[tuple[bytes, bytes]], brought: int = 0) -> None:
        spans = [(DATA, span) for span in ranges] + [(SESSION, numbered_range(b"s", sessions))]
        if brought:
            spans += [(BROUGHT_DATA, numbered_range(b"r", brought)), (BROUGHT_SESSION, numbered_range(b"s", brought))]
        self._scans = [(kind, rows.scan(start, end)) for kind, (start, end) in reversed(spans)]

    def __iter__(self) -> Iterator[SnapshotRow]:
        return self

    def __next__(self) -> SnapshotRow:
        while self._scans:
            kind, scan = self._scans[-1]
            found = next(scan, None)
            if found is not None:
                return kind, found[0][SPACE_BYTES:], found[1]
            self._scans.pop()
        raise StopIteration

    def close(self) -> None:
        """Let the engine's iterators go."""
        self._scans.clear()


class StreamState(Enum):
    """Where the sending end is."""

    STREAMING = "streaming"
    DONE = "done"  # the member answered: see `Outgoing.installed`
    FAILED = "failed"  # nothing moved for GIVE_UP_MS; the member may be offered another stream


class Outgoing:
    """The leader's end of one stream. It owns `rows` and closes them when the stream is over.

    Invariants: at most SNAPSHOT_CREDIT_CHUNKS chunks are held; chunk n is cut once, and is held until it is credited.
    `pace`: shared with the node's other streams.
    """

    def __init__(self, *, offer: SnapshotOffer, rows: RowStream, now_ms: int, pace: Pace | None = None) -> None:
        self.offer = offer
        self.began_ms = now_ms
        self.state = StreamState.STREAMING
        self.installed = False
        self.chunks_sent = 0  # those sent again count again
        self.chunks_credited = 0
        self.bytes_credited = 0
        self._rows = rows
        self._pending = next(rows, None)
        self._cut_all = False
        self._pace = pace or Pace()
        self._next = 0
        self._limit = 0  # chunks below it are credited in advance
        self._throttled_ms = now_ms  # when the pace last kept back what the member would have taken
        self._checksum = 0
        self._held: dict[int, SnapshotChunk] = {}
        self._now_ms = self._moved_ms = self._sent_ms = now_ms

    def start(self) -> SnapshotOffer:
        """The first message of the stream."""
        return self.offer

    def receive(self, message: SnapshotCredit | SnapshotInstalled) -> list[SnapshotChunk]:
        """Take the member's word; return the chunks that may now be sent. What is of another stream is ignored."""
        if message.stream != self.offer.stream or self.state is not StreamState.STREAMING:
            return []
        if isinstance(message, SnapshotInstalled):
            self.installed = message.installed
            self._end(StreamState.DONE)
            return []
        if message.next > self._next:
            return []
        self._credit(message.next)
        self._limit = max(self._limit, min(message.limit, self.chunks_credited + limits.SNAPSHOT_CREDIT_CHUNKS))
        return self._go_on()

    def _go_on(self) -> list[SnapshotChunk]:
        """The chunks that the member's credit and the pace allow now."""
        chunks: list[SnapshotChunk] = []
        while self._next < self._limit and not self._cut_all:
            if not self._pace.is_open:
                self._throttled_ms = self._now_ms
                break
            chunks.append(self._cut())
            self._pace.spend(_size(chunks[-1].rows))
        if chunks:
            self._sent_ms = self._now_ms
        self.chunks_sent += len(chunks)
        return chunks

    def tick(self, now_ms: int) -> list[SnapshotOffer | SnapshotChunk]:
        """What to say now: chunks that the pace kept back, or again those that are not credited, or the offer."""
        self._now_ms = now_ms
        if self.state is not StreamState.STREAMING:
            return []
        fresh = self._go_on()
        if fresh:
            return list(fresh)
        if now_ms - max(self._moved_ms, self._throttled_ms) >= GIVE_UP_MS:
            self._end(StreamState.FAILED)
            return []
        if now_ms - max(self._moved_ms, self._sent_ms) < RESEND_MS:
            return []
        self._sent_ms = now_ms
        if not self._held:
            return [self.offer]
        self.chunks_sent += len(self._held)
        return list(self._held.values())

    def close(self) -> None:
        """Give the stream up, if it is not over yet. To be called when leadership or the member goes."""
        if self.state is StreamState.STREAMING:
            self._end(StreamState.FAILED)

    def _end(self, state: StreamState) -> None:
        self.state = state
        self._held.clear()
        self._pending = None
        self._rows.close()

    def _credit(self, received: int) -> None:
        """The member has all chunks below `received`."""
        for number in range(self.chunks_credited, received):
            self.bytes_credited += _size(self._held.pop(number).rows)
            self.chunks_credited = number + 1
            self._moved_ms = self._now_ms

    def _cut(self) -> SnapshotChunk:
        """The next chunk: as many rows as SNAPSHOT_CHUNK_BYTES hold, at least one if there is one."""
        rows: list[SnapshotRow] = []
        size = 0
        row = self._pending
        while row is not None and (not rows or size + _row_size(row) <= limits.SNAPSHOT_CHUNK_BYTES):
            rows.append(row)
            size += _row_size(row)
            row = next(self._rows, None)
        self._pending = row
        self._cut_all = row is None
        offer, number = self.offer, self._next
        self._checksum = _chained(self._checksum, rows)
        chunk = SnapshotChunk(
            offer.sender, offer.target, offer.stream, number, tuple(rows), self._checksum, self._cut_all
        )
        self._held[number] = chunk
        self._next = number + 1
        return chunk


class Incoming:
    """The member's end of one stream, which fills `space`, a number that nothing has used before (rule 20).

    If the shard is amid a merge, what that has brought fills `brought`, another such number; else it is 0.

    The caller, in this order: drops what an earlier, abandoned space holds; writes what `receive` returns and then
    sends `credit()`; once `complete`, writes the descriptor and the applied row that name `space` in one batch,
    flushes the engine, flushes the log's reset record, and only then answers SnapshotInstalled (rule 21). Until that
    batch nothing names the spaces, so rows and sessions of a stream given up are visible to nobody: drop them.
    A chunk whose stream the caller does not know it answers with SnapshotInstalled(installed=False).
    """

    def __init__(
        self,
        *,
        offer: SnapshotOffer,
        space: int,
        now_ms: int,
        merging: MergeState = MergeState(),  # noqa: B008  # frozen
        brought: int = 0,
    ) -> None:
        self.offer = offer
        self.space = space
        self.brought = brought
        self.merging = _with_space(merging, brought)
        self.began_ms = now_ms
        self.complete = False
        self.damaged = False  # a chunk was not what was sent: answer `refusal()` and forget the stream
        self.bytes_received = 0
        self._next = 0
        self._checksum = 0
        self._now_ms = self._moved_ms = self._said_ms = now_ms

    def replaced_by(self, offer: SnapshotOffer) -> bool:
        """Whether this offer ends the stream: it is of another one, and not of an older leader or index."""
        mine = self.offer
        return offer.stream != mine.stream and (offer.term, offer.index) >= (mine.term, mine.index)

    def receive(self, chunk: SnapshotChunk) -> Changes | None:
        """The rows to write, if this is the next chunk; None if it is not, or is `damaged`."""
        if chunk.stream != self.offer.stream or chunk.number != self._next or self.complete or self.damaged:
            return None
        checksum = _chained(self._checksum, chunk.rows)
        if checksum != chunk.checksum:
            self.damaged = True
            return None
        changes: Changes = {}
        for kind, key, value in chunk.rows:
            stored = self._stored_at(kind, key)
            if stored is None:
                self.damaged = True
                return None
            changes[stored] = value
        self._checksum = checksum
        self._next += 1
        self.complete = chunk.last
        self.bytes_received += _size(chunk.rows)
        self._moved_ms = self._now_ms
        return changes

    def _stored_at(self, kind: bytes, key: bytes) -> bytes | None:
        if kind == DATA:
            return row_key(self.space, key)
        if kind == SESSION:
            return session_key(self.space, key)
        if kind == BROUGHT_DATA and self.brought:
            return row_key(self.brought, key)
        if kind == BROUGHT_SESSION and self.brought:
            return session_key(self.brought, key)
        return None

    def credit(self) -> SnapshotCredit:
        """What has been received and what more is wanted; to be sent after each chunk was written."""
        self._said_ms = self._now_ms
        offer = self.offer
        limit = self._next + limits.SNAPSHOT_CREDIT_CHUNKS
        return SnapshotCredit(offer.target, offer.sender, offer.stream, self._next, limit)

    def installed(self) -> SnapshotInstalled:
        """The answer once all is durable and live."""
        assert self.complete
        offer = self.offer
        return SnapshotInstalled(offer.target, offer.sender, offer.stream, True, offer.index)

    def refusal(self) -> SnapshotInstalled:
        """The answer when the stream is given up here."""
        offer = self.offer
        return SnapshotInstalled(offer.target, offer.sender, offer.stream, False, offer.index)

    def tick(self, now_ms: int) -> SnapshotCredit | None:
        """The credit again, if nothing came for a while: the last one may be lost."""
        self._now_ms = now_ms
        if self.complete or self.damaged or now_ms - max(self._moved_ms, self._said_ms) < RESEND_MS:
            return None
        return self.credit()

    def expired(self, now_ms: int) -> bool:
        """Whether the sender has gone silent in mid-stream: drop the space and forget the stream."""
        return not self.complete and now_ms - self._moved_ms >= GIVE_UP_MS


def _with_space(merging: MergeState, space: int) -> MergeState:
    """What it says, with the receiver's own space for what was brought."""
    absorbing = merging.absorbing
    return merging if absorbing is None else replace(merging, absorbing=replace(absorbing, space=space))


def _row_size(row: SnapshotRow) -> int:
    return len(row[1]) + len(row[2]) + _ROW_OVERHEAD_BYTES


def _size(rows: tuple[SnapshotRow, ...]) -> int:
    return sum(map(_row_size, rows))


def _chained(checksum: int, rows: list[SnapshotRow] | tuple[SnapshotRow, ...]) -> int:
    """CRC-32 over the rows, continued from `checksum`. Lengths are in it, so that no byte can change its field."""
    for kind, key, value in rows:
        head = len(kind).to_bytes(4, "big") + len(key).to_bytes(4, "big") + len(value).to_bytes(4, "big")
        checksum = zlib.crc32(value, zlib.crc32(key, zlib.crc32(head + kind, checksum)))
    return checksum
