"""The linearizability checker against a judge that tries every order, on small random histories, right and spoilt.

python -m tests.checkers.agreement                     # 2,000 histories of each profile, each right, then spoilt
python -m tests.checkers.agreement --histories 20000
"""

import argparse
import random
import sys
from collections import Counter

from tests.checkers.register_histories import random_history, spoilt, tries_all, without_some_versions
from zkv.checkers import forced
from zkv.checkers.history import Call, Verb
from zkv.checkers.linear import check, search
from zkv.checkers.register import steps_of
from zkv.checkers.verdict import Status

PROFILES: dict[str, dict[str, object]] = {
    "all verbs": {},
    "registers": {"verbs": (Verb.PUT, Verb.GET, Verb.GET, Verb.DELETE), "values": 2},
    "counters": {"verbs": (Verb.INCREMENT, Verb.INCREMENT, Verb.GET, Verb.DELETE)},
    "conditions": {"verbs": (Verb.PUT_IF_VERSION, Verb.PUT_IF_ABSENT, Verb.GET, Verb.DELETE, Verb.PUT), "values": 1},
}


def small_history(profile: str, seed: int) -> tuple[list[Call], list[Call]]:
    """A right history, and what became of it when answers or times were changed at random."""
    chance = random.Random(f"{profile} {seed}")
    right = random_history(
        chance,
        calls=chance.randint(2, 7),
        clients=chance.randint(1, 4),
        lost=chance.choice([0.0, 0.2, 0.5]),
        **PROFILES[profile],
    )
    if chance.random() < 0.6:
        right = without_some_versions(chance, right)
    changed = right
    for _ in range(chance.randint(1, 3)):
        changed = spoilt(chance, changed)
    return right, changed


def compared(profile: str, histories: int) -> Counter[str]:
    """How many spoilt histories are right, and wrong; how many the order of versions settles; on how many all disagree.

    The checker, and the search without the order of versions, against the judge.
    """
    counts: Counter[str] = Counter()
    for seed in range(histories):
        right, changed = small_history(profile, seed)
        still_right = tries_all(changed)
        counts["still right" if still_right else "wrong"] += 1
        for history, expected in ((right, True), (changed, still_right)):
            known, unknown = steps_of(history)
            by_versions = forced.stands(known, unknown)
            by_search = search("k", known, unknown) is None
            told = check(history).status is (Status.PASSED if expected else Status.VIOLATION)
            contradicts = forced.contradiction("k", known) is not None
            counts["by versions"] += by_versions or contradicts
            counts["disagreements"] += by_search is not expected or not told
            counts["disagreements"] += (by_versions and not expected) or (contradicts and expected)
    return counts


COLUMNS = ("still right", "wrong", "by versions", "disagreements")


def main() -> int:
    """A line for each profile; 0 only if all agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=2_000)
    args = parser.parse_args()
    print(f"{'profile':12} {'right':>8} {'spoilt':>8}", *(f"{name:>14}" for name in COLUMNS))
    disagreements = 0
    for profile in PROFILES:
        found = compared(profile, args.histories)
        disagreements += found["disagreements"]
        shown = [f"{found[name]:14}" for name in COLUMNS]
        print(f"{profile:12} {args.histories:8} {args.histories:8}", *shown, flush=True)
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
