"""How many histories the linearizability checker judges in a minute, in one process.

python -m tests.checkers.speed                 # histories of 10,000 operations by 20 clients on 50 keys
python -m tests.checkers.speed --profile       # and where the time goes
"""

import argparse
import cProfile
import pstats
import random
import sys
import time

from tests.checkers.register_histories import VERBS, random_history
from zkv.checkers.history import Call, Verb, from_lines, to_lines
from zkv.checkers.linear import check
from zkv.checkers.verdict import Status

MIXES = {
    "all verbs": VERBS,
    "put and get": (Verb.PUT, Verb.GET),
    "counters": (Verb.INCREMENT, Verb.INCREMENT, Verb.GET),
}


def busy_history(seed: int, verbs: tuple[Verb, ...], *, calls: int, keys: int, clients: int, lost: float) -> list[Call]:
    """A right history of many keys, each used by all clients at once, with that share of unknown outcomes."""
    return [
        call
        for key in range(keys)
        for call in random_history(
            random.Random(f"{seed} {key}"),
            calls=calls // keys,
            clients=clients,
            lost=lost,
            verbs=verbs,
            key=f"k{key}",
        )
    ]


def measured(histories: list[list[Call]], seconds: float) -> float:
    """Operations judged in a second. Raises AssertionError if a right history does not pass."""
    judged = 0
    began = time.process_time()
    while time.process_time() - began < seconds:
        for history in histories:
            assert check(history).status is Status.PASSED
            judged += len(history)
    return judged / (time.process_time() - began)


def main() -> int:
    """A line for each mix of operations and share of unknown outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0, help="of CPU, for each line")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    print(f"{args.calls} operations a history, {args.clients} clients, {args.keys} keys; CPU time of one process")
    print(f"{'mix':12} {'unknown':>8} {'operations/s':>13} {'histories/min':>14} {'with reading/min':>17}")
    for name, verbs in MIXES.items():
        for lost in (0.0, 0.001, 0.01):
            histories = [
                busy_history(seed, verbs, calls=args.calls, keys=args.keys, clients=args.clients, lost=lost)
                for seed in range(3)
            ]
            with cProfile.Profile() as profile:
                profile.disable()
                if args.profile:
                    profile.enable()
                rate = measured(histories, args.seconds)
            lines = [list(to_lines(history)) for history in histories]
            began = time.process_time()
            for history in lines:
                from_lines(history)
            reading = (time.process_time() - began) / sum(map(len, lines))
            whole = 1 / (1 / rate + reading)
            minute = 60 / args.calls
            print(f"{name:12} {lost:8.1%} {rate:13,.0f} {rate * minute:14,.0f} {whole * minute:17,.0f}", flush=True)
            if args.profile:
                pstats.Stats(profile).sort_stats("tottime").print_stats(12)
    return 0


if __name__ == "__main__":
    sys.exit(main())
