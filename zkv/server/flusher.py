"""The flush beside the loop: one thread that does nothing but wait for the disk.

The loop submits an encoded batch, goes on, and sees the completion on `fileno`, which it polls with its sockets. Its
rule is that one batch is in flight at most; what comes up meanwhile gathers for the next. `InlineFlusher` flushes in
`submit` and has the same face.

Measured (two cores, ext4 on a virtio disk, 64 entries of 130 bytes a batch, a loop that computes for 0.2 ms and then
polls; from `submit` until the loop sees the end; flushes a second and p50 / p99 in ms; noise of a third):

    inline                                2,400    0.36 / 1.1   (the loop stands still for 0.15 of each)
    thread, switch interval 5 ms             44    0.51 / 750   (Python's default)
    thread, switch interval 1 ms            850    0.53 / 13
    thread, switch interval 0.2 ms        1,450    0.60 / 4.2
    thread, switch interval 0.02 ms         720    0.45 / 6.6
    kernel AIO fdatasync, no thread         310    4.0  / 7.5   (its kernel worker waits for the loop's core)
    a helper process                      2,200    0.24 / 8.0

With an idle loop all take 0.11-0.19 / 0.4-1.5. A waiter for the GIL starves under the default interval: a loop that
lets go of the GIL for moments, as each socket call does, makes it start its 5 ms anew each time. Hence SWITCH_S.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from zkv.errors import StorageError
from zkv.storage.log import Log

SWITCH_S = 0.0002  # see above: how long the flush thread waits before it insists on the GIL
INLINE_BELOW_S = 0.001
_COST_OVER_FLUSHES = 16
_WAKE = b"\x01\0\0\0\0\0\0\0"  # what an eventfd takes; a socket takes any bytes


class Flush(Protocol):
    """How a loop puts batches on disk. A ticket numbers each call, from 1 on; they finish in order."""

    def submit(self, payload: bytes) -> int:
        """Write and flush one encoded batch (`Log.encode`)."""
        ...

    def submit_checkpoint(self, payload: bytes) -> int:
        """Begin the log anew with one encoded batch (`Log.checkpoint`)."""
        ...

    def fileno(self) -> int:
        """Readable once something finished since the last `done`."""
        ...

    def done(self) -> int:
        """The highest ticket that is on disk. Raises what the log raised: DiskFull, FlushFailed."""
        ...

    def close(self) -> None:
        """Finish what was submitted; then give everything but the log back."""
        ...


class _Bell:
    """Something to poll that one thread rings and another answers."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            ends = socket.socketpair()
            for end in ends:
                end.setblocking(False)
            self._reader, self._writer = (end.detach() for end in ends)

    def fileno(self) -> int:
        return self._reader

    def ring(self) -> None:
        try:
            os.write(self._writer, _WAKE)
        except BlockingIOError:  # it rings so loud already that nobody can miss it
            return

    def silence(self) -> None:
        try:
            os.read(self._reader, 4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        for end in {self._reader, self._writer}:
            os.close(end)


class InlineFlusher:
    """Flushes in `submit`, so the loop stands still meanwhile; nothing is handed over."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._bell = _Bell()
        self._submitted = 0
        self._done = 0
        self._error: StorageError | None = None

    def submit(self, payload: bytes) -> int:
        return self._run(self._log.write, payload)

    def submit_checkpoint(self, payload: bytes) -> int:
        return self._run(self._log.checkpoint, payload)

    def fileno(self) -> int:
        return self._bell.fileno()

    def done(self) -> int:
        self._bell.silence()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._done

    def close(self) -> None:
        self._bell.close()

    def _run(self, job: Callable[[bytes], None], payload: bytes) -> int:
        self._submitted += 1
        if self._error is None:
            try:
                job(payload)
                self._done = self._submitted
            except StorageError as error:
                self._error = error
        self._bell.ring()
        return self._submitted


class Flusher:
    """Flushes in a thread of its own. It takes the GIL only to fetch a batch, between file calls, and to ring.

    While flushes have lately taken less than `inline_below_s`, and none is in flight, `submit` flushes itself: handing
    over costs more than such a flush, above all in the tail (the figures: module docstring). 0 hands over always.

    When a call failed, `done` raises its error, and whatever was submitted after it is dropped unwritten: a log has no
    gaps. After DiskFull the owner submits all of it again, from the failed call on.
    """

    def __init__(
        self, log: Log, *, inline_below_s: float = 0.0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._log = log
        self._inline_below_s = inline_below_s
        self._clock = clock
        self._bell = _Bell()
        self._rung = False  # since the last `done`
        self._jobs: SimpleQueue[tuple[Callable[[bytes], None], bytes, int] | None] = SimpleQueue()
        self._submitted = 0
        self._done = 0
        self._cost_s = 0.0
        self._error: StorageError | None = None
        self._failed_at = 0  # tickets up to this one are not to be run
        sys.setswitchinterval(SWITCH_S)
        self._thread = threading.Thread(target=self._run, name="flush", daemon=True)
        self._thread.start()

    @property
    def cost_s(self) -> float:
        """How long a flush takes lately, in seconds."""
        return self._cost_s

    def submit(self, payload: bytes) -> int:
        return self._put(self._log.write, payload)

    def submit_checkpoint(self, payload: bytes) -> int:
        return self._put(self._log.checkpoint, payload, long=True)

    def fileno(self) -> int:
        return self._bell.fileno()

    def done(self) -> int:
        if self._rung:
            self._rung = False
            self._bell.silence()
        if self._error is not None:
            error = self._error
            self._failed_at = self._submitted
            self._error = None
            raise error
        return self._done

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._bell.close()

    def _put(self, job: Callable[[bytes], None], payload: bytes, *, long: bool = False) -> int:
        idle = self._done == self._submitted  # the thread is through with the log
        self._submitted += 1
        if idle and not long and self._cost_s < self._inline_below_s:
            self._do(job, payload, self._submitted)
        else:
            self._jobs.put((job, payload, self._submitted))
        return self._submitted

    def _run(self) -> None:
        while (taken := self._jobs.get()) is not None:
            if self._error is None and taken[2] > self._failed_at:
                self._do(*taken)

    def _do(self, job: Callable[[bytes], None], payload: bytes, ticket: int) -> None:
        begun = self._clock()
        try:
            job(payload)
            if job == self._log.write:
                self._cost_s += (self._clock() - begun - self._cost_s) / _COST_OVER_FLUSHES
            self._done = ticket
        except StorageError as error:
            self._error = error
        self._bell.ring()
        self._rung = True  # after it rang: whoever sees this finds something to silence
