"""Links are cut, one way or both, between the two that were named and nobody else; by namespaces and by proxies."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.datagrams import CUT, LINKS, NAMES
from zkv.chaos.network import CLIENTS
from zkv.chaos.proxies import Proxies
from zkv.chaos.proxy import SOCKETS


def test_in_namespaces_exactly_the_cut_links_lose_what_is_sent() -> None:
    command = [sys.executable, "-m", "tests.chaos.datagrams"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert ended.returncode == 0, ended.stderr
    if ended.stdout.startswith("not permitted"):
        pytest.skip(ended.stdout)
    assert set(ended.stdout.splitlines()) == {
        f"{target} heard {source} {when}"
        for when in ("before", "cut", "after")
        for source, target in LINKS
        if when != "cut" or (source, target) not in CUT
    }


ECHO = """if True:
    import socketserver, sys
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(100):
                self.request.sendall(data)
    with socketserver.ThreadingTCPServer((sys.argv[1], int(sys.argv[2])), Echo) as server:
        print("ready", flush=True)
        server.serve_forever()
"""
# As a process of the cluster looks to the proxy: its folder is a word of its command line.
CALL = """if True:
    import socket, sys
    host, port, timeout_s, folder = sys.argv[1:]
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(float(timeout_s))
        connection.sendall(b"hello")
        try:
            print(connection.recv(100).decode())
        except TimeoutError:
            print("nothing")
"""
SHORT_S, LONG_S = "0.5", "20"


@pytest.fixture
def proxies(tmp_path: Path) -> Iterator[Proxies]:
    made = Proxies(NAMES, tmp_path)
    host, _, port = made.places["node1"].listen.rpartition(":")
    echo = subprocess.Popen([sys.executable, "-c", ECHO, host, port], stdout=subprocess.PIPE)
    try:
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"ready\n"
        yield made
    finally:
        echo.kill()
        echo.communicate()  # its pipe is closed too
        made.close()


@pytest.mark.skipif(not SOCKETS.exists(), reason=f"no {SOCKETS}, by which proxies tell who is who")
def test_proxies_hold_back_exactly_what_goes_over_a_cut_link(proxies: Proxies, tmp_path: Path) -> None:
    door = proxies.places["node1"].advertise

    def answered(caller: str, timeout_s: str) -> str:
        host, _, port = door.rpartition(":")
        command = [sys.executable, "-c", CALL, host, port, timeout_s, str(tmp_path / caller)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert answered("node2", LONG_S) == "hello"
    proxies.cut([("node2", "node1")])
    assert answered("node2", SHORT_S) == "nothing"
    assert answered("coordinator", LONG_S) == "hello"
    assert answered(CLIENTS, LONG_S) == "hello"
    proxies.heal()
    proxies.cut([("node1", "coordinator")])  # the way back alone
    assert answered("coordinator", SHORT_S) == "nothing"
    assert answered("node2", LONG_S) == "hello"
    proxies.heal()
    assert answered("coordinator", LONG_S) == "hello"
    assert "ms" in proxies.slow("node1")
    assert answered("node2", LONG_S) == "hello"


@pytest.mark.skipif(not SOCKETS.exists(), reason=f"no {SOCKETS}, by which proxies tell who is who")
def test_what_was_held_back_arrives_when_the_link_is_whole_again(proxies: Proxies) -> None:
    host, _, port = proxies.places["node1"].advertise.rpartition(":")
    proxies.cut([(CLIENTS, "node1")])
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"held")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxies.heal()
        connection.settimeout(float(LONG_S))
        assert connection.recv(100) == b"held"
