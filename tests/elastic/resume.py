"""A large shard moves, and an end of its snapshot is killed in the middle: the next stream sends what is missing.

python -m tests.elastic.resume                 # a shard of 200 MB, some two minutes; --bytes N
"""

import argparse
import sys
import time
from collections.abc import Callable

import zkv
from tests.cluster.waits import wait_until
from tests.elastic.clusters import at_rest, fill, held, order, shards_of
from tests.elastic.points import Points
from tests.elastic.transfer import leader, learner, value_of
from zkv.core.routing import admin
from zkv.storage.memtable import GENERATION_BYTES, UNFLUSHED_BYTES
from zkv.testing import Cluster

_RATE = 16 * 1024 * 1024  # bytes a second
_MIDDLE = 0.7  # of the snapshot is there when somebody is killed
_ROW_BYTES = 1_000
_MOVED_S_MAX = 300.0
_LOST_MAX = (
    UNFLUSHED_BYTES + 2 * GENERATION_BYTES
)  # that a receiver had not on disk: what came while it was flushed, too
_CHANGED = 200  # rows that are written between the streams
_CHANGED_BYTES_MAX = 2 * _CHANGED * 16 * 1024  # a piece for each, at both places where it may be cut


def streams(client: zkv.Client) -> list[dict[str, int]]:
    """Of the shard, by the word of who sends them."""
    [shard] = shards_of(client, "big")
    rows: list[dict[str, int]] = []
    for told in client.status().values():
        transfers = (told or {}).get("transfers")
        rows += transfers if isinstance(transfers, list) else []
    return [row for row in rows if row["shard"] == shard.shard and row["sent"]]


def moved(cluster: Cluster, client: zkv.Client, size: int, victim: Callable[[], str]) -> tuple[int, int, int]:
    """Move the shard, with a kill amid it. Returns bytes that had come, that the next stream kept, and that it sent."""
    leaving = leader(client)
    order(client, leaving, "drain")
    wait_until(
        lambda: any(row["bytes"] > size * _MIDDLE for row in streams(client)), "most of it is there", within_s=60.0
    )
    had = max(row["bytes"] for row in streams(client))
    name = victim()
    cluster.kill(name)
    cluster.start(name)
    client.mput({b"%09d" % (number * 997): value_of(number * 997) for number in range(_CHANGED)}, table="big")
    kept = sent = 0
    end = time.monotonic() + _MOVED_S_MAX
    while held(client, leaving) and time.monotonic() < end:
        for row in streams(client):
            if row["kept"]:  # else it is the stream that was killed, or nothing of the next has come yet
                kept, sent = max(kept, row["kept"]), max(sent, row["bytes"] - row["kept"])
    order(client, leaving, "undrain")
    wait_until(lambda: at_rest(client), "nothing is under way", within_s=_MOVED_S_MAX)
    cluster.wait_until_whole(lag_max=10_000)
    return had, kept, sent


def main() -> int:
    """Print each point; 0 only if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=200_000_000)
    args = parser.parse_args()
    points = Points()
    with Cluster(nodes=4) as cluster, cluster.client(timeout_s=30) as client:
        client.ask(admin.change_tuning(balance=False, bytes_per_s=_RATE)).result()
        client.ask(admin.tune_splits(0)).result()
        client.create_table("big", partitioner="range")
        rows = args.bytes // _ROW_BYTES
        fill(client, "big", rows, value_of)
        for what, victim, lost in (
            ("receiver", lambda: learner(client), _LOST_MAX),
            ("sender", lambda: leader(client), 0),
        ):
            had, kept, sent = moved(cluster, client, args.bytes, victim)
            points.say(f"{what} killed when {had:,} bytes had come: the next stream kept {kept:,} and sent {sent:,}")
            missing = args.bytes - had + lost + _CHANGED_BYTES_MAX
            points.at_most(f"MB sent after the {what} was killed", sent / 1e6, missing / 1e6)
        wrong = sum(value != value_of(int(key)) for key, value in client.scan(table="big"))
        points.at_most("rows that are wrong", wrong, 0)
    return points.status()


if __name__ == "__main__":
    sys.exit(main())
