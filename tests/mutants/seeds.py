"""`python -m tests.mutants.seeds FIRST COUNT [elastic]`, in a copy of the tree: simulate until a seed does not pass.

Prints one line of JSON: the seed that failed and its first failure, or null.
"""

import json
import sys

from zkv.sim.plan import Plan
from zkv.sim.run import simulate


def first_failure(first: int, count: int, *, elastic: bool) -> dict[str, object] | None:
    """The first of the seeds that fails, and why."""
    for seed in range(first, first + count):
        report = simulate(seed, Plan(elastic=elastic))
        if report.result == "failed":
            return {"seed": seed, "failure": report.failures[0]}
    return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(first_failure(int(sys.argv[1]), int(sys.argv[2]), elastic="elastic" in sys.argv[3:])))
