"""A large shard moves while it is written to, and each who has a part in it is killed: it is done, and nothing is lost.

python -m tests.elastic.transfer               # a shard of 1 GB, some fifteen minutes; --bytes N, --kills N for each
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zkv
from tests.cluster.waits import wait_until
from tests.elastic.clusters import at_rest, fill, held, order, shards_of
from tests.elastic.points import Points
from tests.elastic.watched import Watched
from zkv.chaos.history_file import now_ns
from zkv.core.routing import admin
from zkv.testing import Cluster

QUIET_S = 20.0
P99_TIMES_MAX = 3.0
GROWTH_MIB_MAX = 150.0
MOVED_S_MAX = 600.0
_ROW_BYTES = 1_000
_MIDDLE = 0.3  # of the snapshot is there when somebody is killed


def value_of(number: int) -> bytes:
    """Of the row."""
    return b"%0*d" % (_ROW_BYTES - 9, number)


def voters(client: zkv.Client) -> set[str]:
    """Who holds the shard."""
    [shard] = shards_of(client, "big")
    return {member.node for member in shard.membership.voters}


def leader(client: zkv.Client) -> str:
    """Who leads it, by the map."""
    [shard] = shards_of(client, "big")
    member = shard.leading()
    assert member is not None
    return member.node


def copied(client: zkv.Client) -> int:
    """Bytes that the learner of the shard has, by its sender's word."""
    [shard] = shards_of(client, "big")
    rows: list[dict[str, int]] = []
    for told in client.status().values():
        transfers = (told or {}).get("transfers")
        rows += transfers if isinstance(transfers, list) else []
    return max((row["bytes"] for row in rows if row["shard"] == shard.shard and row["sent"]), default=0)


def memory_mib(client: zkv.Client) -> dict[str, float]:
    """Of each node."""
    found = {}
    for name, told in client.status().items():
        size = (told or {}).get("memory_bytes")
        if name.startswith("node") and isinstance(size, int):
            found[name] = size / (1 << 20)
    return found


def move(cluster: Cluster, client: zkv.Client, size: int, kill: Callable[[], str] | None) -> tuple[float, float]:
    """From the node that leads the shard to the one without it; returns seconds, and the most MiB of growth."""
    leaving = leader(client)
    before, grown = memory_mib(client), 0.0
    began = time.monotonic()
    order(client, leaving, "drain")
    killed = kill is None

    def moved() -> bool:
        nonlocal grown, killed
        now = memory_mib(client)
        grown = max([grown, *(now[name] - before[name] for name in now if name in before)])
        if not killed and kill is not None and copied(client) > size * _MIDDLE:
            killed = True
            victim = kill()
            cluster.kill(victim)
            cluster.start(victim)
        return held(client, leaving) == 0

    wait_until(moved, f"{leaving} holds nothing", within_s=MOVED_S_MAX)
    took = time.monotonic() - began
    assert killed, "it was over before anybody was killed"
    order(client, leaving, "undrain")
    wait_until(lambda: at_rest(client), "nothing is under way", within_s=MOVED_S_MAX)
    cluster.wait_until_whole(lag_max=10_000)
    return took, grown


def learner(client: zkv.Client) -> str:
    """Who is being given the shard."""
    [shard] = shards_of(client, "big")
    return shard.membership.learners[0].node


def main() -> int:
    """Print each point; 0 only if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--kills", type=int, default=3)
    args = parser.parse_args()
    points = Points()
    with tempfile.TemporaryDirectory() as folder, Cluster(nodes=4) as cluster, cluster.client(timeout_s=30) as client:
        client.ask(admin.change_tuning(balance=False)).result()
        client.ask(admin.tune_splits(0)).result()
        client.create_table("big", partitioner="range")
        rows = args.bytes // _ROW_BYTES
        fill(client, "big", rows, value_of)
        points.say(f"a shard of {rows:,} rows on {', '.join(sorted(voters(client)))}")
        with Watched(cluster, Path(folder) / "load", rate_per_s=args.rate) as load:
            quiet_ns = now_ns()
            time.sleep(QUIET_S)  # so long is what the figure is of
            begin_ns = now_ns()
            took, grown = move(cluster, client, args.bytes, None)
            end_ns = now_ns()
            points.say(f"moved in {took:.1f} s")
            points.at_most("MiB by which a node grew", grown, GROWTH_MIB_MAX)
            victims: dict[str, Callable[[], str]] = {
                "source": lambda: leader(client),
                "target": lambda: learner(client),
                "coordinator": lambda: "coordinator",
            }
            for what, victim in victims.items():
                for number in range(1, args.kills + 1):
                    took, _ = move(cluster, client, args.bytes, victim)
                    points.say(f"{what} killed, {number}: moved in {took:.1f} s")
            load.end()
        before, meanwhile = load.p99_ms(quiet_ns, begin_ns), load.p99_ms(begin_ns, end_ns)
        points.say(f"{len(load.calls):,} operations; p99 {before:.1f} ms quiet, {meanwhile:.1f} ms in the first move")
        points.at_most("p99 over quiet", meanwhile / before, P99_TIMES_MAX)
        points.none("wrong in the history", load.wrong())
        wrong = sum(value != value_of(int(key)) for key, value in client.scan(table="big"))
        found = sum(1 for _ in client.scan(table="big"))
        points.at_most("rows that are missing or wrong", wrong + abs(rows - found), 0)
    return points.status()


if __name__ == "__main__":
    sys.exit(main())
