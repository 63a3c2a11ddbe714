"""Garbage on every port of a live cluster, while a checked load runs."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.cluster.load import CheckedLoad
from tests.fuzz.sockets import SPEECHES, Peer, connections, hostile_frames, wild_frames
from zkv import limits
from zkv.core.cluster.frames import Requests
from zkv.core.cluster.messages import (
    Hello,
    MapRequest,
    Register,
    RegisterRefused,
    StatusRequest,
    Welcome,
)
from zkv.core.cluster.partition import partition_key
from zkv.core.cluster.shardmap import MapSnapshot
from zkv.core.cluster.versions import PROTOCOL_VERSION
from zkv.core.message import Message
from zkv.core.shard.commands import ReadGroup, ScanGroup
from zkv.testing import Cluster
from zkv.wire import codec

CONNECTIONS = 200
FRAMES = 1_500
NODES = ("node1", "node2", "node3")
OTHER_GROWTH_BYTES_MAX = 96 * 1024 * 1024  # the load's rows, a turn's answers, what comes in
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


def bad_frames(cluster: Cluster, name: str) -> int:
    return figure(cluster, name, "bad_frames")


def figure(cluster: Cluster, process: str, name: str) -> int:
    with cluster.client() as client:
        figures = client.status()[process]
    assert figures is not None
    found = figures[name]
    assert isinstance(found, int)
    return found


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
    before = bad_frames(cluster, port)
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
    assert bad_frames(cluster, port) - before > FRAMES // 5, "and they were counted"


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


@pytest.mark.parametrize("way", ["at the leader", "through another node"])
def test_what_a_client_does_not_read_takes_a_bounded_part_of_memory(
    cluster: Cluster, load: CheckedLoad, way: str
) -> None:
    with cluster.client() as client:
        client.put("vast", b"x" * limits.VALUE_BYTES_MAX)
        shard_map = client.shard_map()
    leader = cluster.leader_of("vast")
    asked = leader if way == "at the leader" else next(name for name in NODES if name != leader)
    key = partition_key(shard_map.tables[0].partitioner, b"vast")
    [shard] = [info for info in shard_map.shards if info.start <= key and (not info.end or key < info.end)]
    scan = ScanGroup(1, shard.shard, shard.range_version, 5_000, False, key, b"", b"", 1, False)
    get = ReadGroup(2, shard.shard, shard.range_version, 5_000, False, (b"vast",))
    before = {name: figure(cluster, name, "memory_bytes") for name in NODES}
    with Peer(cluster.address_of(asked)) as peer:
        for _ in range(60):
            for _ in range(10):  # each is answered by a million bytes
                peer.send(codec.encode(Requests(shard_map.cluster, shard_map.version, (scan,))))
                peer.send(codec.encode(Requests(shard_map.cluster, shard_map.version, (get,))))
            figure(cluster, asked, "pid")  # in another turn of the node than what was asked before
        load.wait_until_all_advanced()
        assert figure(cluster, asked, "unread_bytes") > limits.UNREAD_BYTES_PER_CLIENT_MAX // 4, "it was kept waiting"
        for name in NODES:
            assert figure(cluster, name, "unread_bytes") <= limits.UNREAD_BYTES_PER_CLIENT_MAX + 1_000_000, name
            grown = figure(cluster, name, "memory_bytes") - before[name]
            assert grown < limits.UNREAD_BYTES_PER_CLIENT_MAX + OTHER_GROWTH_BYTES_MAX, name


@pytest.mark.parametrize("name", ["node1", "coordinator"])
def test_who_speaks_a_version_too_far_from_ours_is_answered_with_ours(
    cluster: Cluster, load: CheckedLoad, name: str
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(f"tcp://{cluster.address_of(name)}")
    asked: list[Message] = [Hello(1, PROTOCOL_VERSION + 2, 0)]
    if name == "coordinator":
        asked.append(Register("strange", 1, 0, "127.0.0.1:1", "", 1.0, PROTOCOL_VERSION + 2, ()))
    try:
        for message in asked:
            socket.send(codec.encode(message))
        answers = [socket.recv() for _ in asked if socket.poll(5_000)]
    finally:
        context.destroy(linger=0)
    welcome = codec.decode_to_client(answers[0])
    assert isinstance(welcome, Welcome)
    assert welcome.protocol == PROTOCOL_VERSION, "by which a client knows that it cannot speak with it"
    for refusal in answers[1:]:
        refused = codec.decode_from_coordinator(refusal)
        assert isinstance(refused, RegisterRefused)
        assert "node strange speaks protocol 4, this coordinator 2: more than one version apart" in refused.what
    assert len(answers) == len(asked)
    load.wait_until_all_advanced()
