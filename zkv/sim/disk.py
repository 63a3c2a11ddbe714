"""A process's disk: what outlives the process, how long a flush takes, and what a crash loses.

The log is the real one, on files in memory (`SimDisk`): what was written and not flushed when the process dies may be
there, be gone or be torn, and a flipped bit is for the real recovery to find. The state engine loses any number of the
batches that it had not flushed, the newest ones.

Beside the log's bytes there is an account of what they must say. Whatever a start finds is compared with that.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from zkv.core.node.host import Effects
from zkv.core.raft.messages import LogBatch
from zkv.core.raft.ready import EntryId
from zkv.ids import ReplicaId
from zkv.sim.files import PowerCut, SimDisk
from zkv.sim.world import Violation, World
from zkv.storage import segments
from zkv.storage.faults import DiskFull, FlushFailed
from zkv.storage.log import Log
from zkv.storage.memory import MemoryEngine
from zkv.storage.replay import RecoveredReplica, Replay
from zkv.storage.segment_file import SUFFIX
from zkv.storage.segments import HEADER_BYTES

_LOG = Path("log")
_SPACE_LOOK_MS = 500
_VOUCH_MS = 1_000
_CALLS_OF_A_FLUSH = 4  # to the disk; a checkpoint has more
_NOTHING = LogBatch(())
_EMPTY_BODY = msgspec.msgpack.encode(_NOTHING)
_NEVER_MS = 1 << 62


@dataclass(slots=True)
class DiskSpeed:
    """How long a flush takes. `hiccup`: how often one takes `hiccup_us`."""

    flush_us: int = 500
    hiccup: float = 0.0
    hiccup_us: int = 0

    def draw_us(self, rng: random.Random) -> int:
        """The time of one flush."""
        if self.hiccup and rng.random() < self.hiccup:
            return rng.randrange(self.hiccup_us // 4, self.hiccup_us)
        return int(self.flush_us * (0.5 + rng.random()))


class Kind(Enum):
    """What is written to the log."""

    BATCH = 0
    CHECKPOINT = 1
    VOUCH = 2


class _Job(NamedTuple):
    kind: Kind
    batch: LogBatch
    payload: bytes


class Folder:
    """What is on a disk. `incarnation` names it (rule 1). `spoiled`: it was harmed, so a start may refuse it."""

    def __init__(self, incarnation: int, rng: random.Random) -> None:
        self.incarnation = incarnation
        self.cluster = 0
        self.engine = MemoryEngine()
        self.disk = SimDisk(rng)
        self.low = False  # its free space is below the reserve
        self.spoiled = False
        self.refused = ""  # why its process does not start
        self.says = Replay()  # what its log must say
        self.may_say: Replay | None = None  # or this, if the batch that was being written is there
        self._rng = rng
        self._segment_bytes = rng.choice([8_000, 40_000, 200_000])

    def open(self) -> tuple[Log, dict[ReplicaId, RecoveredReplica]]:
        """The log, and what a start finds in it. Raises Damaged, DiskFull; Violation where it finds anything false."""
        log, found = Log.open(_LOG, segment_bytes=self._segment_bytes, disk=self.disk)
        for account in (self.says, self.may_say):
            if account is not None and account.replicas == found.replicas:
                self.says, self.may_say = account, None
                return log, _copy(account).replicas
        raise Violation(f"a log was opened without complaint, and does not hold what was written: {found.replicas}")

    def keep(self, job: _Job) -> None:
        """The job is on disk."""
        if job.kind is Kind.CHECKPOINT:
            self.says = Replay()
        self.says.apply(job.batch)

    def may_keep(self, job: _Job) -> None:
        """The job was being written when the process died."""
        self.may_say = Replay() if job.kind is Kind.CHECKPOINT else _copy(self.says)
        self.may_say.apply(job.batch)

    def flip(self) -> str:
        """Turn a bit of the log, where that must be found: not in a last record that nothing vouches for (rule 4)."""
        paths = sorted(self.disk.files(_LOG, SUFFIX))
        path = self._rng.choice(paths)
        data = self.disk.read(path)
        spared = _unvouched(data) if path == paths[-1] else range(0)
        offset = self._rng.randrange(len(data) if self._rng.random() < 0.2 else _used(data))
        if offset in spared:
            return ""
        self.disk.flip(path, offset)
        self.spoiled = True
        return f"bit of byte {offset} of {path.name} turned"

    def lose_rows(self) -> str:
        """The state engine's files are gone; the log is there (rule 1)."""
        self.engine = MemoryEngine()
        self.spoiled = True
        return "its state rows are gone"


