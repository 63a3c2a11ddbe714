"""A table is scanned from end to end, again and again, while its shards split, merge and move: every scan is exact.

python -m tests.elastic.scans                  # a million rows, some five minutes; --rows N, --scans N
"""

import argparse
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle

import zkv
from tests.cluster.waits import wait_until
from tests.elastic.clusters import at_rest, fill, held, key_of, order
from tests.elastic.points import Points
from zkv.testing import Cluster


def value_of(number: int) -> bytes:
    """Of the row."""
    return b"%d" % number


def wrong_rows(client: zkv.Client, rows: int) -> int:
    """Of one scan: rows that are not what comes next, and those that did not come."""
    wrong = expected = 0
    for key, value in client.scan(table="ordered", timeout_s=60):
        wrong += key != key_of(expected) or value != value_of(expected)
        expected += 1
    return wrong + abs(rows - expected)


def disturb(cluster: Cluster, rows: int, stopping: threading.Event, done: Counter[str]) -> None:
    """Split into eight; then merge two, empty a node, fill it again and split the two, without end."""
    borders = [key_of(rows * number // 8) for number in range(1, 8)]
    with cluster.client(timeout_s=60) as client:
        for at in borders:
            client.split_table("ordered", at)
            done["splits"] += 1
        for at, number in zip(cycle(borders), count(), strict=False):
            wait_until(lambda: at_rest(client), "nothing is under way", within_s=180)
            client.merge_shards("ordered", at)
            done["merges"] += 1
            name = f"node{1 + number % 4}"
            moved = held(client, name)
            order(client, name, "drain")
            wait_until(lambda name=name: held(client, name) == 0, f"{name} is empty", within_s=180)  # type: ignore[misc]
            done["moves"] += moved
            order(client, name, "undrain")
            client.split_table("ordered", at)
            done["splits"] += 1
            if stopping.is_set():
                return


def main() -> int:
    """Print each point; 0 only if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--scans", type=int, default=20)
    args = parser.parse_args()
    points, stopping, done = Points(), threading.Event(), Counter[str]()
    with Cluster(nodes=4) as cluster, cluster.client(timeout_s=60) as client, ThreadPoolExecutor(1) as pool:
        client.create_table("ordered", partitioner="range")
        fill(client, "ordered", args.rows, value_of)
        points.say(f"{args.rows:,} rows")
        disturber = pool.submit(disturb, cluster, args.rows, stopping, done)
        wrong = 0
        for number in range(1, args.scans + 1):
            wrong += wrong_rows(client, args.rows)
            points.say(f"scan {number}; so far {dict(done)}")
        stopping.set()
        disturber.result()
        points.at_most("rows missing, doubled or out of order, in all scans", wrong, 0)
        for kind in ("splits", "merges", "moves"):
            points.at_least(f"{kind} meanwhile", done[kind], 2)
    return points.status()


if __name__ == "__main__":
    sys.exit(main())
