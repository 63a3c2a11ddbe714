"""Faults planted amid and behind busy histories, and whether the checkers flag every one.

python -m tests.checkers.planted               # the table, 20 histories a row
python -m tests.checkers.planted --histories 5
"""

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import msgspec

from tests.checkers.planted_tails import PLANTED, behind_noise
from tests.checkers.register_histories import random_history, without_some_versions
from tests.checkers.set_histories import busy_set, without_element
from tests.checkers.stale_histories import lagging
from zkv.checkers import counter, growing_set, linear, stale_reads
from zkv.checkers.history import Args, Call, Outcome, Verb, ended_ns
from zkv.checkers.verdict import Status, Verdict

CALLS, KEYS, CLIENTS = 2_000, 10, 20
CLIENTS_NOT_TOLD = 5  # with more of them at once on one key, and half the versions hidden, the search gives up

Pair = tuple[list[Call], list[Call]]  # with the fault, without it
Plant = Callable[[random.Random, list[Call]], list[Call]]  # raises LookupError where the history has no place for it


@dataclass(frozen=True)
class Row:
    """One kind of fault, what judges it, and how a pair is made from a seed."""

    fault: str
    where: str
    check: Callable[[list[Call]], Verdict]
    make: Callable[[int], Pair]


def with_outcome(call: Call, **changes: object) -> Call:
    """The call with another answer."""
    assert call.outcome is not None
    return msgspec.structs.replace(call, outcome=msgspec.structs.replace(call.outcome, **changes))


def told(history: list[Call], *verbs: Verb) -> list[Call]:
    """The calls of these kinds that were answered, in the order of versions."""
    found = [call for call in history if call.op in verbs and call.outcome is not None and not call.outcome.failed]
    return sorted(found, key=version_of)


def version_of(call: Call) -> int:
    """What the client was told."""
    assert call.outcome is not None
    return call.outcome.version or 0


def overwritten(chance: random.Random, history: list[Call]) -> tuple[Call, Call]:
    """Two puts, one wholly behind the other."""
    puts = told(history, Verb.PUT)
    pairs = [(old, new) for old, new in pairwise(puts) if ended_ns(old) < new.invoked_ns]
    return chance.choice(pairs)


def stale_read(chance: random.Random, history: list[Call]) -> list[Call]:
    """A read shows what was overwritten before it began."""
    old, new = overwritten(chance, history)
    read = chance.choice([call for call in told(history, Verb.GET) if call.invoked_ns > ended_ns(new)])
    return [
        with_outcome(call, value=old.args.value, version=version_of(old), found=True) if call is read else call
        for call in history
    ]


def lost_update(chance: random.Random, history: list[Call]) -> list[Call]:
    """Two that replace the same version both succeed."""
    swap = chance.choice([call for call in told(history, Verb.PUT_IF_VERSION) if call.args.version])
    twin = msgspec.structs.replace(swap, client="twin", args=Args("twin", version=swap.args.version))
    return [*history, with_outcome(twin, version=version_of(swap) + 1)]


def lost_write(chance: random.Random, history: list[Call]) -> list[Call]:
    """Whoever read a row after it was acknowledged finds the one before."""
    pairs = []
    puts = told(history, Verb.PUT)
    reads = told(history, Verb.GET)
    for old, new in pairwise(puts):
        later = [read for read in reads if version_of(read) == version_of(new) and read.invoked_ns > ended_ns(new)]
        if later and ended_ns(old) < new.invoked_ns:
            pairs.append((old, new))
    old, new = chance.choice(pairs)
    return [
        with_outcome(call, value=old.args.value, version=version_of(old))
        if call in reads and version_of(call) == version_of(new)
        else call
        for call in history
    ]


def doubled_increment(chance: random.Random, history: list[Call]) -> list[Call]:
    """An increment was applied twice: all that follow find more."""
    increments = told(history, Verb.INCREMENT)
    once = chance.choice(increments[:-1])
    by = once.args.by or 0
    return [
        with_outcome(call, value=str(int(call.outcome.value) + by))
        if call.outcome is not None and call.outcome.value is not None and version_of(call) > version_of(once)
        else call
        for call in history
    ]


def dirty_read(chance: random.Random, history: list[Call]) -> list[Call]:
    """A read shows the value of a put that was refused."""
    failed = [call for call in history if call.outcome is not None and call.outcome.failed]
    refused = chance.choice([call for call in failed if call.op is Verb.PUT_IF_VERSION])
    read = chance.choice([call for call in told(history, Verb.GET) if call.invoked_ns > refused.invoked_ns])
    return [with_outcome(call, value=refused.args.value, found=True) if call is read else call for call in history]


