"""What a host must be given: a machine for each group, and what the log knew at start."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from zkv.core.raft.messages import Entry, HardState
from zkv.core.raft.ready import EntryId
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.merge import MergeState
from zkv.core.shard.rows import Changes
from zkv.core.shard.split import Parted


class Machine(Protocol):
    """What a group's entries are applied to; the owner's `apply` hook knows how."""

    @property
    def info(self) -> ShardInfo: ...
    @property
    def session_space(self) -> int: ...
    @property
    def applied(self) -> EntryId: ...
    def finish(self, changes: Changes) -> None:
        """Add what must be written together with what was applied since the last call."""
        ...

    def counters(self) -> tuple[int, bytes]:
        """The version counter and the session floor, for a snapshot."""
        ...

    def take_parted(self) -> Parted | None:
        """What a split, applied last, has cut off: to be brought into being; given out once."""
        ...

    def after_merge_entry(self, new_space: Callable[[], int]) -> list[tuple[bytes, bytes]]:
        """A step of a merge was applied last: it may want a space of this node. Returns the ranges to be deleted."""
        ...

    def merge_state(self) -> MergeState:
        """Its part in merges, for a snapshot."""
        ...

    def row_ranges(self) -> list[tuple[bytes, bytes]]:
        """[start, end) of the engine keys of its rows, in order."""
        ...

    def held_ranges(self) -> list[tuple[bytes, bytes]]:
        """Those of everything that is its own: to be deleted with it."""
        ...


class RecoveredReplica(Protocol):
    """What the log knows of one replica at start."""

    @property
    def start(self) -> tuple[int, int]: ...
    @property
    def hard_state(self) -> HardState: ...
    @property
    def entries(self) -> list[Entry]: ...
    @property
    def commit(self) -> int: ...


def gaps(named: Iterable[tuple[bytes, bytes]], start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What of [start, end) none of the ranges covers."""
    for first, after in sorted(named):
        if start < first:
            yield start, first
        start = max(start, after)
    if start < end:
        yield start, end


def holds(start: EntryId, entries: list[Entry], point: EntryId) -> bool:
    """Whether a log that begins after `start` holds the entry that `point` names."""
    if point.index == start.index:
        return point.term == start.term
    position = point.index - start.index - 1
    return position < len(entries) and entries[position].term == point.term
