"""What real processes do when the disk is full: a node alone, a follower, and one without a byte left."""

import os
import shutil
from pathlib import Path

import pytest

import zkv
from tests.cluster.supervised import Supervised
from tests.cluster.waits import wait_until
from tests.small_disk import SmallDisk
from zkv import limits
from zkv.testing import Cluster


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


def with_node1_on(small_disk: SmallDisk, tmp_path: Path) -> Path:
    """A folder for a cluster of which node1 lives on the small disk."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "node1").symlink_to(small_disk.path / "node1")
    (small_disk.path / "node1").mkdir()
    return data


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
    data = with_node1_on(small_disk, tmp_path)
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
    data = with_node1_on(small_disk, tmp_path)
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
