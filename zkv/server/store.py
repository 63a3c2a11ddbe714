"""A process's disk: its folder, its log with the flush beside the loop, its state engine, and how they stay in step."""

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from zkv import limits
from zkv.core.node.host import Effects
from zkv.core.raft.messages import LogBatch
from zkv.core.raft.ready import EntryId
from zkv.ids import ReplicaId
from zkv.server.flusher import INLINE_BELOW_S, Flush, Flusher, InlineFlusher
from zkv.storage.engine import Engine
from zkv.storage.faults import DiskFull, FlushFailed
from zkv.storage.folder import Folder
from zkv.storage.log import Log
from zkv.storage.memtable import UNFLUSHED_BYTES, Inline, Memtable
from zkv.storage.open_engine import Kind, open_engine

REJOIN = "move the folder away and start again: it rejoins empty (docs/operations.md)"
_SPACE_LOOK_MS = 500
_VOUCH_MS = 1_000
_SQLITE_ROWS = 512

_NOTHING = LogBatch(())


class Owner(Protocol):
    """Whose rows are flushed, and whose log is rewritten at a checkpoint: a `Host`."""

    def engine_flush_begins(self) -> None: ...
    def engine_flushed(self) -> None: ...
    def points(self) -> dict[ReplicaId, EntryId]: ...
    def checkpoint(self, points: Mapping[ReplicaId, EntryId]) -> LogBatch: ...


