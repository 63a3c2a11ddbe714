"""A node dies for good under load and is rebuilt elsewhere; then a second one dies, and nothing is lost.

python -m tests.elastic.rebuild                # 200 MB in all, some three minutes; --rows N of 1,000 bytes
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import zkv
from tests.cluster.waits import wait_until
from tests.elastic.clusters import BATCH, at_rest, bytes_of_nodes, bytes_of_shards, fill, held, key_of
from tests.elastic.points import Points
from tests.elastic.watched import Watched
from zkv.core.cluster.figures import below_replica_count
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.routing import admin
from zkv.testing import Cluster

GRACE_S = 5
_ROW_BYTES = 1_000


def value_of(number: int) -> bytes:
    """Of the row."""
    return b"%0*d" % (_ROW_BYTES, number)


def missing(client: zkv.Client, rows: int) -> int:
    """Rows that are not there, or not what was put."""
    wrong = 0
    for first in range(0, rows, BATCH):
        numbers = range(first, min(first + BATCH, rows))
        got = client.mget([key_of(number) for number in numbers], table="filled", timeout_s=30)
        wrong += sum(got[key_of(number)] != value_of(number) for number in numbers)
    return wrong


def main() -> int:
    """Print each point; 0 only if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rate", type=float, default=200.0)
    args = parser.parse_args()
    points = Points()
    with tempfile.TemporaryDirectory() as folder, Cluster(nodes=4) as cluster, cluster.client(timeout_s=30) as client:
        client.ask(admin.change_tuning(grace_s=GRACE_S)).result()
        client.create_table("filled", "hash", shards=12)
        fill(client, "filled", args.rows, value_of)
        with Watched(cluster, Path(folder) / "load", rate_per_s=args.rate) as load:
            wait_until(lambda: at_rest(client), "nothing is under way")
            wait_until(lambda: sum(bytes_of_shards(client).values()) >= args.rows * _ROW_BYTES, "all rows are counted")
            size = bytes_of_nodes(client)["node2"]
            began = time.monotonic()
            cluster.kill("node2")

            def rebuilt() -> bool:
                below = below_replica_count(ShardMap(client.shard_map()))
                return held(client, "node2") == 0 and not below and at_rest(client)

            wait_until(rebuilt, "every shard has its replicas again", within_s=300)
            took = time.monotonic() - began
            points.say(f"node2 died with {size:,} bytes; rebuilt {took:.1f} s later, {GRACE_S} s of them of grace")
            cluster.kill("node3")
            points.at_most("rows missing or wrong after a second death", missing(client, args.rows), 0)
            load.end()
        points.say(f"{len(load.calls):,} operations")
        points.none("wrong in the history", load.wrong())
    return points.status()


if __name__ == "__main__":
    sys.exit(main())
