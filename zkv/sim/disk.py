"""A process's disk: what outlives the process, how long a flush takes, and what a crash loses.

The log is kept as it is written, encoded batch by encoded batch; what was written and not flushed when the process
dies survives whole or not at all (a torn record is cut at start). The state engine loses any number of the batches
that it had not flushed, the newest ones. That is the worst of a killed process and of a power cut.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from zkv.core.node.host import Effects
from zkv.core.raft.messages import LogBatch
from zkv.core.raft.ready import EntryId
from zkv.ids import ReplicaId
from zkv.sim.world import World
from zkv.storage.memory import MemoryEngine
from zkv.storage.replay import RecoveredReplica, Replay

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(LogBatch)


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


class Folder:
    """What is on a disk. `incarnation` names it (rule 1)."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.cluster = 0
        self.engine = MemoryEngine()
        self.log = Replay()

    def recovered(self) -> dict[ReplicaId, RecoveredReplica]:
        """The log as a start finds it."""
        return {
            replica: RecoveredReplica(held.start, held.hard_state, list(held.entries), held.commit)
            for replica, held in self.log.replicas.items()
        }


class Checkpointed(Protocol):
    """Whose log is rewritten at a checkpoint: a `Host`."""

    def points(self) -> dict[ReplicaId, EntryId]: ...
    def checkpoint(self, points: Mapping[ReplicaId, EntryId]) -> LogBatch: ...


class _Job(NamedTuple):
    body: bytes
    checkpoint: bool


class Store:
    """A running process's hold on its folder: one flush at a time, in order."""

    def __init__(
        self, world: World, folder: Folder, rng: random.Random, speed: DiskSpeed, wake: Callable[[], None]
    ) -> None:
        self.folder = folder
        self.engine = folder.engine
        self.full = False
        self.flushes = 0
        self.checkpoint_bytes = rng.choice([4_000, 30_000, 300_000])
        self._world = world
        self._rng = rng
        self._speed = speed
        self._wake = wake
        self._jobs: deque[_Job] = deque()
        self._finished = False  # the batch's flush is done and not yet told
        self._since_checkpoint = 0
        self._dead = False

    def write(self, effects: Effects) -> None:
        """Begin the flush of the turn's log batch, if it has one."""
        if effects.log is None:
            return
        assert not any(not job.checkpoint for job in self._jobs), "two batches are in flight"
        self._submit(_Job(_encode(effects.log), checkpoint=False))

    def apply(self, effects: Effects) -> None:
        """Bring the turn's changes to the engine, and flush it where the turn asks for that."""
        if effects.changes:
            self.engine.apply(effects.changes)
        for start, end in effects.drops:
            self.engine.drop(start, end)
        if effects.flush_engine:
            self.engine.flush()

    def flushed(self) -> bool:
        """Whether the flush of a batch has ended since the last call."""
        finished, self._finished = self._finished, False
        return finished

    def tend(self, host: Checkpointed) -> None:
        """Between turns: shorten the log."""
        if not self._jobs and not self._finished and self._since_checkpoint >= self.checkpoint_bytes:
            points = host.points()
            self.engine.flush()
            self._since_checkpoint = 0
            self._submit(_Job(_encode(host.checkpoint(points)), checkpoint=True))

    def crash(self) -> None:
        """The process is dead: of what was not flushed, some is lost."""
        self._dead = True
        survivors = self._rng.randrange(0, len(self._jobs) + 1)
        for job in list(self._jobs)[:survivors]:
            self._keep(job)
        self.engine.crash(self._rng.randrange(0, self.engine.unflushed + 1))

    def stop(self) -> None:
        """A clean stop: what is in flight ends, and the engine is flushed."""
        self._dead = True
        for job in self._jobs:
            self._keep(job)
        self.engine.flush()

    def _submit(self, job: _Job) -> None:
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._world.after(self._speed.draw_us(self._rng), self._finish)

    def _finish(self) -> None:
        if self._dead:
            return
        job = self._jobs.popleft()
        self._keep(job)
        self.flushes += 1
        if self._jobs:
            self._world.after(self._speed.draw_us(self._rng), self._finish)
        if not job.checkpoint:
            self._finished = True
            self._wake()

    def _keep(self, job: _Job) -> None:
        """It is on disk."""
        if job.checkpoint:
            self.folder.log = Replay()
        else:
            self._since_checkpoint += len(job.body)
        self.folder.log.apply(_decoder.decode(job.body))
        self.folder.log.check()
