"""zkv beside other stores: what is missing is said, and what is there is measured."""

import pytest

from zkv.bench import peers
from zkv.bench.peer_roles import packed
from zkv.bench.plan import Plan, Workload

SHORT = {"outstanding": 4, "seconds": 0.3, "warmup": 0.1, "keys": 50, "value_bytes": 20}


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    missing = peers.missing()
    assert missing["etcd"].startswith("etcd is not on the PATH")
    assert missing["redis"].startswith("redis-server is not on the PATH")


def test_requests_to_etcd_are_protobuf() -> None:
    assert packed(b"k", b"v" * 200) == b"\x0a\x01k\x12\xc8\x01" + b"v" * 200


@pytest.mark.skipif("etcd" in peers.missing(), reason="no etcd, or no client for it")
@pytest.mark.parametrize("workload", [Workload.put, Workload.get])
def test_etcd_is_measured(workload: Workload) -> None:
    with peers.etcd_nodes() as (nodes, addresses):
        found = peers.measure_peer("etcd", "", nodes, addresses, Plan(workload=workload, **SHORT))
    assert (found.errors, found.ops_per_s > 0) == ({}, True)
    assert found.cpu_us_per_op >= found.load_cpu_us_per_op > 0


@pytest.mark.skipif("redis" in peers.missing(), reason="no redis-server, or no client for it")
@pytest.mark.parametrize("workload", [Workload.put, Workload.get])
def test_redis_is_measured(workload: Workload) -> None:
    with peers.redis_nodes(always=True) as (nodes, addresses):
        found = peers.measure_peer("redis", "", nodes, addresses, Plan(workload=workload, **SHORT))
    assert (found.errors, found.ops_per_s > 0) == ({}, True)
    assert found.cpu_us_per_op >= found.load_cpu_us_per_op > 0
