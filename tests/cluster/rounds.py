"""Rounds of kill -9 (and SIGSTOP) under a checked load: what each round cost, and that nothing was lost.

python -m tests.cluster.rounds                 # 10 rounds of each kind; of `absence`, which takes a minute, one
python -m tests.cluster.rounds --rounds 2 --kind leader --kind pause
"""

import argparse
import sys
import time
from collections.abc import Callable

from tests.cluster.load import CheckedLoad
from zkv.testing import Cluster

WITHIN_S = 2.0
PAUSE_S = 5.0
ABSENCE_S = 60.0


def follower(cluster: Cluster, load: CheckedLoad) -> None:
    """Kill a node that does not lead the first counter's shard, and start it again."""
    leader = cluster.leader_of(f"counter-{load.tag}-0")
    victim = next(name for name in cluster.names if name.startswith("node") and name != leader)
    cluster.kill(victim)
    load.wait_until_all_advanced()
    cluster.start(victim)


def leader(cluster: Cluster, load: CheckedLoad) -> None:
    """Kill the node that leads the first counter's shard, and start it again."""
    victim = cluster.leader_of(f"counter-{load.tag}-0")
    cluster.kill(victim)
    load.wait_until_all_advanced()
    cluster.start(victim)


def coordinator(cluster: Cluster, load: CheckedLoad) -> None:
    """Kill the coordinator, and start it again."""
    cluster.kill("coordinator")
    load.wait_until_all_advanced()
    cluster.start("coordinator")


def everything(cluster: Cluster, load: CheckedLoad) -> None:
    """Kill every process at once, and start them again."""
    del load
    for name in cluster.names:
        cluster.kill(name)
    for name in cluster.names:
        cluster.start(name)


def pause(cluster: Cluster, load: CheckedLoad) -> None:
    """Stop the leader with SIGSTOP for longer than any lease, then let it go on."""
    victim = cluster.leader_of(f"counter-{load.tag}-0")
    cluster.pause(victim)
    load.wait_until_all_advanced()
    go_on(load, PAUSE_S)
    cluster.resume(victim)


def absence(cluster: Cluster, load: CheckedLoad, lasting_s: float = ABSENCE_S) -> None:
    """Kill the coordinator; half-way through its absence kill a leader and start it again; only then bring it back."""
    cluster.kill("coordinator")
    go_on(load, lasting_s / 2)
    leader(cluster, load)
    go_on(load, lasting_s / 2)
    cluster.start("coordinator")


def go_on(load: CheckedLoad, lasting_s: float) -> None:
    """For so long, every writer keeps being answered."""
    end = time.monotonic() + lasting_s
    while time.monotonic() < end:
        load.wait_until_all_advanced()


Kind = Callable[[Cluster, CheckedLoad], None]
KINDS: dict[str, Kind] = {
    "follower": follower,
    "leader": leader,
    "coordinator": coordinator,
    "everything": everything,
    "pause": pause,
    "absence": absence,
}


def run_round(cluster: Cluster, load: CheckedLoad, kind: Kind) -> float:
    """One round; returns the longest request in seconds."""
    cluster.wait_until_whole(lag_max=2_000)  # the load goes on
    load.begin_round()
    kind(cluster, load)
    load.wait_until_all_advanced()
    return load.findings.longest_s


def main() -> int:
    """Print a line a round; 0 only if nothing was lost, doubled or stale, and no leader's death cost over WITHIN_S."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    args = parser.parse_args()
    slow = 0
    with Cluster(nodes=3) as cluster:
        load = CheckedLoad(cluster.address)
        load.start()
        for kind in args.kind or list(KINDS):
            for number in range(1, (args.rounds if kind != "absence" else 1) + 1):
                longest = run_round(cluster, load, KINDS[kind])
                slow += kind != "everything" and longest > WITHIN_S
                print(f"{kind:12} round {number:2}: longest request {longest:5.2f} s", flush=True)  # noqa: T201
        found = load.stop()
    print(  # noqa: T201
        f"{found.operations} operations, {found.unknown} of unknown outcome, {found.refused} refused, "
        f"{len(found.faults)} faults, {slow} rounds over {WITHIN_S} s"
    )
    for fault in found.faults[:20]:
        print(fault)  # noqa: T201
    return 1 if found.faults or slow else 0


if __name__ == "__main__":
    sys.exit(main())
