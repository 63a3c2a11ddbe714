"""Ends what a test has started when the test's process is gone, however it went: kill -9 leaves nobody to clean up.

The warden is the leader of the process group that all processes of one cluster belong to. Its input is a pipe of which
only their owner has the other end. At the end of that input it kills the group, and deletes the folder if it is a
temporary one. It runs as a plain script and imports nothing of zkv, so it costs a test 20 ms.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_END_S = 10.0


class Warden:
    """The owner's side. `group`: the process group for whatever shall not outlive this process."""

    def __init__(self, temporary: Path | None) -> None:
        command = [sys.executable, "-S", __file__, "" if temporary is None else str(temporary)]
        # Of our session, so that others may join its group; in a group of its own, so that Ctrl-C does not reach them.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
        self.group = self._process.pid

    def dismiss(self) -> None:
        """Let it end whatever is left, and end itself. May be called twice."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_END_S)


def keep_watch(temporary: str) -> None:
    """Wait for the end of the input, then end the whole group, this process last."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what a group gets that is orphaned while a member is stopped
    while sys.stdin.buffer.read(4096):
        continue
    group = os.getpgrp()
    if os.fork():
        signal.pause()  # until the other half, which is not of the group any more, kills this one with the others
    os.setpgid(0, 0)
    os.killpg(group, signal.SIGKILL)
    if temporary:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    keep_watch(sys.argv[1])
