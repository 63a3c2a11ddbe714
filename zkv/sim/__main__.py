"""`python -m zkv.sim --seed N --runs M`: search from a seed on, and stop at the first failure."""

import argparse
import json
import sys
import time

from zkv.sim.run import Plan, simulate


def main() -> int:
    """0: all passed. 1: a run failed or could not be judged; it is printed."""
    parser = argparse.ArgumentParser(prog="python -m zkv.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--trouble-ms", type=int, default=Plan().trouble_ms)
    parser.add_argument("--quiet", action="store_true", help="no faults")
    parser.add_argument("--trace", action="store_true", help="tell the story")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    given = parser.parse_args()
    plan = Plan(trouble_ms=given.trouble_ms, quiet=given.quiet)
    story = (lambda line: print(line)) if given.trace else None  # noqa: T201  # a command's output
    failed = 0
    began = time.monotonic()
    for seed in range(given.seed, given.seed + given.runs):
        report = simulate(seed, plan, story=story)
        failed += report.result != "passed"
        if given.json:
            print(json.dumps(report.as_dict()))  # noqa: T201
        elif report.result != "passed" or given.runs == 1:
            print("\n".join(report.lines()), flush=True)  # noqa: T201
        if failed and not given.keep_going:
            break
    minutes = (time.monotonic() - began) / 60
    done = seed - given.seed + 1
    print(f"{done} runs, {failed} not passed, {done / minutes:.0f} a minute", file=sys.stderr)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
