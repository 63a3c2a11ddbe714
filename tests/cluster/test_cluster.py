"""A real cluster of processes: any node takes any request, nobody polls, a lost disk and a long absence are mended."""

import shutil
import time

import pytest
import zmq

import zkv
from tests.cluster.waits import wait_until
from zkv.core.cluster.frames import Answers, Requests
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.partition import partition_key
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.shard.commands import ReadGroup, Reason, Refused
from zkv.ids import ShardId
from zkv.testing import Cluster
from zkv.wire import codec

NODES = ("node1", "node2", "node3")


def counted(cluster: Cluster, message: str) -> int:
    """How often all processes together have heard that message."""
    with cluster.client() as client:
        figures = client.status()
    return sum(int((own or {}).get("messages", {}).get(message, 0)) for own in figures.values())


@pytest.mark.parametrize("node", NODES)
def test_a_client_that_knows_only_one_node_gets_right_answers_for_every_key(cluster: Cluster, node: str) -> None:
    rows = {b"%s-%d" % (node.encode(), number): b"v%d" % number for number in range(300)}
    with zkv.connect(cluster.address_of(node), direct=False) as client:
        client.mput(rows)
        assert client.mget(list(rows)) == rows
        assert client.increment(b"%s-sum" % node.encode(), 5) == 5
        assert dict(client.scan(prefix=b"%s-" % node.encode())) == rows | {b"%s-sum" % node.encode(): b"5"}
    with cluster.client() as other:
        assert other.mget(list(rows)) == rows


def test_with_nobody_writing_no_process_polls_the_map(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.get("warm")
        before = client.status()
        quiet_until = time.monotonic() + 3.0
        wait_until(lambda: time.monotonic() > quiet_until, "three quiet seconds")
        after = client.status()
    for name, figures in after.items():
        assert figures is not None
        old = before[name]
        assert old is not None
        heard, had = figures["messages"], old["messages"]
        assert heard.get("MapRequest", 0) == had.get("MapRequest", 0), name
        assert heard.get("MapAnswer", 0) == had.get("MapAnswer", 0), name
        if name in NODES:
            assert heard["Beacon"] > had["Beacon"], "the broadcast is what keeps the map fresh"


def test_with_the_broadcast_gone_an_old_map_is_put_right_by_the_next_answer(cluster: Cluster) -> None:
    with cluster.client(timeout_s=10.0) as client:
        client.put("moved", "1")
        cluster.kill("coordinator")
        victim = cluster.leader_of("moved")
        cluster.kill(victim)
        assert client.increment("moved") == 2
        before = client.shard_map()
        assert ShardMap(before).version > 0
        cluster.start(victim)
        cluster.start("coordinator")
        cluster.wait_until_whole()
        assert client.get("moved") == b"2"


def test_a_leader_that_was_stopped_answers_no_read_that_waited_with_what_is_old(cluster: Cluster) -> None:
    cluster.wait_until_whole()
    with cluster.client(timeout_s=20.0) as client:
        client.put("paused", "old")
        leader = cluster.leader_of("paused")
        shard, range_version = where(client, b"paused")
        cluster.pause(leader)
        client.put("paused", "new")
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://{cluster.address_of(leader)}")
    read = ReadGroup(7, shard, range_version, 5_000, False, (b"paused",))
    dealer.send(codec.encode(Requests(0, 0, (read,), forwarding=False)))
    settled = time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() > settled, "the request waits in the stopped leader's buffer")
    cluster.resume(leader)
    assert dealer.poll(10_000), "the read is answered"
    answers = codec.decode_to_client(dealer.recv())
    assert isinstance(answers, Answers)
    (answer,) = answers.answers
    assert isinstance(answer, Refused) or answer.rows[0].endswith(b"new")  # type: ignore[union-attr]  # a read's answer
    dealer.close(linger=0)
    context.term()


def where(client: zkv.Client, key: bytes) -> tuple[ShardId, int]:
    """The shard of a key of the default table, and its range version."""
    shard_map = ShardMap(client.shard_map())
    table = shard_map.table("default")
    assert table is not None
    info = shard_map.locate(table.table, partition_key(Partitioner.HASH, key))
    assert info is not None
    return info.shard, info.range_version


def test_a_request_for_another_cluster_is_told_so(cluster: Cluster) -> None:
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://{cluster.address_of('node1')}")
    dealer.send(codec.encode(Requests(123, 0, (ReadGroup(1, ShardId(1), 1, 1000, False, (b"k",)),))))
    assert dealer.poll(5_000)
    answer = codec.decode_to_client(dealer.recv())
    assert isinstance(answer, Answers)
    refused = {(one.reason, one.effect) if isinstance(one, Refused) else one for one in answer.answers}
    assert refused == {(Reason.WRONG_CLUSTER, 0)}
    dealer.close(linger=0)
    context.term()


def test_a_node_that_comes_back_with_an_empty_folder_is_made_whole_under_new_ids(cluster: Cluster) -> None:
    rows = {b"kept-%d" % number: b"v" * 100 for number in range(500)}
    with cluster.client() as client:
        client.mput(rows)
        before = {m.replica for info in client.shard_map().shards for m in info.membership.voters if m.node == "node3"}
    cluster.kill("node3")
    shutil.rmtree(cluster.data / "node3")
    cluster.start("node3")

    def replaced() -> bool:
        with cluster.client() as client:
            shards = client.shard_map().shards
        there = {m.replica for info in shards for m in info.membership.voters if m.node == "node3"}
        sizes = {len(info.membership.voters) for info in shards}
        return len(there) == len(before) and not there & before and sizes == {3}

    wait_until(replaced, "node3's replicas are replaced")
    cluster.wait_until_whole()
    cluster.kill("node1")
    with cluster.client(timeout_s=20.0) as client:
        assert client.mget(list(rows)) == rows
    cluster.start("node1")
    cluster.wait_until_whole()


def test_a_node_that_was_away_for_long_catches_up_by_itself(cluster: Cluster) -> None:
    cluster.kill("node2")
    with cluster.client(timeout_s=30.0) as client:
        for batch in range(60):
            client.mput({b"away-%d-%d" % (batch, number): b"x" * 10_000 for number in range(100)})
    cluster.start("node2")
    cluster.wait_until_whole(within_s=120)
