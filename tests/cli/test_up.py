"""bin/up without its shell: the Procfile under honcho and the restarters, from the first start to the last signal."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zkv
from zkv.cli import up as up_module
from zkv.server.exits import Exit
from zkv.testing.ports import ClaimedPorts

ROOT = Path(__file__).parents[2]
WITHIN_S = 90.0
BESIDE = (1, 10, 20, 30)  # where `zkv up` has its other ports, seen from the base port
NAMES = ("coordinator", "node1", "node2", "node3")


class Up:
    """One `zkv up` with what it prints."""

    def __init__(self, data: Path, port: int) -> None:
        self.data, self.port = data, port
        words = [sys.executable, "-m", "zkv.cli.main", "up", "--procfile", str(ROOT / "Procfile")]
        # The Procfile's `python` and `zkv` are those of this very environment.
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.process = subprocess.Popen(
            [*words, "--data", str(data), "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self.lines.extend, args=(iter(self.process.stdout.readline, ""),))
        self._reader.start()

    def pid(self, name: str) -> int:
        return int((self.data / name / "pid").read_text())

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WITHIN_S
        while not condition():
            assert self.process.poll() is None, f"it ended:\n{''.join(self.lines)}"
            assert time.monotonic() < end, f"{what} did not come:\n{''.join(self.lines)}"
            time.sleep(0.02)

    def wait_until_serving(self) -> None:
        self.wait_for(lambda: any("Ctrl-C stops it" in line for line in self.lines), "the tour")

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        status = self.process.wait(WITHIN_S)
        self.close()
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()  # honcho and the rest go with it
            self.process.wait(WITHIN_S)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def base_port() -> Iterator[int]:
    """A base port whose ports nobody else takes meanwhile."""
    with ClaimedPorts(1, beside=BESIDE) as claimed:
        yield claimed.ports[0]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], Up]]:
    begun: list[Up] = []

    def begin(port: int) -> Up:
        begun.append(Up(tmp_path / "data", port))
        return begun[-1]

    yield begin
    for up in begun:
        up.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_serves_survives_a_kill_stops_cleanly_and_keeps_its_data(start: Callable[[int], Up], base_port: int) -> None:
    up = start(base_port)
    up.wait_until_serving()
    text = "".join(up.lines)
    assert "Wrote 'greeting' (version 1) through node1; read 'hello from zkv' through node2." in text
    assert f"zkv status --address 127.0.0.1:{base_port}" in text
    with zkv.connect(f"127.0.0.1:{base_port}") as client:
        client.put("kept", "yes")
        client.put("greeting", "mine")
        pids = {name: up.pid(name) for name in NAMES}
        os.kill(pids["node1"], signal.SIGKILL)
        client.put("kept", "still")
        up.wait_for(lambda: up.pid("node1") != pids["node1"], "another node1")
        assert {name: up.pid(name) for name in NAMES} == pids | {"node1": up.pid("node1")}
    pids = {name: up.pid(name) for name in NAMES}
    assert up.stop(signal.SIGINT) == 0
    assert [name for name, pid in pids.items() if is_running(pid)] == []
    assert "Traceback" not in "".join(up.lines)
    again = start(base_port)
    again.wait_until_serving()
    assert "Found 'greeting' (version 2) through node1; read 'mine' through node2." in "".join(again.lines)
    with zkv.connect(f"127.0.0.1:{base_port}") as client:
        assert client.get("kept") == b"still"
    assert again.stop(signal.SIGTERM) == 0


def test_a_cluster_whose_default_table_was_dropped_starts_again(start: Callable[[int], Up], base_port: int) -> None:
    up = start(base_port)
    up.wait_until_serving()
    with zkv.connect(f"127.0.0.1:{base_port}") as client:
        client.drop_table("default")
    assert up.stop(signal.SIGTERM) == 0
    again = start(base_port)
    again.wait_until_serving()
    assert "There is no table 'default': somebody dropped it." in "".join(again.lines)


def test_a_damaged_node_says_so_once_and_the_others_serve_on(start: Callable[[int], Up], base_port: int) -> None:
    up = start(base_port)
    up.wait_until_serving()
    (up.data / "node2" / "identity.json").write_text("{")
    os.kill(up.pid("node2"), signal.SIGKILL)
    up.wait_for(lambda: any(f"exit status {Exit.STORAGE.value}" in line for line in up.lines), "the last word of node2")
    with zkv.connect(f"127.0.0.1:{base_port}") as client:
        client.put("without", "node2")
        assert client.get("without") == b"node2"
    assert up.stop(signal.SIGTERM) == 0
    assert sum("ERROR node2" in line for line in up.lines) == 1


def test_what_it_cannot_start_on_is_one_line(tmp_path: Path, base_port: int) -> None:
    def refusal(data: Path, port: int) -> str:
        up = Up(data, port)
        assert up.process.wait(WITHIN_S) == 1
        up.close()
        assert len(up.lines) == 1
        return up.lines[0]

    (tmp_path / "file").write_text("")
    inside_a_file = tmp_path / "file" / "data"
    assert f"zkv: cannot write in {inside_a_file}: Not a directory" in refusal(inside_a_file, base_port)
    with socket.create_server(("127.0.0.1", base_port + 20)):
        assert f"zkv: port {base_port + 20} is taken on 127.0.0.1" in refusal(tmp_path / "data", base_port)


def test_a_second_start_on_the_same_data_is_refused(start: Callable[[int], Up], base_port: int) -> None:
    up = start(base_port)
    up.wait_for(lambda: bool(up.lines), "honcho")
    second = Up(up.data, base_port)
    assert second.process.wait(WITHIN_S) == 1
    second.close()
    assert len(second.lines) == 1
    assert second.lines[0].startswith(f"zkv: {up.data} is in use by another bin/up")


def test_the_larger_procfile_is_what_up_looks_for() -> None:
    told: dict[str, list[str]] = {}
    for line in (ROOT / "Procfile.ha").read_text().splitlines():
        name, _, command = line.partition(": exec ")
        spoken = f"printf '%s\\n' {command}"
        printed = subprocess.run(
            ["bash", "-c", spoken], capture_output=True, text=True, check=True, env={"ZKV_PORT": "7600"}
        )
        told[name] = printed.stdout.splitlines()
    coordinators = [7600 + distance for distance in up_module._HA_COORDINATORS]
    nodes = [7600 + distance for distance in up_module._HA_NODES]
    assert len(told) == len(coordinators) + len(nodes) == 8
    group = ",".join(f"c{n}=127.0.0.1:{port}/{port + 1}" for n, port in enumerate(coordinators, 1))
    join = ",".join(f"127.0.0.1:{port}" for port in coordinators)
    for number in range(1, 4):
        assert told[f"c{number}"][-2:] == ["--group", group]
    for number, port in enumerate(nodes, 1):
        assert told[f"node{number}"][-4:] == ["--listen", f"127.0.0.1:{port}", "--join", join]
