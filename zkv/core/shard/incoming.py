"""The receiving end of a snapshot stream: chunks checked and written, in a space of their own (rules 20, 21).

It reads no clock and no socket, and of the engine only the rows that an earlier stream has left there, which are given
to it: see `zkv.core.shard.outgoing` and `zkv.core.shard.draft`.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from zkv import limits
from zkv.core.shard.draft import Range, behind, chained_pieces, compare, is_sound, replaced
from zkv.core.shard.merge import MergeState
from zkv.core.shard.outgoing import GIVE_UP_MS, RESEND_MS
from zkv.core.shard.rows import Changes, Rows, row_key, session_key
from zkv.core.shard.snapshot_messages import (
    DraftCredit,
    SnapshotChunk,
    SnapshotCredit,
    SnapshotDigest,
    SnapshotInstalled,
    SnapshotOffer,
)
from zkv.core.shard.snapshot_rows import BROUGHT_DATA, BROUGHT_SESSION, DATA, SESSION, chained, size_of


@dataclass(slots=True)
class _Compared:
    """A digest that came: what is still to come of its rows, and what of them was there."""

    digest: SnapshotDigest
    wanted: tuple[int, ...]
    kept_bytes: int
    came_bytes: int = 0


class Incoming:
    """The member's end of one stream, which fills `space`, a number that nothing else has ever used (rule 20).

    `reached`: the last key of the rows that an earlier stream has left in it, if there are any and the sender knows
    what to do with them; None: the space is empty.

    If the shard is amid a merge, what that has brought fills `brought`, another such number; else it is 0.

    The caller, in this order: drops what an earlier, abandoned space holds; writes what `receive` returns and then
    sends `credit()`; once `complete`, writes the descriptor and the applied row that name `space` in one batch,
    flushes the engine, flushes the log's reset record, and only then answers SnapshotInstalled (rule 21). Until that
    batch no descriptor names the spaces, so rows and sessions of a stream given up are visible to nobody.
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
        reached: bytes | None = None,
    ) -> None:
        self.offer = offer
        self.space = space
        self.brought = brought
        self.merging = _with_space(merging, brought)
        self.began_ms = now_ms
        self.complete = False
        self.damaged = False  # a chunk was not what was sent: answer `refusal()` and forget the stream
        self.bytes_received = 0  # or found to be there
        self.bytes_kept = 0  # of these, the latter
        self.reached = reached  # the last key of all rows that are there, or that `receive` has given out
        self._drafted = reached
        self._start = b""  # digests have covered the keys before it
        self._compared: dict[int, _Compared] = {}  # that are not settled, or not the next
        self._next = 0
        self._checksum = 0
        self._now_ms = self._moved_ms = self._said_ms = now_ms

    def replaced_by(self, offer: SnapshotOffer) -> bool:
        """Whether this offer ends the stream: it is of another one, and not of an older leader or index."""
        mine = self.offer
        return offer.stream != mine.stream and (offer.term, offer.index) >= (mine.term, mine.index)

    def compare(self, digest: SnapshotDigest, rows: Rows) -> list[Range] | None:
        """Look what the draft has of this; None if nothing is to be said, or it is `damaged`.

        Else: the ranges that are to be deleted in this turn, before `credit(digest.number)` is sent.
        """
        number = digest.number
        is_expected = self._next <= number < self._next + limits.SNAPSHOT_CREDIT_CHUNKS
        if digest.stream != self.offer.stream or self._is_over or not is_expected:
            return None
        if number in self._compared:
            return []
        if self._drafted is None or not is_sound(digest):
            self.damaged = True
            return None
        found = compare(rows, self.space, digest)
        self._compared[number] = _Compared(digest, found.unlike, found.kept_bytes)
        self._moved_ms = self._now_ms
        self._settle()
        return None if self.damaged else found.excess

    def receive(self, chunk: SnapshotChunk, rows: Rows) -> Changes | None:
        """What to write, if this is the next chunk or wanted of a digest; None if it is not, or is `damaged`."""
        if chunk.stream != self.offer.stream or self._is_over:
            return None
        compared = self._compared.get(chunk.number)
        if compared is not None:
            return self._fill(compared, chunk, rows)
        if chunk.number != self._next:
            return None
        checksum = chained(self._checksum, chunk.rows)
        if checksum != chunk.checksum or not self._has_covered_the_draft:
            self.damaged = True
            return None
        changes = self._stored(chunk)
        if changes is None:
            self.damaged = True
            return None
        self._note(chunk)
        self._checksum = checksum
        self._next += 1
        self.complete = chunk.last
        self.bytes_received += size_of(chunk.rows)
        self._moved_ms = self._now_ms
        return changes

    def _stored(self, chunk: SnapshotChunk) -> Changes | None:
        """The rows as they are stored here; None if some are of a kind that does not belong here."""
        if {kind for kind, _, _ in chunk.rows} == {DATA}:
            space = row_key(self.space, b"")
            return {space + key: value for _, key, value in chunk.rows}
        changes: Changes = {}
        for kind, key, value in chunk.rows:
            stored = self._stored_at(kind, key)
            if stored is None:
                return None
            changes[stored] = value
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

    def _fill(self, compared: _Compared, chunk: SnapshotChunk, rows: Rows) -> Changes | None:
        """The pieces that were wanted came."""
        if not compared.wanted:
            return None
        changes = replaced(rows, self.space, compared.digest, compared.wanted, chunk)
        if changes is None:
            self.damaged = True
            return None
        self._note(chunk)
        compared.wanted = ()
        compared.came_bytes = size_of(chunk.rows)
        self._moved_ms = self._now_ms
        self._settle()
        return None if self.damaged else changes

    def _note(self, chunk: SnapshotChunk) -> None:
        """Its rows are about to be written."""
        last = max([key for kind, key, _ in chunk.rows if kind == DATA], default=self.reached)
        if last is not None:
            self.reached = max(last, self.reached or b"")

    def _settle(self) -> None:
        """Digests that are next, and of which nothing is wanted any more, count as received."""
        while (compared := self._compared.get(self._next)) is not None and not compared.wanted:
            digest = compared.digest
            checksum = chained_pieces(self._checksum, digest.pieces)
            if checksum != digest.checksum or digest.start != self._start:
                self.damaged = True
                return
            del self._compared[self._next]
            self._checksum = checksum
            self._start = behind(digest.pieces[-1][0])
            self._next += 1
            self.bytes_kept += compared.kept_bytes
            self.bytes_received += compared.kept_bytes + compared.came_bytes

    @property
    def _is_over(self) -> bool:
        return self.complete or self.damaged

    @property
    def _has_covered_the_draft(self) -> bool:
        """Whether all that was here when the stream began has been compared. Else rows might stay that are no more."""
        return self._drafted is None or self._start > self._drafted

    def credit(self, number: int = -1) -> SnapshotCredit | DraftCredit:
        """What has been received and what more is wanted; to be sent after each chunk was written.

        `number`: of a digest that is to be answered: what is wanted of it.
        """
        self._said_ms = self._now_ms
        offer = self.offer
        limit = self._next + limits.SNAPSHOT_CREDIT_CHUNKS
        if self._has_covered_the_draft:
            return SnapshotCredit(offer.target, offer.sender, offer.stream, self._next, limit)
        assert self._drafted is not None
        wanted = self._compared[number].wanted if number in self._compared else ()
        return DraftCredit(offer.target, offer.sender, offer.stream, self._next, limit, self._drafted, number, wanted)

    def installed(self) -> SnapshotInstalled:
        """The answer once all is durable and live."""
        assert self.complete
        offer = self.offer
        return SnapshotInstalled(offer.target, offer.sender, offer.stream, True, offer.index)

    def refusal(self) -> SnapshotInstalled:
        """The answer when the stream is given up here."""
        offer = self.offer
        return SnapshotInstalled(offer.target, offer.sender, offer.stream, False, offer.index)

    def tick(self, now_ms: int) -> SnapshotCredit | DraftCredit | None:
        """The credit again, if nothing came for a while: the last one may be lost."""
        self._now_ms = now_ms
        if self._is_over or now_ms - max(self._moved_ms, self._said_ms) < RESEND_MS:
            return None
        return self.credit(min((one for one, compared in self._compared.items() if compared.wanted), default=-1))

    def expired(self, now_ms: int) -> bool:
        """Whether the sender has gone silent in mid-stream: drop the space and forget the stream."""
        return not self.complete and now_ms - self._moved_ms >= GIVE_UP_MS


def _with_space(merging: MergeState, space: int) -> MergeState:
    """What it says, with the receiver's own space for what was brought."""
    absorbing = merging.absorbing
    return merging if absorbing is None else replace(merging, absorbing=replace(absorbing, space=space))
