"""The coordinators' group as a state machine: each entry is one MapCommand, its rows lie in a space of their own.

So a snapshot of the map travels as a shard's does, fills a new space, and goes live whole (rules 20, 21).
"""

from collections.abc import Callable, Iterator

import msgspec

from zkv.core.cluster.commands import CoordinatorState, MapCommand, decode_command
from zkv.core.raft.membership import decode_membership
from zkv.core.raft.messages import Entry, EntryKind
from zkv.core.raft.ready import EntryId
from zkv.core.shard import records
from zkv.core.shard.merge import MergeState
from zkv.core.shard.rows import Changes, Rows, numbered_key, numbered_range, row_key
from zkv.ids import ReplicaId

_NO_FLOOR = b"\0" * 6
_OLD_START, _OLD_END = b"c", b"d"  # where the state lay before it had a space

Applied = Callable[[MapCommand, bool], None]


class _SpaceRows:
    """The rows of one space, without its prefix."""

    def __init__(self, rows: Rows, space: int) -> None:
        self._rows = rows
        self._prefix = row_key(space, b"")

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        return self._rows.get(self._prefix + key)

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """As `Rows.scan`."""
        skip = len(self._prefix)
        for key, value in self._rows.scan(self._prefix + start, self._prefix + end, reverse=reverse):
            yield key[skip:], value


class MapMachine:
    """One replica's map. `state` is the owner's, which stays the same object whatever becomes of the rows."""

    def __init__(self, replica: ReplicaId, descriptor: records.Descriptor, rows: Rows, state: CoordinatorState) -> None:
        stored = rows.get(numbered_key(b"a", replica))
        applied = records.decode_applied(stored) if stored else records.Applied(0, 0, 0, _NO_FLOOR)
        self.replica = replica
        self.info = descriptor.info
        self.space = descriptor.space
        self.session_space = descriptor.space  # no client has a session with it
        self.applied = EntryId(applied.index, applied.term)
        self.state = state
        self.changed_at = 0  # the index of the last change of members that was applied since this was made
        self._prefix = row_key(descriptor.space, b"")
        self._described = False
        old = next(iter(rows.scan(_OLD_START, _OLD_END)), None)
        state.become(CoordinatorState.load(rows if old is not None else _SpaceRows(rows, descriptor.space)))

    def apply(self, entry: Entry, changes: Changes, told: Applied) -> None:
        """Apply one entry, the one after `applied`; `told` hears of a command, and whether it took effect."""
        self.applied = EntryId(entry.index, entry.term)
        if entry.kind == EntryKind.MEMBERSHIP:
            self.info = msgspec.structs.replace(self.info, membership=decode_membership(entry.payload))
            self._described = True
            self.changed_at = entry.index
        elif entry.kind == EntryKind.COMMAND:
            command = decode_command(entry.payload)
            rows = self.state.changes(command)
            changes.update((self._prefix + key, value) for key, value in rows.items())
            told(command, self.state.apply(command))

    def finish(self, changes: Changes) -> None:
        """Add the applied index, and the members where they have changed, to the rows of this turn."""
        if self._described:
            descriptor = records.Descriptor(self.info, self.space)
            changes[numbered_key(b"d", self.replica)] = records.encode(descriptor)
            self._described = False
        record = records.Applied(self.applied.index, self.applied.term, 0, _NO_FLOOR)
        changes[numbered_key(b"a", self.replica)] = records.encode(record)

    def counters(self) -> tuple[int, bytes]:
        """Nothing that a snapshot needs beside the rows."""
        return 0, _NO_FLOOR

    def take_parted(self) -> None:
        """The map is never split."""

    def after_merge_entry(self, new_space: Callable[[], int]) -> list[tuple[bytes, bytes]]:
        """Nor is it merged with anything."""
        return []

    def merge_state(self) -> MergeState:
        """It has no part in merges."""
        return MergeState()

    def row_ranges(self) -> list[tuple[bytes, bytes]]:
        """The rows of the state."""
        return [numbered_range(b"r", self.space)]

    def held_ranges(self) -> list[tuple[bytes, bytes]]:
        """Everything of the space."""
        return [numbered_range(kind, self.space) for kind in (b"r", b"s")]


def bring_forward(rows: Rows, space: int, changes: Changes) -> None:
    """Rows of a folder from before the state had a space move into it. Nothing else was ever written there."""
    for key, value in rows.scan(_OLD_START, _OLD_END):
        changes[row_key(space, key)] = value
        changes[key] = None
