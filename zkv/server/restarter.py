"""Keeps one process running: `python -m zkv.server.restarter NAME -- COMMAND...`

A child that dies is started again, after a pause that doubles while it dies young. One that ended with a final status
(`zkv.server.exits`), above all because its disk cannot be trusted (rule 4), is not: it has said why, and only
an operator may let it go on. The restarter then stays until it is stopped itself, so that a supervisor above it leaves
the other processes alone. SIGTERM and SIGINT reach the child as SIGTERM; the restarter ends when it has ended.
"""

import logging
import select
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

from zkv.server import exits
from zkv.server.logs import begin_logging

PAUSE_S_MIN = 0.2
PAUSE_S_MAX = 10.0
STEADY_S = 10.0  # a child that lived this long starts again with the shortest pause

log = logging.getLogger(__name__)


def next_pause_s(pause_s: float, lived_s: float) -> float:
    """How long to wait before the next start, given the last wait (0.0: none yet) and how long the child lived."""
    if lived_s >= STEADY_S or not pause_s:
        return PAUSE_S_MIN
    return min(2 * pause_s, PAUSE_S_MAX)


class Restarter:
    """One child at a time. Owned by the main thread, whose signal handlers and wakeup descriptor it takes."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._woken, waker = socket.socketpair()
        waker.setblocking(False)
        self._waker = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self) -> int:
        """Until a signal asks for the end. The exit status: 0, or that of a child that may not start again."""
        pause_s = 0.0
        while not self._stopping:
            begun = time.monotonic()
            status = self._run_child()
            if self._stopping:
                break
            if not exits.may_restart(status):
                log.warning("%s; not started again: mend it, then stop all and start again", _ending(status))
                self._pause(None)
                return status
            pause_s = next_pause_s(pause_s, time.monotonic() - begun)
            log.warning("%s; starting again in %.1f s", _ending(status), pause_s)
            self._pause(pause_s)
        return 0

    def _run_child(self) -> int:
        self._child = subprocess.Popen(self._command)
        if self._stopping:  # the signal came before there was a child to pass it to
            self._child.terminate()
        return self._child.wait()

    def _pause(self, seconds: float | None) -> None:
        """Wait, but not past a signal; None: only for a signal."""
        if not self._stopping:
            select.select([self._woken], [], [], seconds)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stopping = True
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()


def _ending(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    if status == exits.Exit.STORAGE:
        return f"ended with exit status {status}: its data folder needs an operator (docs/operations.md)"
    return f"ended with exit status {status}"


def main(arguments: list[str]) -> int:
    """The command line; the exit status."""
    if len(arguments) < 3 or arguments[1] != "--":
        sys.stderr.write("usage: python -m zkv.server.restarter NAME -- COMMAND...\n")
        return exits.Exit.USAGE
    name, _, *command = arguments
    begin_logging(name)
    try:
        return Restarter(command).run()
    except FileNotFoundError:
        log.error("there is no command %s", command[0])
        return exits.Exit.FAILED


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
