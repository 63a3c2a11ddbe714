"""Garbage on every port of a live cluster, while a checked load runs."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.load import CheckedLoad
from tests.fuzz.sockets import SPEECHES, Peer, connections, hostile_frames, wild_frames
from zkv.core.cluster.frames import Requests
from zkv.core.cluster.messages import MapRequest, StatusRequest
from zkv.core.cluster.shardmap import MapSnapshot
from zkv.core.shard.commands import ReadGroup
from zkv.testing import Cluster
from zkv.wire import codec

CONNECTIONS = 200
FRAMES = 1_500
MEMORY_BYTES_MAX = 1_200 * 1024 * 1024  # of any process, at its peak


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3) as running:
        yield running


@pytest.fixture
def load(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[CheckedLoad]:
    """A load that goes on meanwhile; afterwards nothing was lost, and every process is the one that it was."""
    before = {name: cluster.pid(name) for name in cluster.names}
    running = CheckedLoad(cluster.address, outstanding=16, clients=1, readers=2, tag=request.node.name)
    running.start()
    yield running
    running.wait_until_all_advanced()
    assert running.stop().faults == []
    assert cluster.running() == cluster.names
    assert {name: cluster.pid(name) for name in cluster.names} == before
    peaks = {name: peak_memory_bytes(pid) for name, pid in before.items()}
    assert {name: peak for name, peak in peaks.items() if peak > MEMORY_BYTES_MAX} == {}


def peak_memory_bytes(pid: int) -> int:
    """The most resident memory that the process ever had."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def ports(cluster: Cluster) -> dict[str, str]:
    return {name: cluster.address_of(name) for name in ("node1", "coordinator")} | {"publish": cluster.publish_address}


def map_of(cluster: Cluster) -> MapSnapshot:
    with cluster.client() as client:
        client.get("warm")
        return client.shard_map()


def bad_frames(cluster: Cluster) -> int:
    with cluster.client() as client:
        figures = client.status()["node1"]
    assert figures is not None
    counted = figures["bad_frames"]
    assert isinstance(counted, int)
    return counted


@pytest.mark.parametrize("port", ["node1", "coordinator", "publish"])
def test_two_hundred_connections_of_garbage_stop_nobody(cluster: Cluster, load: CheckedLoad, port: str) -> None:
    with connections(ports(cluster)[port], random.Random(port), CONNECTIONS) as said:
        assert (sum(said.values()), said.keys()) == (CONNECTIONS, SPEECHES.keys())
        load.wait_until_all_advanced()
        with cluster.client() as client:
            client.put(b"amid-%s" % port.encode(), b"garbage")
            assert client.get(b"amid-%s" % port.encode()) == b"garbage"


@pytest.mark.parametrize("port", ["node1", "coordinator"])
def test_frames_that_are_wild_or_hostile_stop_nobody(cluster: Cluster, load: CheckedLoad, port: str) -> None:
    shard_map = map_of(cluster)
    before = bad_frames(cluster)
    with Peer(cluster.address_of(port)) as peer:
        for frame in wild_frames(random.Random(port), shard_map, FRAMES):
            peer.send(frame)
        load.wait_until_all_advanced()
    for name, frames in hostile_frames().items():
        with Peer(cluster.address_of(port)) as peer:
            peer.send(*frames)
            peer.send(codec.encode(StatusRequest(1)))
            load.wait_until_all_advanced()
        assert cluster.running() == cluster.names, name
    if port == "node1":
        assert bad_frames(cluster) - before > FRAMES // 5, "and they were counted"


def test_a_client_that_asks_and_never_reads_stops_nobody(cluster: Cluster, load: CheckedLoad) -> None:
    with cluster.client() as client:
        client.put("big", b"x" * 500_000)
    leader = cluster.leader_of("big")
    shard_map = map_of(cluster)
    reads = [ReadGroup(1, info.shard, info.range_version, 5_000, False, (b"big",)) for info in shard_map.shards]
    asked = {
        leader: [codec.encode(Requests(shard_map.cluster, shard_map.version, (read,))) for read in reads],
        "coordinator": [codec.encode(MapRequest(1)), codec.encode(StatusRequest(2))],
    }
    for name, frames in asked.items():
        with Peer(cluster.address_of(name)) as peer:
            for number in range(2_000):
                peer.send(frames[number % len(frames)])
            load.wait_until_all_advanced()
