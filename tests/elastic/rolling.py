"""Every process is stopped by SIGTERM and started again, one after the other, under load: no request fails.

python -m tests.elastic.rolling                # three coordinators and three nodes, two rounds; --rounds N
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.elastic.points import Points
from tests.elastic.watched import Watched
from zkv.testing import Cluster


def main() -> int:
    """Print each point; 0 only if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate", type=float, default=300.0)
    args = parser.parse_args()
    points = Points()
    with tempfile.TemporaryDirectory() as folder, Cluster(nodes=3, coordinators=3) as cluster:
        with Watched(cluster, Path(folder) / "load", rate_per_s=args.rate) as load:
            for number in range(1, args.rounds + 1):
                for name in list(cluster.names):
                    assert cluster.terminate(name) == 0
                    cluster.start(name)
                    cluster.wait_until_whole(lag_max=10_000)
                points.say(f"round {number}")
            load.end()
        longest_ms = max((call.completed_ns or 0) - call.invoked_ns for call in load.calls) / 1e6
        points.say(f"{len(load.calls):,} operations, the longest took {longest_ms:.0f} ms")
        points.at_most("requests that failed", load.failed(), 0)
        points.none("wrong in the history", load.wrong())
    return points.status()


if __name__ == "__main__":
    sys.exit(main())
