"""The receiving end of a snapshot stream: chunks checked and written, in a space of their own (rules 20, 21).

It reads no clock, engine or socket: see `zkv.core.shard.outgoing`.
"""

from msgspec.structs import replace

from zkv import limits
from zkv.core.shard.merge import MergeState
from zkv.core.shard.outgoing import GIVE_UP_MS, RESEND_MS
from zkv.core.shard.rows import Changes, row_key, session_key
from zkv.core.shard.snapshot_messages import SnapshotChunk, SnapshotCredit, SnapshotInstalled, SnapshotOffer
from zkv.core.shard.snapshot_rows import BROUGHT_DATA, BROUGHT_SESSION, DATA, SESSION, chained, size_of


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
        checksum = chained(self._checksum, chunk.rows)
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
        self.bytes_received += size_of(chunk.rows)
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
