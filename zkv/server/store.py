"""A process's disk: its folder, its log with the flush beside the loop, its state engine, and how they stay in step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from zkv import limits
from zkv.core.node.host import Effects
from zkv.core.raft.messages import LogBatch
from zkv.core.raft.ready import EntryId
from zkv.ids import ReplicaId
from zkv.server.flusher import Flusher
from zkv.storage.disk import DiskFull
from zkv.storage.folder import Folder
from zkv.storage.log import Log
from zkv.storage.open_engine import open_engine

REJOIN = "move the folder away and start again: it rejoins empty (docs/operations.md)"
_SPACE_LOOK_MS = 500
_VOUCH_MS = 1_000


class Checkpointed(Protocol):
    """Whose log is rewritten at a checkpoint: a `Host`."""

    def points(self) -> dict[ReplicaId, EntryId]: ...
    def checkpoint(self, points: Mapping[ReplicaId, EntryId]) -> LogBatch: ...


class Store:
    """Everything one process writes. Opening it raises StorageError in the words that the user sees."""

    def __init__(self, path: Path, *, name: str, role: str, engine: str, threaded: bool) -> None:
        self.folder = Folder.open(path, name=name, role=role)
        self.log, self.recovered = Log.open(path / "log")
        self.engine = open_engine(path / "state", engine)
        self.flusher = Flusher(self.log, threaded=threaded)
        self.full = False
        self.flushes = 0
        self._waiting: bytes | None = None  # a batch that found the disk full
        self._in_flight: bytes | None = None
        self._looked_ms = 0
        self._flushed_ms = 0
        self._vouched = True

    def write(self, effects: Effects, now_ms: int) -> None:
        """Begin the flush of the turn's log batch, if it has one."""
        if effects.log is not None:
            self._submit(self.log.encode(effects.log), now_ms)

    def apply(self, effects: Effects) -> None:
        """Bring the turn's changes to the engine, and flush it where the turn asks for that."""
        if effects.changes:
            self.engine.apply(effects.changes)
        for start, end in effects.drops:
            self.engine.drop(start, end)
        if effects.flush_engine:
            self.engine.flush()

    def flushed(self) -> bool:
        """Whether the flush in flight has ended since the last call. Raises StorageError where it failed."""
        if self._in_flight is None:
            return False
        try:
            if self.flusher.done() < self._ticket:
                return False
        except DiskFull:
            self.full = True
            self._waiting, self._in_flight = self._in_flight, None
            return False
        self._in_flight = None
        self.flushes += 1
        return True

    def tend(self, host: Checkpointed, now_ms: int) -> None:
        """Between turns: look at the free space, try again what found none, shorten the log, vouch for its tail."""
        if now_ms - self._looked_ms >= _SPACE_LOOK_MS:
            self._looked_ms = now_ms
            self.full = self.folder.free_bytes() < limits.DISK_RESERVE_BYTES
            if self._waiting is not None:
                waiting, self._waiting = self._waiting, None
                self._submit(waiting, now_ms)
        if self._in_flight is not None or self._waiting is not None:
            return
        if self.log.bytes_since_checkpoint >= limits.LOG_CHECKPOINT_BYTES:
            points = host.points()
            self.engine.flush()
            self.log.checkpoint(host.checkpoint(points))
        elif not self._vouched and now_ms - self._flushed_ms >= _VOUCH_MS:
            self._vouched = True
            self.log.vouch()

    def close(self) -> None:
        """A clean stop: what is in flight ends, the engine is flushed."""
        self.flusher.close()
        self.engine.flush()
        self.engine.close()
        self.log.close()
        self.folder.close()

    def _submit(self, payload: bytes, now_ms: int) -> None:
        self._in_flight = payload
        self._flushed_ms = now_ms
        self._vouched = False
        self._ticket = self.flusher.submit(payload)