COUNTS = (Verb.INCREMENT, Verb.INCREMENT, Verb.GET)
ROWS = (Verb.PUT, Verb.PUT, Verb.GET, Verb.GET, Verb.DELETE, Verb.PUT_IF_VERSION)
AMID: dict[str, tuple[Plant, tuple[Verb, ...], float]] = {  # the mix of operations, and the share of unknown outcomes
    "stale read": (stale_read, ROWS, 0.02),
    "lost update": (lost_update, ROWS, 0.02),
    "lost write": (lost_write, ROWS, 0.02),
    "doubled increment": (doubled_increment, COUNTS, 0.0),  # an unknown one would explain it
    "dirty read": (dirty_read, ROWS, 0.02),
}


def amid(fault: str, seed: int, *, versions: bool) -> Pair:
    """One key of many, all used by many clients at once, has the fault somewhere in its history."""
    plant, verbs, lost = AMID[fault]
    clients = CLIENTS if versions else CLIENTS_NOT_TOLD
    chance = random.Random(f"{fault} {seed}")
    mine: list[Call] = []
    wrong: list[Call] | None = None
    while wrong is None:
        mine = random_history(chance, calls=CALLS // KEYS, clients=clients, lost=lost, verbs=verbs, key="k0")
        try:
            wrong = plant(chance, mine)
        except LookupError:  # this history has no such place
            continue
    rest = [
        call
        for number in range(1, KEYS)
        for call in random_history(
            chance, calls=CALLS // KEYS, clients=clients, lost=lost, verbs=verbs, key=f"k{number}"
        )
    ]
    if not versions:
        # The same clients are not told in both.
        hide = random.Random(seed).getrandbits(64)
        wrong, mine = (without_some_versions(random.Random(hide), history) for history in (wrong, mine))
    return [*rest, *wrong], [*rest, *mine]


def lost_element(seed: int) -> Pair:
    """An acknowledged element of a busy set is in no read."""
    chance = random.Random(seed)
    right = busy_set(chance)
    victim = chance.choice([call for call in right if call.op is Verb.ADD and call.effect == "done"])
    return without_element(right, victim.args.value or ""), right


def counted(seed: int, *, twice: bool) -> Pair:
    """An increment was applied twice, or is lost to all that follow."""
    chance = random.Random(seed)
    right = random_history(chance, calls=CALLS, clients=CLIENTS, lost=0.0, verbs=COUNTS)
    if twice:
        return doubled_increment(chance, right), right
    last = told(right, Verb.INCREMENT)[-1]
    read = Call(
        "last",
        "k",
        Verb.GET,
        Args(),
        ended_ns(last) + 10**9,
        ended_ns(last) + 10**9 + 1,
        Outcome(version_of(last), last.outcome.value if last.outcome else None, True),
        "done",
    )
    assert read.outcome is not None
    short = with_outcome(read, value=str(int(read.outcome.value or 0) - 1))
    return [*right, short], [*right, read]


def rows() -> list[Row]:
    """All faults: those of the linearizability checker in both places, then those of the small ones."""
    found = []
    for versions, name in ((True, "versions told"), (False, "half of the versions told")):
        found += [Row(fault, f"amid, {name}", linear.check, partial(amid, fault, versions=versions)) for fault in AMID]
        found += [
            Row(fault, f"behind, {name}", linear.check, partial(behind_noise, fault, versions=versions))
            for fault in PLANTED
        ]
    return [
        *found,
        Row("lost element", "a set that only grows", growing_set.check, lost_element),
        Row("doubled increment", "counters", counter.check, partial(counted, twice=True)),
        Row("lost increment", "counters", counter.check, partial(counted, twice=False)),
        Row("10 ms staler than it says", "reads of any replica", stale_reads.check, lying),
    ]


def lying(seed: int) -> Pair:
    """Replicas that are 10 ms older than they say."""
    return lagging(random.Random(seed), lie_ms=10), lagging(random.Random(seed), lie_ms=0)


def judged(row: Row, histories: int) -> tuple[int, int]:
    """How many of the planted faults were flagged, and how many of the right histories passed."""
    flagged = passed = 0
    for seed in range(histories):
        wrong, right = row.make(seed)
        flagged += row.check(wrong).status is Status.VIOLATION
        passed += row.check(right).status is Status.PASSED
    return flagged, passed


def main() -> int:
    """The table; 0 only if every fault was flagged and nothing else."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=20)
    args = parser.parse_args()
    print(f"{'fault':38} {'where':34} {'planted':>8} {'flagged':>8} {'right ones passed':>18}")
    missed = planted = 0
    for row in rows():
        flagged, passed = judged(row, args.histories)
        planted += args.histories
        missed += 2 * args.histories - flagged - passed
        print(f"{row.fault:38} {row.where:34} {args.histories:8} {flagged:8} {passed:18}", flush=True)
    print(f"{planted} faults planted, {missed} verdicts wrong")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
