"""The restarter, with children of a few lines: who is started again, who is not, and what a signal does."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zkv.server.exits import Exit
from zkv.server.restarter import PAUSE_S_MAX, PAUSE_S_MIN, STEADY_S, next_pause_s

WITHIN_S = 20.0
# A child that writes its pid on a new line of a file, and then does what the test says.
CHILD = "import os, sys, time, signal; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); "


class Restarted:
    """A restarter under test, and the pids of its children so far."""

    def __init__(self, folder: Path, then: str) -> None:
        self.pids_file = folder / "pids"
        command = [sys.executable, "-m", "zkv.server.restarter", "child", "--"]
        command += [sys.executable, "-c", CHILD + then, str(self.pids_file)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self.lines.extend, args=(iter(self.process.stderr.readline, ""),))
        self._reader.start()

    def pids(self) -> list[int]:
        return [int(line) for line in self.pids_file.read_text().splitlines()] if self.pids_file.exists() else []

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < end, f"children {self.pids()}, said {self.lines}"
            time.sleep(0.01)

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.pids():
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def restart(tmp_path: Path) -> Iterator[Callable[[str], Restarted]]:
    begun: list[Restarted] = []

    def begin(then: str) -> Restarted:
        begun.append(Restarted(tmp_path, then))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


def test_a_child_that_is_killed_comes_back(restart: Callable[[str], Restarted]) -> None:
    running = restart("signal.pause()")
    running.wait_until(lambda: len(running.pids()) == 1)
    os.kill(running.pids()[0], signal.SIGKILL)
    running.wait_until(lambda: len(running.pids()) == 2)
    assert running.process.poll() is None
    assert "WARNING child killed by SIGKILL; starting again in 0.2 s" in running.lines[0]


def test_a_child_that_crashes_is_started_again_ever_more_slowly(restart: Callable[[str], Restarted]) -> None:
    running = restart("sys.exit(1)")
    running.wait_until(lambda: len(running.lines) >= 3)
    pauses = [line.split(" starting again in ")[1] for line in running.lines[:3]]
    assert pauses == ["0.2 s\n", "0.4 s\n", "0.8 s\n"]


@pytest.mark.parametrize("status", [Exit.STORAGE, Exit.START, Exit.OK])
def test_a_final_exit_status_is_not_answered_by_a_restart(status: Exit, restart: Callable[[str], Restarted]) -> None:
    running = restart(f"sys.exit({status.value})")
    running.wait_until(lambda: len(running.lines) == 1)
    assert f"ended with exit status {status.value}" in running.lines[0]
    assert running.process.poll() is None, "it stays, or its supervisor would stop everything else"
    assert running.stop(signal.SIGTERM) == status
    assert len(running.pids()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_child_and_the_restarter_waits_for_its_end(
    number: signal.Signals, restart: Callable[[str], Restarted], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    running = restart(
        f"bye = lambda *_: (open({str(told)!r}, 'w').write('bye'), sys.exit(0));"
        "signal.signal(signal.SIGTERM, bye);"
        "print('ready', file=sys.stderr, flush=True); [signal.pause() for _ in iter(int, 1)]"
    )
    running.wait_until(lambda: running.lines == ["ready\n"])
    assert running.stop(number) == 0
    assert told.read_text() == "bye"
    assert [pid for pid in running.pids() if is_running(pid)] == []


def test_a_signal_during_the_pause_ends_it(restart: Callable[[str], Restarted]) -> None:
    running = restart("sys.exit(1)")
    running.wait_until(lambda: len(running.lines) == 5)  # the pause is now 3.2 s
    begun = time.monotonic()
    assert running.stop(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 2.0


def test_the_pause_doubles_up_to_a_bound_and_starts_over_after_a_steady_life() -> None:
    pauses = [0.0]
    for _ in range(10):
        pauses.append(next_pause_s(pauses[-1], lived_s=0.1))
    assert pauses[1:4] == [PAUSE_S_MIN, 2 * PAUSE_S_MIN, 4 * PAUSE_S_MIN]
    assert pauses[-1] == PAUSE_S_MAX
    assert next_pause_s(PAUSE_S_MAX, lived_s=STEADY_S) == PAUSE_S_MIN


def test_a_command_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zkv.server.restarter", "child", "--", str(tmp_path / "nothing")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith(f"ERROR child there is no command {tmp_path / 'nothing'}\n")
    assert ended.stderr.count("\n") == 1
