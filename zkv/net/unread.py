"""Bounds in bytes for what was sent and not taken (rule 17): ZeroMQ's own bounds are in messages, of any size.

ZeroMQ tells when a message that is tracked has gone to the system. Messages leave in order, so one tracked message in
UNREAD_GRANULE_BYTES tells it of all before it too, and costs a fast reader's answers next to nothing.
"""

from collections import deque

import zmq

from zkv import limits
from zkv.net import drain

_SWEEP_MS = 1_000
_SHARE = limits.UNREAD_BYTES_PER_CLIENT_MAX


class Unread:
    """What waits for one receiver. Invariant: `bytes` is no less than what ZeroMQ holds of all that `sent` was told."""

    __slots__ = ("_loose", "_tracked", "bytes", "bytes_max", "touched")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = limits.UNREAD_GRANULE_BYTES  # for what may wait from before it was known
        self.touched = True  # since the last sweep
        self._loose = self.bytes  # of these, what no tracked message tells of yet: the first message is tracked
        self._tracked: deque[tuple[zmq.MessageTracker, int]] = deque()

    def waits(self) -> bool:
        """Whether a tracked message waits; `bytes` is brought up to date."""
        tracked = self._tracked
        while tracked and tracked[0][0].done:
            self.bytes -= tracked.popleft()[1]
        return bool(tracked)

    def admits(self, size: int) -> bool:
        """Whether a message of that size may go. One may always where no tracked one waits, whatever its size."""
        return not self.waits() or self.bytes + size <= self.bytes_max

    def frame(self, body: bytes) -> bytes | zmq.Frame:
        """The message to send, tracked if it is time for that."""
        if self._loose + len(body) < limits.UNREAD_GRANULE_BYTES:
            return body
        return zmq.Frame(body, track=True, copy=False, copy_threshold=0)

    def sent(self, frame: bytes | zmq.Frame) -> None:
        """That frame was handed over."""
        size = len(frame)
        self.touched = True
        self.bytes += size
        self._loose += size
        if isinstance(frame, zmq.Frame):
            assert isinstance(frame.tracker, zmq.MessageTracker)
            self._tracked.append((frame.tracker, self._loose))
            self._loose = 0


class Receivers:
    """Who is answered over one ROUTER: none holds more than its share of this process's memory, nor do all together.

    What does not fit is dropped and counted; who asked for it asks again. `crowded` has the receivers that hold half
    of their share and more: better not to work for them before they have read.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.dropped = 0
        self.bytes = 0
        self.crowded: set[bytes] = set()
        self._socket = socket
        self._unread: dict[bytes, Unread] = {}
        self._sweep_at_ms = 0

    def send(self, receiver: bytes, body: bytes) -> None:
        """Send to one receiver, or drop."""
        unread = self._unread.get(receiver)
        if unread is None:
            unread = self._unread[receiver] = Unread(_SHARE)
            self.bytes += unread.bytes
        unread.bytes_max = _SHARE if self.bytes < limits.UNREAD_BYTES_MAX else limits.UNREAD_SPARE_BYTES
        before = unread.bytes
        if unread.admits(len(body)) and drain.answer(self._socket, receiver, frame := unread.frame(body)):
            unread.sent(frame)
            if unread.bytes > _SHARE // 2:
                self.crowded.add(receiver)
        else:
            self.dropped += 1
        self.bytes += unread.bytes - before

    def tend(self, now_ms: int) -> None:
        """Between turns: who has read, and who is gone or has nothing waiting."""
        for receiver in list(self.crowded):
            self._look(receiver)
        if now_ms < self._sweep_at_ms:
            return
        self._sweep_at_ms = now_ms + _SWEEP_MS
        for receiver, unread in list(self._unread.items()):
            if not self._look(receiver) and not unread.touched:
                self.bytes -= unread.bytes
                del self._unread[receiver]
            unread.touched = False

    def _look(self, receiver: bytes) -> bool:
        """Whether something waits for that receiver."""
        unread = self._unread[receiver]
        before, waits = unread.bytes, unread.waits()
        self.bytes += unread.bytes - before
        if unread.bytes <= _SHARE // 2:
            self.crowded.discard(receiver)
        return waits
