"""Who hears whom in network namespaces, before, during and after a cut: `python -m tests.chaos.datagrams`.

A process of its own, because it leaves the system's network for good. Each sends a datagram to each other one; a line
on stdout for each that arrives. `ear` and `mouth` are the two roles of the processes that it starts.
"""

import socket
import subprocess
import sys
from collections.abc import Sequence

from zkv.chaos import isolation
from zkv.chaos.namespaces import Namespaces
from zkv.chaos.network import CLIENTS

NAMES = ("coordinator", "node1", "node2")
CUT = [("node1", "coordinator"), ("node2", "coordinator"), ("coordinator", "node2"), (CLIENTS, "node1")]
LINKS = [(source, target) for source in (CLIENTS, *NAMES) for target in NAMES if source != target]
_PORT = 7000


def main() -> None:
    """The three rounds."""
    why = isolation.enter()
    if why:
        show(f"not permitted: {why}")
        return
    network = Namespaces(NAMES)
    ears = {name: start(network, name, "ear") for name in NAMES}
    for ear in ears.values():
        assert ear.stdout is not None
        assert ear.stdout.readline() == "ready\n"
    all_speak(network, "before")
    network.cut(CUT)
    all_speak(network, "cut")
    assert network.slow("node1") != ""
    network.heal()
    all_speak(network, "after")
    speak(network, CLIENTS, NAMES, "over")
    for name, ear in ears.items():
        for line in ear.communicate(timeout=60)[0].splitlines():
            show(f"{name} heard {line}")
    network.close()


def all_speak(network: Namespaces, when: str) -> None:
    for source in (CLIENTS, *NAMES):
        targets = [target for speaker, target in LINKS if speaker == source]
        speak(network, source, targets, f"{source} {when}")


def speak(network: Namespaces, source: str, targets: Sequence[str], words: str) -> None:
    hosts = [network.places[target].listen.partition(":")[0] for target in targets]
    assert start(network, source, "mouth", words, *hosts).wait() == 0


def start(network: Namespaces, name: str, *words: str) -> "subprocess.Popen[str]":
    within = () if name == CLIENTS else network.places[name].within
    command = [*within, sys.executable, "-m", "tests.chaos.datagrams", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ear() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("0.0.0.0", _PORT))
        heard.settimeout(100)
        show("ready")
        while (words := heard.recv(100)) != b"over":
            show(words.decode())


def mouth(words: str, *hosts: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as said:
        for host in hosts:
            said.sendto(words.encode(), (host, _PORT))


def show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["ear"]:
        ear()
    elif sys.argv[1:2] == ["mouth"]:
        mouth(*sys.argv[2:])
    else:
        main()
