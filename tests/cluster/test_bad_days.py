"""What real processes do on bad days: a failing disk, a full one, a foreign folder, a clock that is wrong."""

import os
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
from tests.small_disk import SmallDisk
from zkv import limits
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


def shows_full(cluster: Cluster, name: str) -> bool:
    with cluster.client() as client:
        figures = client.status()[name]
    return figures is not None and figures["disk_full"] is True


def log_position(cluster: Cluster, name: str) -> int:
    """Bytes of all that the node has ever written to its log."""
    with cluster.client() as client:
        figures = client.status()[name]
    assert figures is not None
    written = figures["flushed_bytes"]
    assert isinstance(written, int)
    return written


@pytest.mark.timeout(600)
def test_a_full_disk_refuses_writes_in_words_serves_reads_and_recovers(small_disk: SmallDisk) -> None:
    with Cluster(nodes=1, data=small_disk.path / "data") as cluster, cluster.client(timeout_s=5.0) as client:
        client.put("key", "before")
        small_disk.fill(left=limits.DISK_RESERVE_BYTES // 2)
        wait_until(lambda: shows_full(cluster, "node1"), "the full disk is noticed")
        with pytest.raises(zkv.Overloaded, match="disk is full") as refused:
            client.put("key", "refused")
        assert refused.value.effect == "none"
        assert client.get("key") == b"before"
        assert client.delete("key") is True, "what makes room is taken"
        small_disk.make_room()
        wait_until(lambda: not shows_full(cluster, "node1"), "the room is noticed")
        client.put("key", "after")
        assert client.get("key") == b"after"
        assert cluster.running() == cluster.names


@pytest.mark.timeout(600)
def test_a_disk_without_a_byte_left_costs_nothing_that_was_acknowledged(small_disk: SmallDisk, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "node1").symlink_to(small_disk.path / "node1")
    (small_disk.path / "node1").mkdir()
    rows = {b"row-%06d" % number: os.urandom(500) * 20 for number in range(15_000)}
    keys = list(rows)
    with Cluster(nodes=3, data=data) as cluster, cluster.client(timeout_s=30.0) as client:
        cluster.kill("node1")
        with Supervised("node1", cluster.command("node1"), tmp_path / "log") as node:
            node.wait_until_said("node node1 serves")
            cluster.wait_until_whole()
            small_disk.fill(left=0)
            for first in range(0, len(keys), 50):
                client.mput({key: rows[key] for key in keys[first : first + 50]})
            assert "not started again" not in node.said()
            small_disk.make_room()
            cluster.wait_until_whole(within_s=120.0)
            cluster.kill("node2")
            for first in range(0, len(keys), 50):
                part = keys[first : first + 50]
                assert client.mget(part) == {key: rows[key] for key in part}
            cluster.start("node2")
            cluster.wait_until_whole()
            assert node.stop() == 0


@pytest.mark.timeout(600)
def test_a_follower_whose_disk_fills_up_says_so_keeps_its_reserve_and_catches_up(
    small_disk: SmallDisk, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "node1").symlink_to(small_disk.path / "node1")
    (small_disk.path / "node1").mkdir()
    rows = {b"row-%06d" % number: os.urandom(50) * 20 for number in range(60_000)}
    keys = list(rows)
    with Cluster(nodes=3, data=data) as cluster, cluster.client(timeout_s=30.0) as client:
        cluster.wait_until_whole()
        left = limits.DISK_RESERVE_BYTES - 1024 * 1024
        small_disk.fill(left=left)
        wait_until(lambda: shows_full(cluster, "node1"), "the full disk is noticed")
        before = log_position(cluster, "node1")
        for first in range(0, len(keys), 500):
            client.mput({key: rows[key] for key in keys[first : first + 500]})
        assert log_position(cluster, "node2") > 60_000_000
        assert log_position(cluster, "node1") - before < 8_000_000, "what was on its way, and terms and votes"
        assert shutil.disk_usage(small_disk.path).free > left // 2
        small_disk.make_room()
        cluster.wait_until_whole(within_s=120.0)
        cluster.kill("node2")
        for first in range(0, len(keys), 500):
            part = keys[first : first + 500]
            assert client.mget(part) == {key: rows[key] for key in part}
        assert cluster.running() == ["coordinator", "node1", "node3"]


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
