"""Processes of other versions on real sockets: one apart they work together, further apart they say why they do not."""

import subprocess

import pytest
import zmq

import zkv
from tests.cluster.waits import wait_until
from zkv.cli.main import run
from zkv.core.cluster import versions
from zkv.core.cluster.frames import Peers
from zkv.errors import ProtocolError
from zkv.ids import NodeId
from zkv.server.exits import Exit
from zkv.testing import Cluster
from zkv.wire import codec

AS_IF = """
import sys
from zkv.cli.main import main
from zkv.core.cluster import versions
versions.PROTOCOL_VERSION = int(sys.argv.pop(1))
main()
"""
_START_S = 60.0


def of_version(protocol: int, command: list[str]) -> list[str]:
    """A command line of `Cluster.command`, run by a zkv that states another version."""
    python, _, module, *words = command
    assert module == "zkv.cli.main"
    return [python, "-c", AS_IF, str(protocol), *words]


@pytest.mark.parametrize("protocol", [1, 3])
def test_a_node_one_version_away_takes_part_in_everything(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    """It is one of three voters of each shard: with another one gone, each write needs its copy."""
    usual = cluster.command
    monkeypatch.setattr(cluster, "command", lambda name: of_version(protocol, usual(name)))
    cluster.kill("node1")
    cluster.start("node1")
    cluster.wait_until_whole()
    cluster.kill("node2")
    with cluster.client(timeout_s=30) as client:
        pairs = {f"{protocol} {number}": b"v" for number in range(100)}
        client.mput(pairs)
        assert client.mget(list(pairs)) == {key.encode(): b"v" for key in pairs}
    monkeypatch.undo()
    cluster.start("node2")
    cluster.kill("node1")
    cluster.start("node1")
    cluster.wait_until_whole()


def test_a_coordinator_one_version_ahead_is_followed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = cluster.command
    monkeypatch.setattr(cluster, "command", lambda name: of_version(3, usual(name)))
    cluster.kill("coordinator")
    cluster.start("coordinator")
    with cluster.client(timeout_s=30) as client:
        client.create_table("next")
        client.put("k", "v", table="next")
    monkeypatch.undo()
    cluster.kill("coordinator")
    cluster.start("coordinator")
    cluster.wait_until_whole()


def test_a_node_two_versions_away_is_refused_at_its_start_with_a_clear_line(cluster: Cluster) -> None:
    cluster.kill("node1")
    command = of_version(4, cluster.command("node1"))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)
    line = "node node1 speaks protocol 4, this coordinator 2: more than one version apart they do not work together"
    assert ended.returncode == Exit.STORAGE
    assert f"the coordinator refuses this node: {line}" in ended.stderr
    assert f"refused a registration: {line}" in cluster.log("coordinator")
    cluster.start("node1")
    cluster.wait_until_whole()


def test_a_peer_two_versions_away_is_not_listened_to_with_a_clear_line(cluster: Cluster) -> None:
    with cluster.client() as client:
        shard_map = client.shard_map()
    (folder,) = [info.incarnation for info in shard_map.nodes if info.node == "node1"]
    frame = Peers(shard_map.cluster, NodeId("node9"), folder, (), protocol=4)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(f"tcp://{cluster.address_of('node1')}")
    try:
        socket.send(codec.encode(frame))
        line = "refused node node9: it speaks protocol 4, this node 2: more than one version apart"
        wait_until(lambda: line in cluster.log("node1"), "node1 says so")
    finally:
        context.destroy(linger=0)
    with cluster.client() as client:
        client.put("after", "that")


def test_a_client_two_versions_away_is_refused_at_once_and_one_that_is_one_away_is_served(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZKV_ADDRESS", cluster.address)
    for protocol in (1, 3):
        monkeypatch.setattr(versions, "PROTOCOL_VERSION", protocol)
        assert run(["put", "greeting", str(protocol)]) == 0
        capfd.readouterr()
        assert run(["get", "greeting"]) == 0
        assert capfd.readouterr().out == f"{protocol}\n"
    monkeypatch.setattr(versions, "PROTOCOL_VERSION", 4)
    line = "speaks protocol 2, this client 4: more than one version apart they do not work together"
    assert run(["get", "greeting"]) == 1
    told = capfd.readouterr()
    assert (told.out, told.err.count("\n"), line in told.err) == ("", 1, True)
    for address in (cluster.address, cluster.address_of("node1")):
        with pytest.raises(ProtocolError, match=line), zkv.connect(address) as client:
            client.get("greeting")
