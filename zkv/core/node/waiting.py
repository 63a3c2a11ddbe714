"""Requests that wait at a leader: for the turn's end, for a commit, for more copies, for a read-index round.

A request is kept until it is answered or its budget is spent; what it asked for goes on without it (rule 17).
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from zkv.core.raft.ready import EntryId
from zkv.core.raft.replica import ReadTicket
from zkv.core.shard.commands import ReadGroup, Result, ScanGroup, WriteGroup
from zkv.ids import NodeId


class Route(NamedTuple):
    """Where an answer goes: to a client of this node (node ""), or through the node that passed the request on."""

    node: NodeId
    origin: bytes


class WaitingWrite(NamedTuple):
    """A write group that was taken, and its size in bytes."""

    route: Route
    group: WriteGroup
    deadline_ms: int
    size: int


class WaitingRead(NamedTuple):
    """A read that waits for a read-index round."""

    route: Route
    group: ReadGroup | ScanGroup
    deadline_ms: int
    ticket: ReadTicket


class WaitingCopies(NamedTuple):
    """A write group that waits until `copies` voters have `entry` on disk; `results` None: it is not committed."""

    write: WaitingWrite
    entry: EntryId
    copies: int
    results: tuple[Result, ...] | None


@dataclass(slots=True)
class Queue:
    """All requests of one shard that wait at this node."""

    fresh: list[WaitingWrite] = field(default_factory=list)  # taken in this turn
    fresh_bytes: int = 0
    proposed: dict[int, tuple[int, list[WaitingWrite]]] = field(default_factory=dict)  # index -> term, groups in order
    copies: list[WaitingCopies] = field(default_factory=list)
    reads: deque[WaitingRead] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return bool(self.fresh or self.proposed or self.copies or self.reads)

    def add(self, write: WaitingWrite) -> None:
        """Take a write in; it is proposed at the end of the turn."""
        self.fresh.append(write)
        self.fresh_bytes += write.size

    def take_fresh(self, bytes_max: int) -> list[list[WaitingWrite]]:
        """This turn's writes, cut into entries of at most `bytes_max` (a larger single group goes alone)."""
        fresh, self.fresh, size = self.fresh, [], self.fresh_bytes
        self.fresh_bytes = 0
        if size <= bytes_max:
            return [fresh]
        cut: list[list[WaitingWrite]] = [[]]
        filled = 0
        for write in fresh:
            if cut[-1] and filled + write.size > bytes_max:
                cut.append([])
                filled = 0
            cut[-1].append(write)
            filled += write.size
        return cut

    def expired(self, now_ms: int) -> tuple[list[WaitingWrite], list[WaitingRead], list[WaitingCopies]]:
        """Take out what waits beyond its deadline. A proposed group leaves a hole: its entry still applies."""
        writes: list[WaitingWrite] = []
        for index, (term, waiting) in list(self.proposed.items()):
            late = [write for write in waiting if write.deadline_ms <= now_ms]
            if late:
                writes += late
                answered = [
                    write if write.deadline_ms > now_ms else write._replace(route=NOWHERE, size=0) for write in waiting
                ]
                self.proposed[index] = (term, answered)
        writes = [write for write in writes if write.route is not NOWHERE]
        reads = [read for read in self.reads if read.deadline_ms <= now_ms]
        if reads:
            self.reads = deque(read for read in self.reads if read.deadline_ms > now_ms)
        copies = [wait for wait in self.copies if wait.write.deadline_ms <= now_ms]
        if copies:
            self.copies = [wait for wait in self.copies if wait.write.deadline_ms > now_ms]
        return writes, reads, copies


NOWHERE = Route(NodeId(""), b"")  # nobody waits any more
