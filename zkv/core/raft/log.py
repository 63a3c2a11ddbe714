"""One group's log as this replica holds it in memory, and the marks on it.

    start <= applied <= delivered <= min(committed, persisted) and committed, persisted <= last

`start` is the entry before the first one held; everything up to it is applied. Entries after it are all here: the
disk is read only at start. The log does not know roles or peers (Raft 5.3).
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from zkv.core.raft.membership import decode_membership
from zkv.core.raft.messages import AppendRequest, Entry, EntryKind
from zkv.core.raft.ready import EntryId

ENTRY_OVERHEAD_BYTES = 64  # what an entry costs beside its payload, in memory and on the wire, roughly

_BATCH = int(EntryKind.BATCH)
_MEMBERSHIP = int(EntryKind.MEMBERSHIP)
_RESHAPING = frozenset({int(EntryKind.SPLIT), int(EntryKind.FREEZE), int(EntryKind.MERGE)})
_term_of = attrgetter("term")


class Log:
    """Entries after `start`, in order without a gap, and how far they are on disk, committed and applied.

    `changes` are the indexes of the membership entries above `applied`, `splits` those of the entries that change which
    keys are served, as splits do and the steps of a merge: they have not taken effect yet.
    """

    __slots__ = (
        "_base",
        "_delivered",
        "_ends",
        "_entries",
        "_unwritten",
        "applied",
        "changes",
        "committed",
        "last",
        "persisted",
        "splits",
        "start",
    )

    def __init__(self, start: EntryId, entries: Sequence[Entry], *, committed: int, applied: int) -> None:
        """`entries` come from the disk and count as persisted."""
        self.start = start
        self.last = start
        self.applied = applied
        self.committed = committed
        self.changes: list[int] = []
        self.splits: list[int] = []
        self._entries: list[Entry] = []
        self._ends: list[int] = []  # bytes of all entries up to and including the one at the same place
        self._base = 0  # the same for `start`
        self._delivered = applied
        self.append(entries)
        self.persisted = self.last.index
        self._unwritten = self.last.index + 1
        # A change is proposed only once the one before it is applied somewhere: so that one is committed, even
        # if the mark on disk does not say so yet. Without this, a voter could campaign under a membership that
        # is two changes old, and its majority need not meet today's.
        if len(self.changes) > 1:
            self.committed = max(self.committed, self.changes[-2])
        assert start.index <= applied <= self.committed, f"{start} <= {applied} <= {self.committed} does not hold"
        assert self.committed <= self.last.index, f"commit {self.committed} is beyond the last entry, {self.last}"

    @property
    def tail_bytes(self) -> int:
        """What the entries held take in memory."""
        return self._reach(self.last.index) - self._base

    @property
    def uncommitted_bytes(self) -> int:
        """What the entries after `committed` take."""
        return self._reach(self.last.index) - self._reach(self.committed)

    @property
    def has_work(self) -> bool:
        """Whether `to_write` or `to_apply` has something."""
        delivered = self._delivered
        return self._unwritten <= self.last.index or (self.committed > delivered and self.persisted > delivered)

    @property
    def all_done(self) -> bool:
        """Whether every entry is on disk, committed and applied."""
        return self.applied == self.last.index == self.persisted

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None where it is not held."""
        place = index - self.start.index - 1
        if 0 <= place < len(self._entries):
            return self._entries[place].term
        return self.start.term if place == -1 else None

    def holds(self, entry: EntryId) -> bool:
        """Whether this very entry is in the log (or is `start`)."""
        return self.term_at(entry.index) == entry.term

    def slice(self, after: int, until: int) -> list[Entry]:
        """Entries with after < index <= until, as far as they are held."""
        first = self.start.index
        return self._entries[max(after - first, 0) : max(until - first, 0)]

    def take(self, after: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries following `after` (held), at most `bytes_max` bytes, but one at least if there is one."""
        place = after - self.start.index
        limit = self._reach(after) + bytes_max
        if self._ends and self._ends[-1] <= limit:
            return tuple(self._entries[place:])
        end = bisect_right(self._ends, limit, lo=place)
        return tuple(self._entries[place : max(end, place + 1)])

    def bytes_between(self, after: int, until: int) -> int:
        """Bytes of the entries with after < index <= until that are held."""
        return self._reach(until) - self._reach(after)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow `last`."""
        if not entries:
            return
        end = self._ends[-1] if self._ends else self._base
        for entry in entries:
            end += len(entry.payload) + ENTRY_OVERHEAD_BYTES
            self._ends.append(end)
            if entry.kind != _BATCH and entry.index > self.applied:
                self._note(entry)
        self._entries.extend(entries)
        self.last = EntryId(entries[-1].index, entries[-1].term)

    def accept(self, previous: EntryId, entries: Sequence[Entry]) -> int | None:
        """Take what a leader sends: the index up to which the log now equals the leader's; None if it lacks `previous`.

        Entries that are here already stay; at the first that differs, it and all after it give way. A late or
        repeated message therefore never shortens the log.
        """
        match = previous.index + len(entries)
        if previous == self.last:
            self.append(entries)
            return match
        if previous.index < self.start.index:
            entries = entries[self.start.index - previous.index :]  # what is forgotten was committed, hence equal
        elif not self.holds(previous):
            return None
        for place, entry in enumerate(entries):
            if self.term_at(entry.index) != entry.term:
                self._cut(entry.index)
                self.append(entries[place:] if place else entries)
                break
        return match

    def hint(self, index: int, term: int) -> EntryId:
        """The last entry held at or below `index` whose term is at most `term`: where two logs may still agree.

        Terms never fall along a log, so everything between it and `index` differs (Raft 5.3, the optimisation).
        """
        place = min(index, self.last.index) - self.start.index
        found = bisect_right(self._entries, term, hi=max(place, 0), key=_term_of)
        if not found:
            return self.start
        entry = self._entries[found - 1]
        return EntryId(entry.index, entry.term)

    def commit_to(self, index: int) -> bool:
        """Raise the commit mark to `index`, which the log holds. Whether it moved."""
        if index <= self.committed:
            return False
        assert index <= self.last.index, f"commit {index} is beyond the last entry, {self.last}"
        self.committed = index
        return True

    def to_write(self) -> list[Entry]:
        """Entries to put on disk, each once; they cancel all that is stored from the first of them on."""
        last = self.last.index
        if self._unwritten > last:
            return []
        entries = self._entries[self._unwritten - 1 - self.start.index :]
        self._unwritten = last + 1
        return entries

    def to_apply(self) -> list[Entry]:
        """Entries for the state machine, each once, in order: committed, and on this replica's own disk (rule 3)."""
        until = min(self.committed, self.persisted)
        if until <= self._delivered:
            return []
        entries = self.slice(self._delivered, until)
        self._delivered = until
        return entries

    def flushed(self, last: EntryId) -> bool:
        """Everything up to `last` is on disk. False, and no effect, if it was cut off or not handed out since."""
        if last.index >= self._unwritten or not self.holds(last):
            return False
        self.persisted = max(self.persisted, last.index)
        return True

    def applied_to(self, index: int) -> list[Entry]:
        """The state machine holds everything up to `index`: the membership entries among it, to take effect."""
        assert index <= self._delivered, f"applied {index}, of which only {self._delivered} was handed out"
        if index <= self.applied:
            return []
        self.applied = index
        effective: list[Entry] = []
        while self.changes and self.changes[0] <= index:
            change = self.changes.pop(0)
            effective += self.slice(change - 1, change)
        if self.splits:
            self.splits = [split for split in self.splits if split > index]
        return effective

    def forget(self, index: int) -> None:
        """Drop entries up to `index`, applied ones only."""
        index = min(index, self.applied)
        term = self.term_at(index)
        if term is None or index == self.start.index:
            return
        count = index - self.start.index
        self._base = self._ends[count - 1]
        del self._entries[:count], self._ends[:count]
        self.start = EntryId(index, term)

    def restart(self, start: EntryId) -> None:
        """The state machine came by snapshot: the log goes on after `start`; what followed it here stays."""
        assert start.index >= self.applied, f"a snapshot at {start} would take back what is applied ({self.applied})"
        if self.holds(start):
            rest = self.slice(start.index, self.last.index)
            written, persisted = self._unwritten, max(self.persisted, start.index)
        else:
            rest, written, persisted = [], start.index + 1, start.index
        self.applied = self._delivered = start.index
        self.committed = max(self.committed, start.index) if rest else start.index
        self.changes, self.splits = [], []
        self._entries, self._ends, self._base = [], [], 0
        self.start = self.last = start
        self.append(rest)
        self.persisted = persisted
        self._unwritten = max(written, start.index + 1)

    def _note(self, entry: Entry) -> None:
        """It may be one that takes effect when it is applied."""
        if entry.kind == _MEMBERSHIP:
            self.changes.append(entry.index)
        elif entry.kind in _RESHAPING:
            self.splits.append(entry.index)

    def _cut(self, index: int) -> None:
        """Remove the entries from `index` on, if any."""
        assert index > self.committed, f"entry {index} is committed ({self.committed}) and a leader has another one"
        if index > self.last.index:
            return
        place = index - self.start.index - 1
        del self._entries[place:], self._ends[place:]
        self.changes = [change for change in self.changes if change < index]
        self.splits = [split for split in self.splits if split < index]
        self.last = EntryId(index - 1, self._entries[-1].term) if self._entries else self.start
        self.persisted = min(self.persisted, index - 1)
        self._unwritten = min(self._unwritten, index)

    def _reach(self, index: int) -> int:
        """Bytes of everything up to `index` (clamped to what is held), counted from where counting began."""
        last = self.last.index
        place = (index if index < last else last) - self.start.index
        return self._ends[place - 1] if place > 0 else self._base


def well_formed(request: AppendRequest) -> bool:
    """Whether the entries follow `previous` without a gap, terms not falling, and memberships can be read."""
    index, term = request.previous_index, request.previous_term
    for entry in request.entries:
        index += 1
        if entry.index != index or not term <= entry.term <= request.term:
            return False
        term = entry.term
        if entry.kind == _MEMBERSHIP:
            try:
                decode_membership(entry.payload)
            except ValueError:
                return False
    return request.previous_index >= 0