class Store:
    """Everything one process writes. Opening it raises StorageError in the words that the user sees."""

    def __init__(self, path: Path, *, name: str, role: str, engine: Kind, threaded: bool) -> None:
        self.folder = Folder.open(path, name=name, role=role)
        self.log, self.recovered = Log.open(self.folder.log_path)
        self._helper = _executor(engine)
        share = _own_share(self.folder.incarnation)
        self.checkpoint_bytes = int(limits.LOG_CHECKPOINT_BYTES * share)
        self.engine = _with_memtable(open_engine(self.folder.rows_path, engine), engine, self._helper, share)
        self.flusher: Flush = Flusher(self.log, inline_below_s=INLINE_BELOW_S) if threaded else InlineFlusher(self.log)
        self.full = False
        self.flushes = 0
        self._in_flight: tuple[int, bytes] | None = None  # ticket and batch
        self._found_full: bytes | None = None  # a batch to write again when there is room
        self._checkpointing = 0  # ticket of a checkpoint that is on its way; 0: none
        self._engine_flush: tuple[Mapping[ReplicaId, EntryId], int] | None = None  # for a checkpoint
        self._host_wants_flush = False
        self._host_flush: int | None = None  # of the engine, that the host waits for
        self._looked_ms = 0
        self._flushed_ms = 0
        self._vouched = True

    @property
    def busy(self) -> bool:
        """Whether `tend` has something to bring to an end."""
        waits = self._engine_flush is not None or self._host_flush is not None or self._host_wants_flush
        return self.engine.busy or waits or self._found_full is not None

    @property
    def behind(self) -> bool:
        """Whether the engine is: snapshots are to come more slowly, so that memory is bounded."""
        return self.engine.behind

    def write(self, effects: Effects, now_ms: int) -> None:
        """Begin the flush of the turn's log batch, if it has one."""
        if effects.log is not None:
            self._submit(self.log.encode(effects.log), now_ms)

    def apply(self, effects: Effects) -> None:
        """Bring the turn's changes to the engine. Where the turn asks for a flush, `tend` sees to it."""
        if effects.changes:
            self.engine.apply(effects.changes)
        for start, end in effects.clears:
            self.engine.drop(start, end)
        for start, end in effects.drops:
            self.engine.discard(start, end)
        self._host_wants_flush = self._host_wants_flush or effects.flush_engine

    def flushed(self) -> bool:
        """Whether the flush in flight has ended since the last call. Raises StorageError where it failed."""
        try:
            done = self.flusher.done()
        except DiskFull:
            self.full = True
            self._checkpointing = 0
            if self._in_flight is not None:
                self._found_full, self._in_flight = self._in_flight[1], None
            return False
        except FlushFailed as error:
            self.folder.mark_failed(error.what)
            raise
        if done >= self._checkpointing:
            self._checkpointing = 0
        if self._in_flight is None or done < self._in_flight[0]:
            return False
        self._in_flight = None
        self.flushes += 1
        return True

    def tend(self, host: Owner, now_ms: int, *, idle: bool = False) -> bool:
        """Between turns: flush the engine, look at the free space, try again what found none, shorten the log, vouch
        for its tail. Whether another turn is wanted at once: the host was told something, or waits for the engine."""
        was_told = self._flush_for(host)
        went_on = self.engine.tend(idle=idle)
        self._tend_log(host, now_ms)
        flush = self._host_flush
        return was_told or (flush is not None and (went_on or self.engine.is_flushed(flush)))

    def _flush_for(self, host: Owner) -> bool:
        """Bring what the host wants on disk there. Whether it is told that something is."""
        is_done = self._host_flush is not None and self.engine.is_flushed(self._host_flush)
        if is_done:
            self._host_flush = None
            host.engine_flushed()
        if self._host_wants_flush and self._host_flush is None:
            self._host_wants_flush = False
            host.engine_flush_begins()
            self._host_flush = self.engine.begin_flush(hurry=True)
        return is_done

    def _tend_log(self, host: Owner, now_ms: int) -> None:
        if now_ms - self._looked_ms >= _SPACE_LOOK_MS:
            self._looked_ms = now_ms
            self.full = self.folder.free_bytes() < limits.DISK_RESERVE_BYTES
            if self._found_full is not None:
                payload, self._found_full = self._found_full, None
                self._submit(payload, now_ms)
        if self._in_flight is not None or self._found_full is not None:
            return
        # A replica whose death is not on the engine's disk yet must not be missing from the log.
        if self._engine_flush is not None and not self._host_wants_flush and self._host_flush is None:
            self._checkpoint(host, *self._engine_flush)
        if self._checkpointing or self._engine_flush is not None:
            return
        if self.log.bytes_since_checkpoint >= self.checkpoint_bytes:
            points = host.points()
            self._engine_flush = (points, self.engine.begin_flush())
        elif not self._vouched and now_ms - self._flushed_ms >= _VOUCH_MS:
            self._vouched = True
            self.flusher.submit(self.log.encode(_NOTHING))

    def close(self) -> None:
        """A clean stop: what is in flight ends, the engine is flushed."""
        self.flusher.close()
        self.engine.flush()
        self._helper.shutdown()
        self.engine.close()
        self.log.close()
        self.folder.close()

    def _checkpoint(self, host: Owner, points: Mapping[ReplicaId, EntryId], flush: int) -> None:
        """Once the engine holds everything up to `points`, rewrite the log."""
        if self.engine.is_flushed(flush):
            self._engine_flush = None
            self._checkpointing = self.flusher.submit_checkpoint(self.log.encode(host.checkpoint(points)))

    def _submit(self, payload: bytes, now_ms: int) -> None:
        self._flushed_ms = now_ms
        self._vouched = False
        self._in_flight = (self.flusher.submit(payload), payload)


def _executor(engine: Kind) -> Executor:
    """Where the engine is flushed in the background. RocksDB lets the loop go on meanwhile."""
    return ThreadPoolExecutor(1, thread_name_prefix="engine flush") if engine == "rocksdb" else Inline()


def _own_share(incarnation: int) -> float:
    """How much of the usual gathers here before the engine is flushed or the log rewritten: 0.6 to 1.0, for good.

    The replicas of a shard get the same bytes. If all of them did so at the same amount, it would be at the same time,
    and no majority would be quick meanwhile.
    """
    return 0.6 + 0.4 * (incarnation % 1_000) / 1_000


def _with_memtable(engine: Engine, kind: Kind, executor: Executor, share: float) -> Memtable:
    """RocksDB keeps to itself what is not flushed; SQLite commits, so what goes to it at once is few rows and whole."""
    if kind == "rocksdb":
        return Memtable(engine, executor, unflushed_bytes=int(UNFLUSHED_BYTES * share))
    return Memtable(engine, executor, generation_rows=_SQLITE_ROWS, piece_rows=0)
