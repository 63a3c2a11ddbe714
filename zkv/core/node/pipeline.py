"""From memory to disk: what the next flush takes, and what the flush in flight sets free.

One flush is in flight at most; whatever comes up meanwhile gathers for the next, all shards together. Promises leave
only after the flush that covers everything their replica had handed out when it made them (rule 7).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from zkv.core.raft.messages import LogBatch, LogItem, Member, RaftMessage
from zkv.core.raft.ready import EntryId
from zkv.core.shard.snapshot_messages import SnapshotMessage
from zkv.ids import ReplicaId

Promise = tuple[Member, RaftMessage | SnapshotMessage]


@dataclass(slots=True)
class Flush:
    """One batch, and what may happen once it is on disk."""

    items: list[LogItem] = field(default_factory=list)
    marks: dict[ReplicaId, tuple[int, EntryId]] = field(default_factory=dict)  # replica -> term, last entry
    promises: list[Promise] = field(default_factory=list)
    then: list[Callable[[], None]] = field(default_factory=list)


class Pipeline:
    """The flush that gathers and the flush that runs."""

    def __init__(self) -> None:
        self._next = Flush()
        self._running: Flush | None = None

    @property
    def running(self) -> bool:
        """Whether a flush is in flight."""
        return self._running is not None

    def add(self, item: LogItem, mark: tuple[int, EntryId] | None = None) -> None:
        """Put `item` into the next flush; `mark` is what its replica will have on disk then."""
        self._next.items.append(item)
        if mark is not None:
            self._next.marks[item.replica] = mark

    def then(self, action: Callable[[], None]) -> None:
        """Do this once everything added so far is on disk; there must be something."""
        assert self._next.items
        self._next.then.append(action)

    def promise(self, promise: Promise) -> bool:
        """Hold the promise until everything added so far is on disk; False: it is already, send it now."""
        if self._next.items:
            self._next.promises.append(promise)
        elif self._running is not None:
            self._running.promises.append(promise)
        else:
            return False
        return True

    def take(self) -> LogBatch | None:
        """The batch to write and flush now, or None: one is in flight, or there is nothing."""
        if self._running is not None or not self._next.items:
            return None
        self._running, self._next = self._next, Flush()
        return LogBatch(tuple(self._running.items))

    def finished(self) -> Flush:
        """The flush in flight is on disk."""
        assert self._running is not None, "no flush was in flight"
        done, self._running = self._running, None
        return done

    def forget(self, replica: ReplicaId) -> None:
        """The replica's log starts over: what was handed out before counts for nothing."""
        self._next.marks.pop(replica, None)
        if self._running is not None:
            self._running.marks.pop(replica, None)
