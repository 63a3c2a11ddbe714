"""The processes of the load: started, watched, told to stop."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from zkv.chaos.failure import ChaosFailed
from zkv.chaos.load import LoadSettings

_END_S = 45.0  # far beyond the longest deadline of a request


class Crew:
    """Some processes of the load. They end by themselves when this process is gone: their stdin then ends."""

    def __init__(self, settings: list[LoadSettings], folder: Path) -> None:
        self._logs = [folder / f"load-{one.name}.log" for one in settings]
        self._processes = [_start(one, log) for one, log in zip(settings, self._logs, strict=True)]

    def watch(self) -> None:
        """Raises ChaosFailed where one has ended, which none does before it is told to."""
        for process, log in zip(self._processes, self._logs, strict=True):
            if process.poll() is not None:
                raise ChaosFailed(f"a process of the load ended with exit status {process.returncode}: see {log}")

    def stop(self) -> None:
        """Tell all to stop, and wait for their last answers. Raises ChaosFailed where one did not end well."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process, log in zip(self._processes, self._logs, strict=True):
            try:
                status = process.wait(_END_S)
            except subprocess.TimeoutExpired:
                raise ChaosFailed(f"a request did not end by its deadline: see {log}") from None
            if status:
                raise ChaosFailed(f"a process of the load ended with exit status {status}: see {log}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()  # its pipe is closed too


def _start(settings: LoadSettings, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "zkv.chaos.load", msgspec.json.encode(settings).decode()]
    with log.open("wb") as output:
        # A session of its own, so that Ctrl-C reaches the run alone, which then ends the others.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True)
