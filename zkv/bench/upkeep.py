"""What a cluster costs while nobody asks, and how soon a killed node serves again. On a cluster of its own."""

import time
from collections.abc import Iterator

from zkv.bench.goals import Effort, Goal, Say
from zkv.bench.load import fill
from zkv.bench.plan import Plan, Workload
from zkv.bench.usage import sample
from zkv.client.client import Client
from zkv.errors import ZkvError
from zkv.testing.cluster import Cluster

IDLE_SHARE_WANTED = 0.03
RESTART_S_WANTED = 3.0
_IDLE_S = 10.0
_SETTLE_S = 5.0
_RESTART_KEYS = 1_000_000
_GIVE_UP_S = 120.0


def idle(cluster: Cluster, effort: Effort, say: Say) -> Iterator[Goal]:
    """CPU of the busiest node of a cluster with very many shards that nobody asks anything."""
    say(f"idle with {effort.many_shards} shards")
    with cluster.client() as client:
        client.create_table("idle", shards=effort.many_shards, timeout_s=60.0)
        time.sleep(_SETTLE_S)  # elections and registrations end; there is no condition that says "nothing happens"
        before = sample(client)
        time.sleep(_IDLE_S)
        after = sample(client)
        client.drop_table("idle", timeout_s=60.0)
    seconds = after.at - before.at
    shares = [(after.told[name].cpu_s - before.told[name].cpu_s) / seconds for name in cluster.names[1:]]
    figure = f"share of a core of the busiest node, idle with {effort.many_shards} shards"
    yield Goal(figure=figure, measured=round(max(shares), 4), wanted=IDLE_SHARE_WANTED, at_most=True)


def restart(cluster: Cluster, effort: Effort, say: Say) -> Iterator[Goal]:
    """Seconds from the start of a node that was killed until it answers a read of its own copy."""
    keys = _RESTART_KEYS * effort.many_keys // 2_000_000
    say(f"restart: storing {keys:,} keys")
    with cluster.client() as client:
        client.create_table("restart", shards=1, timeout_s=60.0)
    fill(cluster.address, "restart", Plan(workload=Workload.get, keys=keys))
    cluster.kill("node2")
    begin = time.perf_counter()
    cluster.start("node2")
    while not _answers(cluster.address_of("node2")):
        if time.perf_counter() - begin > _GIVE_UP_S:
            break
    took = round(time.perf_counter() - begin, 2)
    with cluster.client() as client:
        client.drop_table("restart", timeout_s=60.0)
    figure = f"s until a node with {keys:,} keys serves again after kill -9"
    yield Goal(figure=figure, measured=took, wanted=RESTART_S_WANTED, at_most=True)


def _answers(address: str) -> bool:
    try:
        with Client(address, timeout_s=0.5, direct=False) as client:
            return client.get(b"user%012d" % 0, table="restart", r="any") is not None
    except ZkvError:
        return False
