"""The sending end of a snapshot stream: rows cut into numbered chunks, sent on credit (rules 20, 21).

Neither end reads a clock, an engine or a socket: the owner hands in `now_ms` by `tick` before it hands in messages,
sends what comes back, and writes what `Incoming.receive` returns. Loss, duplication and reordering are harmless: only
the next chunk is taken, a credit only ever moves forward, and what was not credited is sent again.

A member that has a draft (`zkv.core.shard.draft`) is first sent digests of what lies within it, a chunk's worth each,
and then the rows of those pieces that it wants. Each such chunk stands for itself, so they may come in any order.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from zkv import limits
from zkv.core.shard.draft import behind, chained_pieces, cut_in_pieces, wanted_rows
from zkv.core.shard.pace import Pace
from zkv.core.shard.snapshot_messages import (
    DraftCredit,
    SnapshotChunk,
    SnapshotCredit,
    SnapshotDigest,
    SnapshotInstalled,
    SnapshotOffer,
)
from zkv.core.shard.snapshot_rows import DATA, ROW_OVERHEAD_BYTES, RowStream, SnapshotRow, chained, size_of

RESEND_MS: Final = 1_000  # nothing moved for so long: say it again
GIVE_UP_MS: Final = 30_000  # nothing moved for so long: the stream is over, and the engine's iterator is let go


class StreamState(Enum):
    """Where the sending end is."""

    STREAMING = "streaming"
    DONE = "done"  # the member answered: see `Outgoing.installed`
    FAILED = "failed"  # nothing moved for GIVE_UP_MS; the member may be offered another stream


@dataclass(slots=True)
class _Held:
    """A chunk that is not credited: its rows, and what is said of it, so far."""

    rows: tuple[SnapshotRow, ...]
    size: int  # what all of them count for
    message: SnapshotChunk | SnapshotDigest
    digest: SnapshotDigest | None = None  # that it began with
    sent: int = 0  # of `size`: what had to be sent

    @property
    def kept_bytes(self) -> int:
        """What of it the member had."""
        return self.size - self.sent


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
        self.bytes_kept = 0  # of these, the member had so many already
        self._rows = rows
        self._pending = next(rows, None)
        self._cut_all = False
        self._pace = pace or Pace()
        self._next = 0
        self._limit = 0  # chunks below it are credited in advance
        self._throttled_ms = now_ms  # when the pace last kept back what the member would have taken
        self._checksum = 0
        self._drafted: bytes | None = None  # the member's draft ends with this key, and rows up to it are to come
        self._start = b""  # the next digest begins there
        self._held: dict[int, _Held] = {}
        self._now_ms = self._moved_ms = self._sent_ms = now_ms

    def start(self) -> SnapshotOffer:
        """The first message of the stream."""
        return self.offer

    def receive(
        self, message: SnapshotCredit | DraftCredit | SnapshotInstalled
    ) -> list[SnapshotChunk | SnapshotDigest]:
        """Take the member's word; return the chunks that may now be sent. What is of another stream is ignored."""
        if message.stream != self.offer.stream or self.state is not StreamState.STREAMING:
            return []
        if isinstance(message, SnapshotInstalled):
            self.installed = message.installed
            self._end(StreamState.DONE)
            return []
        if message.next > self._next:
            return []
        if isinstance(message, DraftCredit) and self._next == 0:
            self._drafted = message.reached
        self._credit(message.next)
        self._limit = max(self._limit, min(message.limit, self.chunks_credited + limits.SNAPSHOT_CREDIT_CHUNKS))
        wanted = self._filled(message) if isinstance(message, DraftCredit) else []
        return wanted + self._go_on()

    def _filled(self, message: DraftCredit) -> list[SnapshotChunk | SnapshotDigest]:
        """The rows that the member wants of a digest. They go at once, and are owed to the pace."""
        held = self._held.get(message.number)
        if held is None or held.digest is None or not message.wanted:
            return []
        rows = tuple(wanted_rows(held.digest, held.rows, message.wanted))
        offer = self.offer
        chunk = SnapshotChunk(
            offer.sender, offer.target, offer.stream, message.number, rows, chained(0, rows), last=False
        )
        held.message, held.sent = chunk, size_of(rows)
        self._pace.spend(held.sent)
        self._moved_ms = self._sent_ms = self._now_ms
        self.chunks_sent += 1
        return [chunk]

    def _go_on(self) -> list[SnapshotChunk | SnapshotDigest]:
        """The chunks that the member's credit and the pace allow now."""
        chunks: list[SnapshotChunk | SnapshotDigest] = []
        while self._may_cut():
            if not self._pace.is_open:
                self._throttled_ms = self._now_ms
                break
            held = self._cut() if self._drafted is None else self._describe(self._drafted)
            self._held[self._next] = held
            self._next += 1
            chunks.append(held.message)
            took = self._pace.spend if isinstance(held.message, SnapshotChunk) else self._pace.describe
            took(held.size)
        if chunks:
            self._sent_ms = self._now_ms
        self.chunks_sent += len(chunks)
        return chunks

    def _may_cut(self) -> bool:
        """Whether the member would take the next chunk now. Digests come first, and are settled before all else."""
        if self._next >= self._limit or self._cut_all:
            return False
        if self._drafted is not None:
            return len(self._held) < limits.DRAFT_CREDIT_CHUNKS
        return all(held.digest is None for held in self._held.values())

    def tick(self, now_ms: int) -> list[SnapshotOffer | SnapshotChunk | SnapshotDigest]:
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
        return [held.message for held in self._held.values()]

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
            held = self._held.pop(number)
            self.bytes_credited += held.size
            self.bytes_kept += held.kept_bytes
            self.chunks_credited = number + 1
            self._moved_ms = self._now_ms

    def _cut(self) -> _Held:
        """The next chunk."""
        rows, size = self._take(None)
        self._cut_all = self._pending is None
        self._checksum = chained(self._checksum, rows)
        offer = self.offer
        chunk = SnapshotChunk(offer.sender, offer.target, offer.stream, self._next, rows, self._checksum, self._cut_all)
        return _Held(rows, size, chunk, sent=size)

    def _describe(self, drafted: bytes) -> _Held:
        """The next chunk, of rows within the member's draft, as a digest; the last reaches up to the draft's end."""
        rows, size = self._take(drafted)
        is_last = not _is_within(self._pending, drafted)
        pieces = cut_in_pieces(rows, drafted if is_last else None)
        self._checksum = chained_pieces(self._checksum, pieces)
        offer = self.offer
        digest = SnapshotDigest(
            offer.sender, offer.target, offer.stream, self._next, self._start, pieces, self._checksum
        )
        self._start = behind(pieces[-1][0])
        self._drafted = None if is_last else drafted
        return _Held(rows, size, digest, digest)

    def _take(self, drafted: bytes | None) -> tuple[tuple[SnapshotRow, ...], int]:
        """As many rows as SNAPSHOT_CHUNK_BYTES hold, at least one if there is one; within that draft only, if given.

        Also what they count for.
        """
        rows: list[SnapshotRow] = []
        size, most = 0, limits.SNAPSHOT_CHUNK_BYTES
        row = self._pending
        stream = iter(self._rows)
        while row is not None and (drafted is None or _is_within(row, drafted)):
            taken = len(row[1]) + len(row[2]) + ROW_OVERHEAD_BYTES  # `row_size`, without a call for each row
            if rows and size + taken > most:
                break
            size += taken
            rows.append(row)
            row = next(stream, None)
        self._pending = row
        return tuple(rows), size


def _is_within(row: SnapshotRow | None, drafted: bytes) -> bool:
    """Whether it is there, and of what the member's draft has reached."""
    return row is not None and row[0] == DATA and row[1] <= drafted
