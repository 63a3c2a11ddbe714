"""A shard is split and merged again under a checked load, while nodes die: nothing is lost, and nothing done twice."""

import pytest

import zkv
from tests.cluster.load import CheckedLoad
from tests.cluster.waits import wait_until
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.routing import admin
from zkv.testing import Cluster

ROWS = [f"{number:04d}".encode() for number in range(1_000)]
POINTS = (b"0500", b"0250", b"0750")


def leader_of(client: zkv.Client, key: bytes) -> str:
    shard_map = ShardMap(client.shard_map())
    info = shard_map.locate(shard_map.named["ordered"].table, key)
    leader = info.leading() if info is not None else None
    assert leader is not None
    return leader.node


def shards(client: zkv.Client) -> list[tuple[bytes, bytes]]:
    shard_map = ShardMap(client.shard_map())
    return [(info.start, info.end) for info in shard_map.shards_of(shard_map.named["ordered"].table)]


@pytest.mark.parametrize("dies", [False, True], ids=["in peace", "while leaders die"])
def test_a_table_is_split_and_merged_under_load(cluster: Cluster, *, dies: bool) -> None:
    with cluster.client(timeout_s=20) as client:
        client.create_table("ordered", partitioner="range")
        client.mput(dict.fromkeys(ROWS, b"v"), table="ordered")
        load = CheckedLoad(cluster.address, tag="split", table="ordered")
        load.start()
        scan = client.scan(table="ordered", prefix=b"0")
        met = [next(scan)[0]]
        for at in (*POINTS, b"put"):
            split = client.ask(admin.split_table("ordered", at), timeout_s=20)
            if dies and at in POINTS[:2]:
                victim = leader_of(client, at)
                cluster.kill(victim)
                cluster.start(victim)
            split.result()
        met += [key for key, _ in scan]
        assert met == ROWS, "a scan that crosses splits meets every row once, in order"
        load.wait_until_all_advanced()
        assert shards(client) == [
            (b"", b"0250"),
            (b"0250", b"0500"),
            (b"0500", b"0750"),
            (b"0750", b"put"),
            (b"put", b""),
        ]
        assert [key for key, _ in client.scan(table="ordered", prefix=b"0", reverse=True)] == ROWS[::-1]
        for at in (*POINTS[::-1], b"put"):
            merge = client.ask(admin.merge_shards("ordered", at), timeout_s=20)
            if dies and at == POINTS[0]:
                victim = leader_of(client, at)
                cluster.kill(victim)
                cluster.start(victim)
            merge.result()
        load.wait_until_all_advanced()
        found = load.stop()
        assert found.faults == []
        if not dies:
            assert (found.refused, found.unknown) == (0, 0)
        assert shards(client) == [(b"", b"")]
        assert [key for key, _ in client.scan(table="ordered", prefix=b"0")] == ROWS
        client.drop_table("ordered")
    cluster.wait_until_whole()


def test_a_table_that_grows_is_split_by_itself_until_no_shard_is_too_large(cluster: Cluster) -> None:
    bound = 250_000
    with cluster.client(timeout_s=20) as client:
        client.create_table("grows", partitioner="range")
        client.ask(admin.tune_splits(bound)).result()
        rows = {b"%05d" % number: bytes(1_000) for number in range(600)}
        client.mput(rows, table="grows", timeout_s=30)

        def shards_now() -> int:
            shard_map = ShardMap(client.shard_map())
            return len(shard_map.shards_of(shard_map.named["grows"].table))

        wait_until(lambda: shards_now() >= len(rows) * 1_000 // bound + 1, "it is split", within_s=60)
        assert [key for key, _ in client.scan(table="grows")] == list(rows)
        client.ask(admin.tune_splits(0)).result()
        client.drop_table("grows")
