"""What real processes do on bad days: a failing disk, a foreign folder, a deaf link, a clock that is wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import zkv
from tests.cluster.hole import Hole
from tests.cluster.load import CheckedLoad
from tests.cluster.supervised import ROOT, Supervised, ill
from tests.cluster.waits import wait_until
from zkv.errors import StartError
from zkv.server.exits import Exit
from zkv.testing import Cluster

DAY_S = 86_400
NODES = ("node1", "node2", "node3")


def test_a_node_whose_flush_failed_stops_and_stays_stopped_until_it_rejoins_as_empty(
    cluster: Cluster, tmp_path: Path
) -> None:
    load = CheckedLoad(cluster.address, outstanding=16, clients=2, readers=4, tag="flush")
    load.start()
    cluster.kill("node1")
    trigger = tmp_path / "the disk fails"
    with Supervised("node1", ill("flush", trigger, cluster.command("node1")), tmp_path / "log") as node:
        node.wait_until_said("node node1 serves")
        cluster.wait_until_whole()
        trigger.touch()
        node.wait_until_said("not started again")
        trigger.unlink()
        load.wait_until_all_advanced()
        assert "a flush failed: Input/output error; check the disk" in node.said()
        assert node.stop() == Exit.STORAGE
    assert node.said().count("node node1 serves") == 1
    with pytest.raises(StartError, match=r"(?s)node1 ended with exit status 70.*a flush failed.*rejoins empty"):
        cluster.start("node1")
    (cluster.data / "node1").rename(cluster.data / "node1.lost")
    cluster.start("node1")
    wait_until(lambda: voters_of(cluster, "node1") == 6, "node1 is a member of every shard again")
    cluster.wait_until_whole()
    found = load.stop()
    assert found.faults == []


def voters_of(cluster: Cluster, node: str) -> int:
    """How many shards have a voter on the node's present folder."""
    with cluster.client() as client:
        shard_map = client.shard_map()
    (folder,) = [info.incarnation for info in shard_map.nodes if info.node == node]
    members = [member for info in shard_map.shards for member in info.membership.voters]
    return sum((member.node, member.incarnation) == (node, folder) for member in members)


def test_a_node_on_another_clusters_data_is_refused_in_words_and_stays_stopped(
    cluster: Cluster, tmp_path: Path
) -> None:
    with Cluster(nodes=1, data=tmp_path / "other") as other, other.client() as client:
        client.put("theirs", "kept")
        words = other.command("node1")
    words[words.index("--join") + 1] = cluster.address
    with Supervised("node1", words, tmp_path / "log") as node:
        node.wait_until_said("not started again")
        [line] = [line for line in node.said().splitlines() if "the folder of node node1 belongs to cluster" in line]
        assert "the coordinator refuses this node: " in line
        assert "give it the address of its own coordinator, or an empty folder to join this one" in line
        assert "see docs/operations.md" in line
        assert node.stop() == Exit.STORAGE
    with Cluster(nodes=1, data=tmp_path / "other") as other, other.client() as client:
        assert client.get("theirs") == b"kept", "it took no harm"
    with cluster.client() as client:
        assert client.get("theirs") is None
    assert cluster.running() == cluster.names


def test_nodes_that_serve_go_on_when_a_foreign_coordinator_takes_the_place_of_theirs(cluster: Cluster) -> None:
    cluster.wait_until_whole()
    cluster.kill("coordinator")
    folder = cluster.data / "coordinator"
    folder.rename(cluster.data / "coordinator.away")
    cluster.start("coordinator")
    wait_until(lambda: all("refuses this node" in cluster.log(name) for name in NODES), "every node is refused")
    with zkv.connect(*(cluster.address_of(name) for name in NODES)) as client:
        client.put("without", "a coordinator of ours")
        assert client.get("without") == b"a coordinator of ours"
    assert cluster.running() == cluster.names
    cluster.kill("coordinator")
    shutil.rmtree(folder)
    (cluster.data / "coordinator.away").rename(folder)
    cluster.start("coordinator")
    cluster.wait_until_whole()
    with cluster.client() as client:
        assert {info.state.name for info in client.shard_map().nodes} == {"UP"}


def test_a_node_and_a_client_whose_clocks_are_set_back_lose_and_double_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.wait_until_whole()
    load = CheckedLoad(cluster.address, outstanding=16, clients=2, readers=4, tag="clock")
    load.start()
    cluster.kill("node1")
    with Supervised("node1", ill("clock", DAY_S, cluster.command("node1")), tmp_path / "log") as node:
        node.wait_until_said("node node1 serves")
        cluster.wait_until_whole()
        cluster.kill("node2")
        load.wait_until_all_advanced()
        with zkv.connect(cluster.address_of("node1")) as client:
            receipt = client.get_entry("counter-clock-0", r="any")
        assert receipt is not None
        assert -1 <= receipt.receipt.stale_ms < 10_000, "-1: the leader answered, and nothing is fresher"
        words = ill(
            "clock", DAY_S, [sys.executable, "-m", "zkv.cli.main", "incr", "late", "--address", cluster.address]
        )
        sums = [subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout for _ in range(3)]
        assert sums == [b"1\n", b"2\n", b"3\n"]
        cluster.start("node2")
        cluster.wait_until_whole()
        assert node.stop() == 0
    cluster.start("node1")
    found = load.stop()
    assert found.faults == []


def test_links_that_take_everything_and_deliver_nothing_are_connected_anew(cluster: Cluster, tmp_path: Path) -> None:
    cluster.wait_until_whole()
    cluster.kill("node1")
    with Hole(cluster.address_of("node1")) as hole:
        words = [*cluster.command("node1"), "--advertise", hole.address]
        with Supervised("node1", words, tmp_path / "log") as node:
            node.wait_until_said("node node1 serves")
            wait_until(lambda: hole.connections >= 2, "the other two have come to node1 through the hole")
            cluster.wait_until_whole()
            hole.swallow()
            with cluster.client(timeout_s=20.0) as client:
                client.mput({b"hole-%d" % number: b"v" for number in range(100)})
            cluster.wait_until_whole(within_s=30.0)
            for name in ("node2", "node3"):
                assert "the link to node1 is silent and is connected anew" in cluster.log(name)
            assert node.stop() == 0
    cluster.start("node1")
    cluster.wait_until_whole()
