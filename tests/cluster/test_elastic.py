"""Nodes come and go under a checked load, and the ends of a move are killed: nothing is lost and no request fails."""

from collections.abc import Callable, Iterator

import pytest

import zkv
from tests.cluster.load import CheckedLoad
from tests.cluster.waits import wait_until
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.routing import admin
from zkv.testing import Cluster

ROWS = 2_000
ROW_BYTES = 3_000  # 6 MB in one shard, which takes some seconds at the slowest rate that there is
RATE_BYTES_MIN = 1024 * 1024


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=4) as running:
        yield running


def order(client: zkv.Client, node: str, action: str) -> None:
    client.ask(admin.change_node(node, action)).result()


def held(client: zkv.Client, node: str) -> int:
    members = [m for s in client.shard_map().shards for m in (*s.membership.voters, *s.membership.learners)]
    return sum(member.node == node for member in members)


def wait_until_empty(client: zkv.Client, node: str) -> None:
    wait_until(lambda: held(client, node) == 0, f"{node} holds nothing", within_s=120)


def at_rest(client: zkv.Client) -> bool:
    """Whether no operator is left, by the coordinator's word."""
    told = client.status().get("coordinator")
    return told is not None and told["operators"] == []


def test_four_nodes_become_six_and_four_again_and_no_request_fails(cluster: Cluster) -> None:
    load = CheckedLoad(cluster.address, tag="sizes")
    load.start()
    with cluster.client() as client:
        cluster.start("node5", "node6")
        wait_until(lambda: held(client, "node5") == held(client, "node6") == 3, "both have their share")
        wait_until(lambda: at_rest(client), "nothing is under way")
        for name in ("node5", "node6"):
            order(client, name, "drain")
        for name in ("node5", "node6"):
            wait_until_empty(client, name)
            assert cluster.terminate(name) == 0
            order(client, name, "remove")
        wait_until(lambda: len(client.shard_map().nodes) == 4, "both are forgotten")
    found = load.stop()
    assert found.faults == []
    assert (found.refused, found.unknown) == (0, 0)


def test_what_a_dead_node_held_is_rebuilt_and_then_another_may_die(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.ask(admin.change_tuning(grace_s=2)).result()
        client.mput({f"key {number}": b"value" for number in range(500)})
        cluster.kill("node2")
        wait_until(lambda: held(client, "node2") == 0 and at_rest(client), "node2's replicas are rebuilt", within_s=90)
        cluster.kill("node3")
        assert set(client.mget([f"key {number}" for number in range(500)], timeout_s=20).values()) == {b"value"}


def source(cluster: Cluster, shard_map: ShardMap) -> str:
    leader = next(iter(shard_map.shards_of(shard_map.named["big"].table))).leading()
    assert leader is not None
    return leader.node


def target(cluster: Cluster, shard_map: ShardMap) -> str:
    return next(iter(shard_map.shards_of(shard_map.named["big"].table))).membership.learners[0].node


def coordinator(cluster: Cluster, shard_map: ShardMap) -> str:
    return "coordinator"


@pytest.mark.parametrize("victim", [source, target, coordinator])
def test_who_has_a_part_in_a_move_is_killed_and_it_is_done_all_the_same(
    cluster: Cluster, victim: Callable[[Cluster, ShardMap], str]
) -> None:
    with cluster.client() as client:
        client.create_table("big", partitioner="range")
        for first in range(0, ROWS, 500):
            rows = {f"{number:06d}": b"x" * ROW_BYTES for number in range(first, first + 500)}
            client.mput(rows, table="big", timeout_s=30)
        client.ask(admin.change_tuning(bytes_per_s=RATE_BYTES_MIN, balance=False)).result()
        leaving = source(cluster, ShardMap(client.shard_map()))
        load = CheckedLoad(cluster.address, tag=victim.__name__)
        load.start()
        order(client, leaving, "drain")
        wait_until(lambda: copied(client, leaving) > RATE_BYTES_MIN, "a part of the snapshot is there")
        killed = victim(cluster, ShardMap(client.shard_map()))
        cluster.kill(killed)
        cluster.start(killed)
        wait_until_empty(client, leaving)
        cluster.wait_until_whole(lag_max=10_000)
        found = load.stop()
        assert found.faults == []
        assert len(list(client.scan(table="big"))) == ROWS


def copied(client: zkv.Client, leader: str) -> int:
    """Bytes of the table `big` that its learner has."""
    shard_map = ShardMap(client.shard_map())
    big = next(iter(shard_map.shards_of(shard_map.named["big"].table))).shard
    told = client.status().get(leader) or {}
    transfers = told.get("transfers")
    assert isinstance(transfers, list) or told == {}
    return sum(stream["bytes"] for stream in transfers or [] if stream["shard"] == big and stream["sent"])
