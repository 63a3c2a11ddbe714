"""The coordinator that leads a group of three dies again and again amid joins, drains, splits and merges.

python -m tests.elastic.coordinators           # fifty times, some ten minutes; --kills N
"""

import argparse
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from pathlib import Path
from random import Random

import zkv
from tests.cluster.waits import wait_until
from tests.elastic.clusters import at_rest, held, leading, order, subscribed
from tests.elastic.points import Points
from tests.elastic.watched import Watched
from zkv.chaos.keys import PARTINGS, RANGE
from zkv.testing import Cluster

_SPARE = "node4"
_TRIES = 10


def insist(request: Callable[[], None]) -> None:
    """Ask until it is done: who is asked may die while it is."""
    for _ in range(_TRIES):
        try:
            request()
        except zkv.ZkvError:
            continue
        return
    request()


def leader(client: zkv.Client) -> str:
    """The coordinator that leads, once it is one."""
    found: list[str] = []

    def one_leads() -> bool:
        found[:] = leading(client)
        return len(found) == 1

    wait_until(one_leads, "one coordinator leads")
    return found[0]


def changes(cluster: Cluster, client: zkv.Client) -> Iterator[Callable[[], None]]:
    """One change after the other, without end; each waits until it has come to pass."""
    for at in cycle(PARTINGS):
        yield lambda: cluster.start(_SPARE)
        yield lambda at=at: insist(lambda: client.split_table(RANGE, at, timeout_s=30))  # type: ignore[misc]
        yield lambda: _empty(client)
        yield lambda at=at: insist(lambda: client.merge_shards(RANGE, at, timeout_s=30))  # type: ignore[misc]
        yield lambda: _forget(cluster, client)


def _empty(client: zkv.Client) -> None:
    wait_until(lambda: held(client, _SPARE) > 0, f"{_SPARE} gets something")
    insist(lambda: order(client, _SPARE, "drain"))
    wait_until(lambda: held(client, _SPARE) == 0, f"{_SPARE} holds nothing", within_s=120)


def _forget(cluster: Cluster, client: zkv.Client) -> None:
    assert cluster.terminate(_SPARE) == 0
    insist(lambda: order(client, _SPARE, "remove"))
    wait_until(lambda: all(one.node != _SPARE for one in client.shard_map().nodes), f"{_SPARE} is forgotten")
    shutil.rmtree(cluster.folder_of(_SPARE))  # who was removed joins anew with an empty folder
    cluster.forget(_SPARE)


class Step:
    """A change that goes on while a coordinator dies."""

    def __init__(self, change: Callable[[], None]) -> None:
        self._change = change
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait(self, most_s: float | None = None) -> None:
        """Until it has come to pass. Raises what it raised."""
        self._thread.join(most_s)
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            self._change()
        except BaseException as error:
            self._failed = error


def main() -> int:
    """Print each point; 0 only if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rate", type=float, default=200.0)
    args = parser.parse_args()
    points, rng = Points(), Random(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster(nodes=3, coordinators=3) as cluster,
        cluster.client(timeout_s=20) as client,
        subscribed(client.shard_map().publishers) as deltas,
    ):
        with Watched(cluster, Path(folder) / "load", rate_per_s=args.rate) as load:
            first = client.shard_map().version
            steps = changes(cluster, client)
            for number in range(1, args.kills + 1):
                victim = leader(client)
                step = Step(next(steps))
                step.wait(rng.uniform(0.0, 0.3))
                cluster.kill(victim)
                cluster.start(victim)
                step.wait()
                points.say(f"{number}: {victim} was killed; the map is at version {client.shard_map().version}")
            wait_until(lambda: at_rest(client), "nothing is under way", within_s=120)
            last = client.shard_map().version
            load.end()
        points.say(f"{len(load.calls):,} operations; the map went from version {first} to {last}")
        points.at_most("requests that failed", load.failed(), 0)
        points.none("wrong in the history", load.wrong())
        heard = [delta.version for delta in deltas if first < delta.version <= last]
        points.at_most("versions that nobody broadcast", last - first - len(set(heard)), 0)
        points.at_most("steps back in what was broadcast", sum(b < a for a, b in pairwise(heard)), 0)
    return points.status()


if __name__ == "__main__":
    sys.exit(main())