def _copy(account: Replay) -> Replay:
    copied = Replay()
    for replica, held in account.replicas.items():
        copied.replicas[replica] = RecoveredReplica(held.start, held.hard_state, list(held.entries), held.commit)
    return copied


def _used(data: bytes) -> int:
    return max(HEADER_BYTES, len(data.rstrip(b"\0")))


def _unvouched(data: bytes) -> range:
    """Where the last record is, unless it is empty and so only vouches for those before it."""
    header = segments.decode_header(data)
    ends = [HEADER_BYTES]
    last = b""
    if header is not None:
        for end, body in segments.records(data, header):
            ends.append(end)
            last = body
    return range(ends[-2], ends[-1]) if len(ends) > 1 and last != _EMPTY_BODY else range(0)


class Owner(Protocol):
    """Whose rows are flushed, and whose log is rewritten at a checkpoint: a `Host`."""

    def engine_flush_begins(self) -> None: ...
    def engine_flushed(self) -> None: ...
    def points(self) -> dict[ReplicaId, EntryId]: ...
    def checkpoint(self, points: Mapping[ReplicaId, EntryId]) -> LogBatch: ...


class Store:
    """A running process's hold on its folder, as `zkv.server.store`: one flush at a time, in order.

    Opening it raises what the log raises. `failed` is called when a flush fails, which ends the process for good.
    """

    def __init__(  # all that a disk hangs on
        self,
        world: World,
        folder: Folder,
        rng: random.Random,
        speed: DiskSpeed,
        *,
        wake: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        self.folder = folder
        self.engine = folder.engine
        self.log, self.recovered = folder.open()
        self.full = False
        self.checkpoint_bytes = rng.choice([4_000, 30_000, 300_000])
        self._world = world
        self._rng = rng
        self._speed = speed
        self._wake = wake
        self._failed = failed
        self._jobs: deque[_Job] = deque()
        self._found_full: _Job | None = None  # to be written again when there is room
        self._points: Mapping[ReplicaId, EntryId] | None = None  # of a checkpoint for which the engine is flushed
        self._engine_flushed = False
        self._host_wants_flush = self._host_flush_runs = self._host_flush_ended = False
        self._finished = False  # the batch's flush is done and not yet told
        self._dead = False
        self._vouched = True
        self._flushed_ms = 0
        self._looked_ms = 0

    @property
    def behind(self) -> bool:
        """Here the engine always is, as long as a flush of it runs."""
        return self._host_flush_runs or self._points is not None

    def write(self, effects: Effects, now_ms: int) -> None:
        """Begin the flush of the turn's log batch, if it has one."""
        if effects.log is not None:
            assert not self._in_flight, "two batches are in flight"
            self._vouched = False
            self._flushed_ms = now_ms
            self._submit(Kind.BATCH, effects.log)

    def apply(self, effects: Effects) -> None:
        """Bring the turn's changes to the engine. Where the turn asks for a flush, `tend` sees to it."""
        if effects.changes:
            self.engine.apply(effects.changes)
        for start, end in effects.clears:
            self.engine.drop(start, end)
        if effects.drops:
            self._world.after(self._speed.draw_us(self._rng), lambda: self._drop(effects.drops))
        self._host_wants_flush = self._host_wants_flush or effects.flush_engine

    def flushed(self) -> bool:
        """Whether the flush of a batch has ended since the last call."""
        finished, self._finished = self._finished, False
        return finished

    def tend(self, host: Owner, now_ms: int) -> None:
        """Between turns: flush the engine, look at the free space, try again what found none, shorten the log, vouch
        for its tail."""
        if self._host_flush_ended or self._host_wants_flush:
            self._flush_for(host)
        if now_ms - self._looked_ms >= _SPACE_LOOK_MS:
            self._looked_ms = now_ms
            self.full = self.folder.low
            if self._found_full is not None:
                job, self._found_full = self._found_full, None
                self._enqueue(job)
        if self._jobs or self._finished or self._found_full is not None:
            return
        if self._points is not None and not (self._host_wants_flush or self._host_flush_runs):
            self._checkpoint(host, self._points)
        elif self._points is not None:
            return
        elif self.log.bytes_since_checkpoint >= self.checkpoint_bytes:
            self._points = host.points()
            mark = self.engine.mark
            self._world.after(self._speed.draw_us(self._rng), lambda: self._flush_engine(mark))
        elif not self._vouched and now_ms - self._flushed_ms >= _VOUCH_MS:
            self._vouched = True
            self._submit(Kind.VOUCH, _NOTHING)

    def next_ms(self) -> int:
        """When `tend` next has something to do, if no turn comes first."""
        if self._found_full is not None or self.full != self.folder.low:
            return self._looked_ms + _SPACE_LOOK_MS
        return _NEVER_MS if self._vouched else self._flushed_ms + _VOUCH_MS

    def crash(self, *, power: bool) -> None:
        """The process is dead, and with `power` its machine was: of what was not flushed, some is lost."""
        self._dead = True
        if self._jobs:
            job = self._jobs[0]
            self.folder.disk.cut_power_within(self._rng.randrange(1 + _CALLS_OF_A_FLUSH * (1 + job.kind.value)))
            try:
                self._put(job)
            except (PowerCut, DiskFull, FlushFailed):
                self.folder.may_keep(job)
        if power:
            self.folder.disk.lose_power()
        else:
            self.folder.disk.end_process()
        self.engine.crash(self._rng.randrange(0, self.engine.unflushed + 1))  # what it had not flushed was in memory

    def stop(self) -> None:
        """A clean stop: what is in flight ends, and the engine is flushed; or a flush fails on the way."""
        self._dead = True
        for job in self._jobs:
            try:
                self._put(job)
            except DiskFull:
                break
            except FlushFailed:
                self._failed()
                return
        self.folder.disk.end_process()
        self.engine.flush()

    @property
    def writing(self) -> bool:
        """Whether a batch is on its way to the disk."""
        return self._in_flight and not self._dead

    @property
    def _in_flight(self) -> bool:
        return self._found_full is not None or any(job.kind is Kind.BATCH for job in self._jobs)

    def _drop(self, ranges: list[tuple[bytes, bytes]]) -> None:
        if not self._dead:
            for start, end in ranges:
                self.engine.drop(start, end)

    def _flush_for(self, host: Owner) -> None:
        """Bring what the host wants on disk there, and tell it."""
        if self._host_flush_ended:
            self._host_flush_runs = self._host_flush_ended = False
            host.engine_flushed()
            self._wake()
        if self._host_wants_flush and not self._host_flush_runs:
            self._host_wants_flush, self._host_flush_runs = False, True
            host.engine_flush_begins()
            mark = self.engine.mark
            self._world.after(self._speed.draw_us(self._rng), lambda: self._end_host_flush(mark))

    def _end_host_flush(self, mark: int) -> None:
        if not self._dead:
            self.engine.flush_to(mark)
            self._host_flush_ended = True
            self._wake()

    def _checkpoint(self, host: Owner, points: Mapping[ReplicaId, EntryId]) -> None:
        if self._engine_flushed:
            self._points, self._engine_flushed = None, False
            self._submit(Kind.CHECKPOINT, host.checkpoint(points))

    def _flush_engine(self, mark: int) -> None:
        """It covers what the engine held when it began, and no more."""
        if not self._dead:
            self.engine.flush_to(mark)
            self._engine_flushed = True
            self._wake()

    def _submit(self, kind: Kind, batch: LogBatch) -> None:
        self._enqueue(_Job(kind, batch, Log.encode(batch)))

    def _enqueue(self, job: _Job) -> None:
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._world.after(self._speed.draw_us(self._rng), self._finish)

    def _finish(self) -> None:
        if self._dead:
            return
        job = self._jobs.popleft()
        if self._jobs:
            self._world.after(self._speed.draw_us(self._rng), self._finish)
        try:
            self._put(job)
        except DiskFull:
            self.full = True
            self._found_full = job if job.kind is Kind.BATCH else None
        except FlushFailed:
            self._dead = True
            self._failed()
            return
        else:
            self._finished = self._finished or job.kind is Kind.BATCH
        self._wake()

    def _put(self, job: _Job) -> None:
        """Write it for real; then it is on disk."""
        if job.kind is Kind.CHECKPOINT:
            self.log.checkpoint(job.payload)
        else:
            self.log.write(job.payload)
        self.folder.keep(job)
