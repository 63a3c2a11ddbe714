"""Small faults, each behind a busy history that cannot explain it, and each beside the same without the fault."""

import random

import msgspec

from tests.checkers.register_histories import random_history, without_some_versions
from zkv.checkers.history import Args, Call, Outcome, Verb


def call(op: Verb, start: int, end: int | None, outcome: Outcome | None, *, client: str = "x", **args: object) -> Call:
    effect = "unknown" if outcome is None else "done"
    return Call(client, "k", op, msgspec.convert(args, Args), start, end, outcome, effect)


def put(start: int, value: str, version: int) -> Call:
    return call(Verb.PUT, start, start + 5, Outcome(version), value=value)


def get(start: int, value: str | None, version: int) -> Call:
    return call(Verb.GET, start, start + 5, Outcome(version, value, value is not None))


def swapped(start: int, end: int, expects: int, value: str, outcome: Outcome, client: str) -> Call:
    return call(Verb.PUT_IF_VERSION, start, end, outcome, client=client, value=value, version=expects)


def increment(start: int, value: str, version: int) -> Call:
    return call(Verb.INCREMENT, start, start + 5, Outcome(version, value), by=1)


LOST_INCREMENT = call(Verb.INCREMENT, 20, None, None, by=1)
REFUSED = Call("x", "k", Verb.PUT, Args("never"), 20, 25, None, "none")
# name: (the fault, the same without it); the row is ("5", version 100000) before, and all runs after the noise
PLANTED = {
    "stale read": ([put(20, "a", 100_001), get(30, "5", 100_000)], [put(20, "a", 100_001), get(30, "a", 100_001)]),
    "stale read behind another": (
        [put(20, "a", 100_001), get(30, "a", 100_001), get(40, "5", 100_000)],
        [put(20, "a", 100_001), get(30, "a", 100_001), get(40, "a", 100_001)],
    ),
    "lost update": (
        [
            swapped(20, 30, 100_000, "a", Outcome(100_001), "x"),
            swapped(22, 32, 100_000, "b", Outcome(100_002), "y"),
        ],
        [
            swapped(20, 30, 100_000, "a", Outcome(100_001), "x"),
            swapped(22, 32, 100_000, "b", Outcome(100_001, failed=True), "y"),
        ],
    ),
    "lost write": (
        [put(20, "a", 100_001), put(30, "b", 100_002), get(40, "a", 100_001)],
        [put(20, "a", 100_001), put(30, "b", 100_002), get(40, "b", 100_002)],
    ),
    "lost row": ([put(20, "a", 100_001), get(40, None, 0)], [put(20, "a", 100_001), get(40, "a", 100_001)]),
    "doubled increment": (
        [increment(20, "6", 100_001), get(30, "7", 100_002)],
        [increment(20, "6", 100_001), get(30, "6", 100_001)],
    ),
    "doubled increment of unknown outcome": (
        [LOST_INCREMENT, get(30, "6", 100_001), get(40, "7", 100_002)],
        [LOST_INCREMENT, get(30, "5", 100_000), get(40, "6", 100_001)],
    ),
    "lost increment": (
        [increment(20, "6", 100_001), increment(22, "6", 100_002)],
        [increment(20, "6", 100_001), increment(22, "7", 100_002)],
    ),
    "dirty read": ([REFUSED, get(30, "never", 100_001)], [REFUSED, get(30, "5", 100_000)]),
    "read undone": (
        [call(Verb.PUT, 20, None, None, value="a"), get(30, "a", 100_001), get(40, "5", 100_000)],
        [call(Verb.PUT, 20, None, None, value="a"), get(30, "5", 100_000), get(40, "a", 100_001)],
    ),
    "read of what nobody wrote": ([get(30, "z", 100_001)], [get(30, "5", 100_000)]),
    "version met twice": (
        [call(Verb.DELETE, 20, 25, Outcome(100_001, found=True)), put(30, "a", 100_001)],
        [call(Verb.DELETE, 20, 25, Outcome(100_001, found=True)), put(30, "a", 100_002)],
    ),
    "absent twice": (
        [
            call(Verb.DELETE, 20, 25, Outcome(100_001, found=True)),
            call(Verb.PUT_IF_ABSENT, 30, 39, Outcome(100_002), value="a"),
            call(Verb.PUT_IF_ABSENT, 32, 38, Outcome(100_003), value="b"),
        ],
        [
            call(Verb.DELETE, 20, 25, Outcome(100_001, found=True)),
            call(Verb.PUT_IF_ABSENT, 30, 39, Outcome(100_002), value="a"),
            call(Verb.PUT_IF_ABSENT, 32, 38, Outcome(100_002, failed=True), value="b"),
        ],
    ),
}
NEEDS_VERSIONS = {"version met twice"}


def noise(seed: int, *, versions: bool) -> tuple[list[Call], int]:
    """300 calls of 5 clients, none of which could explain a planted fault, and when the last has ended."""
    chance = random.Random(seed)
    if seed % 2:
        history = random_history(chance, calls=300, clients=5, lost=0.1, verbs=(Verb.PUT, Verb.GET))
    else:
        history = random_history(chance, calls=300, clients=5, lost=0.0)
    history = history if versions else without_some_versions(chance, history)
    return history, max(found.completed_ns or found.invoked_ns for found in history)


def behind_noise(fault: str, seed: int, *, versions: bool) -> tuple[list[Call], list[Call]]:
    """The history with the fault, and without it."""
    before, end = noise(seed, versions=versions)
    base = call(Verb.PUT, end + 1, end + 5, Outcome(100_000), value="5")
    bare = not versions and fault not in NEEDS_VERSIONS
    wrong, right = (
        [*before, base, *(_moved(without_version(found) if bare else found, end) for found in planted)]
        for planted in PLANTED[fault]
    )
    return wrong, right


def without_version(found: Call) -> Call:
    """The call, as a client sees it that is not told versions."""
    if found.outcome is None or found.outcome.failed:
        return found
    return msgspec.structs.replace(found, outcome=msgspec.structs.replace(found.outcome, version=None))


def _moved(found: Call, by_ns: int) -> Call:
    end = None if found.completed_ns is None else found.completed_ns + by_ns
    return msgspec.structs.replace(found, invoked_ns=found.invoked_ns + by_ns, completed_ns=end)
