"""Three nodes become six and three again under a steady load: nothing fails, and little more moves than must.

python -m tests.elastic.sizes                  # some three minutes; --rows N, --rate N
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import zkv
from tests.cluster.waits import wait_until
from tests.elastic.clusters import Arrivals, at_rest, bytes_of_shards, fill, held, order, subscribed
from tests.elastic.points import Points
from tests.elastic.watched import Watched
from zkv.chaos.history_file import now_ns
from zkv.testing import Cluster

QUIET_S = 20.0
P99_TIMES_MAX = 3.0
MOVED_TIMES_MAX = 1.2
_MORE = ("node4", "node5", "node6")
_SHARDS = 12


def grow(cluster: Cluster, client: zkv.Client) -> None:
    """Three more nodes, each with its share."""
    cluster.start(*_MORE)
    wait_until(lambda: all(held(client, name) for name in _MORE) and at_rest(client), "the shares are there")


def shrink(cluster: Cluster, client: zkv.Client) -> None:
    """The three are emptied, end and are forgotten."""
    for name in _MORE:
        order(client, name, "drain")
    wait_until(lambda: not any(held(client, name) for name in _MORE), "they are empty", within_s=180)
    for name in _MORE:
        assert cluster.terminate(name) == 0
        order(client, name, "remove")
    wait_until(lambda: len(client.shard_map().nodes) == 3, "they are forgotten")


def minimum(client: zkv.Client) -> float:
    """What three nodes of six must get: half of all bytes of all replicas."""
    return sum(bytes_of_shards(client).values()) * 3 / 2


def main() -> int:
    """Print each point; 0 only if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rate", type=float, default=300.0)
    args = parser.parse_args()
    points = Points()
    with tempfile.TemporaryDirectory() as folder, Cluster(nodes=3) as cluster, cluster.client(timeout_s=30) as client:
        client.create_table("filled", "hash", shards=_SHARDS)
        fill(client, "filled", args.rows, lambda number: b"x" * 100)
        with Watched(cluster, Path(folder) / "load", rate_per_s=args.rate) as load:
            wait_until(lambda: at_rest(client), "nothing is under way")
            quiet_ns = now_ns()
            time.sleep(QUIET_S)  # so long is what the figure is of
            begin_ns = now_ns()
            for what, change in (("three nodes more", grow), ("three nodes less", shrink)):
                with subscribed(client.shard_map().publishers) as deltas:
                    arrivals = Arrivals(client, deltas)
                    began = time.monotonic()
                    change(cluster, client)
                    points.say(f"{what}: {time.monotonic() - began:.1f} s")
                _moved(points, what, arrivals, client)
            end_ns = now_ns()
            load.end()
        before, meanwhile = load.p99_ms(quiet_ns, begin_ns), load.p99_ms(begin_ns, end_ns)
        points.say(f"{len(load.calls):,} operations; p99 {before:.1f} ms quiet, {meanwhile:.1f} ms meanwhile")
        points.at_most("requests that failed", load.failed(), 0)
        points.at_most("p99 over quiet", meanwhile / before, P99_TIMES_MAX)
        points.none("wrong in the history", load.wrong())
    return points.status()


def _moved(points: Points, what: str, arrivals: Arrivals, client: zkv.Client) -> None:
    moved, least = arrivals.bytes(client), minimum(client)
    points.say(f"{what}: {moved:,} bytes moved, {least:,.0f} had to")
    points.at_most(f"{what}: bytes moved over the minimum", moved / least, MOVED_TIMES_MAX)


if __name__ == "__main__":
    sys.exit(main())
