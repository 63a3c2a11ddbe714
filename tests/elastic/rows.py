"""A range table of one shard is filled in key order, then asked in one spot, then nearly emptied: it follows by itself.

python -m tests.elastic.rows                   # two million rows, some twenty minutes; --rows N
"""

import argparse
import sys
import threading
import time
from itertools import pairwise
from random import Random

import zkv
from tests.cluster.waits import wait_until
from tests.elastic.clusters import BATCH, at_rest, bytes_of_nodes, key_of, leading, shards_of
from tests.elastic.points import Points
from zkv.client.waiting import Waiting
from zkv.core.routing import admin
from zkv.testing import Cluster

SPLIT_BYTES = 8 * 1024 * 1024
HOT_REQUESTS = 200
COLD_S = 60.0
BYTES_TIMES_MAX = 1.25
REQUESTS_TIMES_MAX = 1.5
RATE_SHARE_MIN = 0.5
SHARDS_MIN = 8  # when all is loaded: so often at least it was split meanwhile
_WINDOWS = 20  # of the load, each with its rate
_OUTSTANDING = 8
_HOT, _HOT_PART = 0.9, 0.01  # so much of what is asked goes to so many of the keys
_SETTLED_S = 600.0


def load(client: zkv.Client, rows: int) -> list[float]:
    """Put them in key order; returns the rows a second of each window."""
    marks = [time.monotonic()]
    with client.pipeline() as pipeline:
        for window in range(_WINDOWS):
            waiting: list[Waiting[dict[bytes, int]]] = []
            for first in range(rows * window // _WINDOWS, rows * (window + 1) // _WINDOWS, BATCH):
                batch = {key_of(number): b"x" * 100 for number in range(first, min(first + BATCH, rows))}
                waiting.append(pipeline.mput(batch, table="ordered", timeout_s=60))
                if len(waiting) >= _OUTSTANDING:
                    waiting.pop(0).result()
            for one in waiting:
                one.result()
            marks.append(time.monotonic())
    return [rows / _WINDOWS / (after - before) for before, after in pairwise(marks)]


def times_the_mean(loads: dict[str, float]) -> float:
    """The fullest node's; endless as long as nothing is known."""
    mean = sum(loads.values()) / max(len(loads), 1)
    return max(loads.values()) / mean if mean else float("inf")


def requests_of_nodes(client: zkv.Client) -> dict[str, float]:
    """Of range tables, a second, by the coordinator's word."""
    told = [one.get("evenness") for one in leading(client).values()]
    return {name: own["requests"] for one in told if isinstance(one, dict) for name, own in one.items()}


def ask_hot(cluster: Cluster, rows: int, stopping: threading.Event) -> None:
    """Read, mostly in one spot, some thousand times a second."""
    rng, first = Random(1), rows // 2
    with cluster.client(timeout_s=30) as client, client.pipeline() as pipeline:
        while not stopping.wait(0.02):
            spot = [first + rng.randrange(int(rows * _HOT_PART)) for _ in range(int(64 * _HOT))]
            others = [rng.randrange(rows) for _ in range(64 - len(spot))]
            for one in [pipeline.get(key_of(number), table="ordered") for number in spot + others]:
                one.result()


def empty(client: zkv.Client, rows: int) -> None:
    """Delete nine of ten rows."""
    for first in range(0, rows, BATCH):
        numbers = [number for number in range(first, min(first + BATCH, rows)) if number % 10]
        client.mdelete([key_of(number) for number in numbers], table="ordered", timeout_s=60)


def main() -> int:
    """Print each point; 0 only if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    rows = parser.parse_args().rows
    points = Points()
    with Cluster(nodes=4) as cluster, cluster.client(timeout_s=60) as client:
        client.ask(admin.tune_splits(SPLIT_BYTES)).result()
        client.ask(admin.tune_hot(HOT_REQUESTS)).result()
        client.create_table("ordered", partitioner="range")
        rates = load(client, rows)
        points.say(f"{rows:,} rows; rows/s {rates[0]:,.0f} at first")
        points.at_least("shards at the end of the load", len(shards_of(client, "ordered")), SHARDS_MIN)
        points.at_least("slowest twentieth of the load over the first", min(rates) / rates[0], RATE_SHARE_MIN)

        def spread() -> bool:
            return at_rest(client) and times_the_mean(dict(bytes_of_nodes(client))) <= BYTES_TIMES_MAX

        wait_until(spread, "the bytes are spread", within_s=_SETTLED_S)
        fullest = times_the_mean(dict(bytes_of_nodes(client)))
        points.at_most(
            f"fullest node over the mean, {len(shards_of(client, 'ordered'))} shards", fullest, BYTES_TIMES_MAX
        )
        _hot(points, cluster, client, rows)
        most = len(shards_of(client, "ordered"))
        client.ask(admin.tune_cold(COLD_S)).result()
        empty(client, rows)
        points.say(f"nine of ten rows are deleted; {most} shards")
        wait_until(lambda: len(shards_of(client, "ordered")) <= most // 2, "it merges", within_s=3 * _SETTLED_S)
        points.say(f"{len(shards_of(client, 'ordered'))} shards are left")
        found = [key for key, _ in client.scan(table="ordered", timeout_s=60)]
        wrong = sum(key != key_of(10 * place) for place, key in enumerate(found)) + abs(len(found) - (rows + 9) // 10)
        points.at_most("rows missing, or that should not be there", wrong, 0)
    return points.status()


def _hot(points: Points, cluster: Cluster, client: zkv.Client, rows: int) -> None:
    stopping = threading.Event()
    asker = threading.Thread(target=ask_hot, args=(cluster, rows, stopping))
    asker.start()
    began = time.monotonic()

    def even() -> bool:
        loads = requests_of_nodes(client)
        is_asked = sum(loads.values()) > HOT_REQUESTS and time.monotonic() - began > COLD_S
        return is_asked and times_the_mean(loads) <= REQUESTS_TIMES_MAX and at_rest(client)

    try:
        wait_until(even, "the requests are spread", within_s=_SETTLED_S)
        took, loads = time.monotonic() - began, requests_of_nodes(client)
        points.say(f"a hot spot was spread within {took:.0f} s: {loads}, {len(shards_of(client, 'ordered'))} shards")
        points.at_most("busiest node over the mean", times_the_mean(loads), REQUESTS_TIMES_MAX)
    finally:
        stopping.set()
        asker.join()


if __name__ == "__main__":
    sys.exit(main())
