"""The sending end of a snapshot stream: rows cut into numbered chunks, sent on credit (rules 20, 21).

Neither end reads a clock, an engine or a socket: the owner hands in `now_ms` by `tick` before it hands in messages,
sends what comes back, and writes what `Incoming.receive` returns. Loss, duplication and reordering are harmless: only
the next chunk is taken, a credit only ever moves forward, and what was not credited is sent again.
"""

from enum import Enum
from typing import Final

from zkv import limits
from zkv.core.shard.pace import Pace
from zkv.core.shard.snapshot_messages import SnapshotChunk, SnapshotCredit, SnapshotInstalled, SnapshotOffer
from zkv.core.shard.snapshot_rows import RowStream, SnapshotRow, chained, row_size, size_of

RESEND_MS: Final = 1_000  # nothing moved for so long: say it again
GIVE_UP_MS: Final = 30_000  # nothing moved for so long: the stream is over, and the engine's iterator is let go


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
            self._pace.spend(size_of(chunks[-1].rows))
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
            self.bytes_credited += size_of(self._held.pop(number).rows)
            self.chunks_credited = number + 1
            self._moved_ms = self._now_ms

    def _cut(self) -> SnapshotChunk:
        """The next chunk: as many rows as SNAPSHOT_CHUNK_BYTES hold, at least one if there is one."""
        rows: list[SnapshotRow] = []
        size = 0
        row = self._pending
        while row is not None and (not rows or size + row_size(row) <= limits.SNAPSHOT_CHUNK_BYTES):
            rows.append(row)
            size += row_size(row)
            row = next(self._rows, None)
        self._pending = row
        self._cut_all = row is None
        offer, number = self.offer, self._next
        self._checksum = chained(self._checksum, rows)
        chunk = SnapshotChunk(
            offer.sender, offer.target, offer.stream, number, tuple(rows), self._checksum, self._cut_all
        )
        self._held[number] = chunk
        self._next = number + 1
        return chunk
