"""One process under the real restarter, with what it said."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.waits import wait_until

ROOT = Path(__file__).parents[2]
_STOP_S = 20.0


class Supervised:
    """`command` under `python -m zkv.server.restarter`, from here to the end of the `with` block."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self._log = log
        words = [sys.executable, "-m", "zkv.server.restarter", name, "--", *command]
        with log.open("ab") as into:
            self._process = subprocess.Popen(words, stdout=into, stderr=into, cwd=ROOT)

    def said(self) -> str:
        """All that the process and its restarter have written."""
        return self._log.read_text()

    def wait_until_said(self, words: str, *, times: int = 1) -> None:
        """Block until it has said that, so many times."""
        wait_until(lambda: self.said().count(words) >= times, f"{words!r} is said {times} times")

    def stop(self) -> int:
        """SIGTERM; the exit status of the restarter: the child's where that was final, else 0."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.stop()


def ill(ailment: str, value: object, command: Sequence[str]) -> list[str]:
    """A command line of `Cluster.command`, on a machine that is ill (tests.cluster.ill)."""
    python, _, module, *words = command
    assert module == "zkv.cli.main"
    return [python, "-m", "tests.cluster.ill", ailment, str(value), "--", *words]
