"""The thread that owns a sync client's sockets: it combines what all threads ask into one message a node and turn.

Callers append to a deque and wake the thread only if it sleeps: while it works it looks again before it does.
"""

import os
import socket
import threading
import time
from collections import deque
from typing import Final

from zkv.client.turns import Turns
from zkv.client.waiting import Relay, Waiting
from zkv.core.routing.operations import Request
from zkv.core.routing.router import CLOSED
from zkv.errors import InvalidRequest, Unavailable

_RELAY_MS: Final = 2  # how long those who wake one another may take before they are helped along
_TAKE_MAX: Final = 10_000  # requests taken in before what they lead to is sent


class IoThread:
    """Runs turns until stopped. `submit` may be called by any thread; all else belongs to the thread itself."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.relay = Relay(self._all_woken)
        self._inbox: deque[tuple[Request[object], Waiting[object], int, int]] = deque()
        self._asleep = False
        self._stopping = False
        self._process = os.getpid()
        self._wake_end, self._sleep_end = socket.socketpair()
        for end in (self._wake_end, self._sleep_end):
            end.setblocking(False)
        turns.waiting.add(self._sleep_end)
        self._thread = threading.Thread(target=self._run, name="zkv-client", daemon=True)
        self._thread.start()

    def submit(self, request: Request[object], waiting: Waiting[object], deadline_ms: int, asked_ms: int) -> None:
        """Hand a request over. Raises InvalidRequest after `stop` and in a forked child."""
        if self._process != os.getpid():
            raise InvalidRequest("a client does not survive a fork: its thread is in the parent; connect in the child")
        if self._stopping:
            raise InvalidRequest("the client is closed")
        self._inbox.append((request, waiting, deadline_ms, asked_ms))
        if self._asleep and not self.relay:  # else the last who is woken wakes it
            self._asleep = False  # one wakes it: those who ask before it has the GIL need not
            self._wake()
        if not self._thread.is_alive():
            self._give_up()  # it ended between the check above and the append

    def stop(self, *, wait: bool = True) -> None:
        """End the thread; what is outstanding ends with Unavailable. `wait`: return when its sockets are closed."""
        self._stopping = True
        if self._process != os.getpid():
            return
        self._wake()
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def _wake(self) -> None:
        try:
            self._wake_end.send(b"w")
        except (BlockingIOError, OSError):
            return  # it is full, so the thread will wake; or closed, so the thread has ended

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            # Also when a turn failed: nobody may wait for ever for a thread that is gone.
            self._stopping = True
            self._give_up()
            self._turns.close()
            self._wake_end.close()
            self._sleep_end.close()

    def _turn(self) -> None:
        turns = self._turns
        self._asleep = True
        if self.relay:
            ready = turns.wait(most_ms=_RELAY_MS)
        else:
            ready = turns.wait(most_ms=0) if self._inbox else turns.wait()
        self._asleep = False
        if self._sleep_end in ready:
            self._sleep_end.recv(4_096)
            self._let_ask()
        now = turns.receive(ready)
        inbox, submit = self._inbox, turns.router.submit
        for _ in range(min(len(inbox), _TAKE_MAX)):
            request, waiting, deadline_ms, asked_ms = inbox.popleft()
            submit(request, waiting, deadline_ms, asked_ms)
        turns.send(now)
        for token, outcome in turns.finished():
            token.bring(outcome)  # type: ignore[attr-defined]  # tokens are the Waitings that `submit` took
        if self.relay:
            self.relay.pass_on()

    def _all_woken(self) -> None:
        """Everybody who was answered has been woken: what they have asked since waits for us."""
        if self._asleep and self._inbox:
            self._asleep = False
            self._wake()

    def _let_ask(self) -> None:
        """Let the threads that are about to ask do so: what they ask travels together."""
        asked = -1
        while asked < len(self._inbox) < _TAKE_MAX:
            asked = len(self._inbox)
            time.sleep(0)

    def _give_up(self) -> None:
        for token, outcome in self._turns.router.abandon():
            token.bring(outcome)  # type: ignore[attr-defined]  # as above
        while self._inbox:
            self._inbox.popleft()[1].bring(Unavailable(CLOSED))
        self.relay.wake_all()
