"""The checker of stale reads: what replicas that lag may answer passes, each planted fault is flagged."""

import random

import msgspec
import pytest

from zkv.checkers.history import Args, Call, Outcome, Verb
from zkv.checkers.stale_reads import check
from zkv.checkers.verdict import Status

MS = 1_000_000


def put(start_ms: float, end_ms: float | None, value: str, version: int | None, effect: str = "done") -> Call:
    outcome = None if version is None else Outcome(version)
    end = None if end_ms is None else int(end_ms * MS)
    return Call("w", "k", Verb.PUT, Args(value), int(start_ms * MS), end, outcome, effect)


def delete(start_ms: float, end_ms: float | None, version: int | None) -> Call:
    outcome = None if version is None else Outcome(version, found=True)
    effect = "unknown" if version is None else "done"
    end = None if end_ms is None else int(end_ms * MS)
    return Call("w", "k", Verb.DELETE, Args(), int(start_ms * MS), end, outcome, effect)


def get(start_ms: float, value: str | None, version: int, stale_ms: int | None) -> Call:
    outcome = Outcome(version, value, value is not None)
    return Call("r", "k", Verb.GET, Args(), int(start_ms * MS), int((start_ms + 1) * MS), outcome, "done", stale_ms)


A, B = put(0, 1, "a", 3), put(10, 11, "b", 5)
# name: (history, drift, what it is, what the evidence says); a read takes 1 ms, and B was known from 11 ms on
TABLE = {
    "nothing at all": ([], 0.0, Status.PASSED, "0 operations"),
    "the newest": ([A, B, get(50, "b", 5, 0)], 0.0, Status.PASSED, "1 operations on 1 keys"),
    "older by what it says": ([A, B, get(50, "a", 3, 38)], 0.0, Status.PASSED, ""),
    "older than it says": ([A, B, get(50, "a", 3, 37)], 0.0, Status.VIOLATION, "version 5 was known 39.0 ms before"),
    "older by the drift of a clock": ([A, B, get(50, "a", 3, 37)], 0.1, Status.PASSED, ""),
    "no row is older than it says": ([A, get(50, None, 0, 10)], 0.0, Status.VIOLATION, "version 3 was known"),
    "no row, but by a delete": ([A, delete(20, 21, 4), get(50, None, 0, 10)], 0.0, Status.PASSED, ""),
    "no row, by a delete that is not known": (
        [A, delete(20, None, None), get(50, None, 0, 10)],
        0.0,
        Status.PASSED,
        "",
    ),
    "no row, by a delete that was long over": (
        [delete(0, 1, 1), put(2, 3, "a", 3), get(50, None, 0, 10)],
        0.0,
        Status.VIOLATION,
        "version 3 was known",
    ),
    "no row, but the delete came later": (
        [A, get(50, None, 0, 10), delete(60, 61, 4)],
        0.0,
        Status.VIOLATION,
        "version 3",
    ),
    "a row that was deleted": (
        [A, delete(20, 21, 4), get(50, "a", 3, 10)],
        0.0,
        Status.VIOLATION,
        "version 4 was known",
    ),
    "backwards within what it says": (
        [A, put(10, None, "b", None, "unknown"), get(30, "b", 5, 0), get(50, "a", 3, 20)],
        0.0,
        Status.PASSED,
        "",
    ),
    "backwards by more than it says": (
        [A, put(10, None, "b", None, "unknown"), get(30, "b", 5, 0), get(50, "a", 3, 10)],
        0.0,
        Status.VIOLATION,
        "version 5 was known 19.0 ms before",
    ),
    "behind a linearizable read": (
        [A, put(10, None, "b", None, "unknown"), get(30, "b", 5, None), get(50, "a", 3, 10)],
        0.0,
        Status.VIOLATION,
        "version 5 was known 19.0 ms before",
    ),
    "never written": ([A, get(50, "ghost", 4, 0)], 0.0, Status.VIOLATION, "nobody had written"),
    "not yet written": ([get(5, "a", 3, 0), put(10, 11, "a", 3)], 0.0, Status.VIOLATION, "nobody had written"),
    "refused, yet read": (
        [put(0, 1, "a", None, "none"), get(50, "a", 3, 0)],
        0.0,
        Status.VIOLATION,
        "nobody had written",
    ),
    "a version with two values": ([A, B, get(50, "a", 5, 0)], 0.0, Status.VIOLATION, "two values of one version"),
    "two reads, a version, two values": (
        [
            put(0, None, "a", None, "unknown"),
            put(0, None, "b", None, "unknown"),
            get(50, "a", 5, 0),
            get(60, "b", 5, 0),
        ],
        0.0,
        Status.VIOLATION,
        "two values of one version",
    ),
    "no version told": (
        [A, msgspec.structs.replace(get(50, "a", 0, 0), outcome=Outcome(None, "a", True))],
        0.0,
        Status.UNKNOWN,
        "1 reads told no version",
    ),
    "linearizable reads are not its concern": ([A, B, get(50, "a", 3, None)], 0.0, Status.PASSED, "0 operations"),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_stale_read_is_judged(name: str) -> None:
    history, drift, expected, evidence = TABLE[name]
    verdict = check(history, drift=drift)
    assert (verdict.status, evidence in str(verdict)) == (expected, True), str(verdict)


def lagging(chance: random.Random, *, lie_ms: int) -> list[Call]:
    """Writers, and replicas that lag by up to 50 ms and say so; each says `lie_ms` less than it is."""
    states: list[tuple[float, str | None, int]] = [(-1.0, None, 0)]  # since when, value, version
    calls = []
    for number in range(1, 300):
        at = number + chance.random()
        start, end = at - chance.random() * 3, at + chance.random() * 3
        if chance.random() < 0.1:
            states.append((at, None, number))
            calls.append(delete(start, end, number) if chance.random() < 0.9 else delete(start, None, None))
            continue
        states.append((at, f"v{number}", number))
        told = chance.random() < 0.8
        calls.append(put(start, end, f"v{number}", number if told else None, "done" if told else "unknown"))
    for number in range(300):
        start = number + chance.random()
        lag_ms = chance.randrange(51)
        _, value, version = (
            [state for state in states if state[0] <= start - lag_ms][-1] if start > lag_ms else states[0]
        )
        version = version if value is not None else 0
        calls.append(get(start, value, version, max(0, lag_ms - lie_ms)))
    return calls


@pytest.mark.parametrize("seed", range(10))
def test_replicas_that_lag_pass_and_those_that_lie_are_flagged(seed: int) -> None:
    assert check(lagging(random.Random(seed), lie_ms=0)).status is Status.PASSED
    assert check(lagging(random.Random(seed), lie_ms=10)).status is Status.VIOLATION
