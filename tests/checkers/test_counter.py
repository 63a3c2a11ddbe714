"""The checker of counters: right histories pass, each planted fault is flagged, and `linear` agrees."""

import random

import msgspec
import pytest

from tests.checkers.register_histories import random_history, spoilt
from zkv.checkers import linear
from zkv.checkers.counter import check
from zkv.checkers.history import Args, Call, Outcome, Verb
from zkv.checkers.verdict import Status


def inc(start: int, end: int | None, made: int | None, *, by: int = 1, effect: str = "done") -> Call:
    outcome = None if made is None else Outcome(value=str(made))
    return Call("w", "c", Verb.INCREMENT, Args(by=by), start, end, outcome, effect)


def get(start: int, end: int, value: int | None, *, stale_ms: int | None = None) -> Call:
    outcome = Outcome(value=None if value is None else str(value), found=value is not None)
    return Call("r", "c", Verb.GET, Args(), start, end, outcome, "done", stale_ms)


LOST = inc(1, None, None, effect="unknown")
UNTOLD = inc(1, 2, None)
# name: (history, what it is, what the evidence says)
TABLE = {
    "nothing at all": ([], Status.PASSED, ""),
    "no row is nought": ([get(1, 2, None), inc(3, 4, 1), get(5, 6, 1)], Status.PASSED, ""),
    "two at a time, in either order": ([inc(1, 9, 2), inc(1, 9, 1), get(10, 11, 2)], Status.PASSED, ""),
    "unknown and not there": ([LOST, get(3, 4, None)], Status.PASSED, ""),
    "unknown and there late": ([LOST, get(3, 4, 0), get(5, 6, 1), inc(7, 8, 2)], Status.PASSED, ""),
    "refused": ([inc(1, 2, None, effect="none"), get(3, 4, None)], Status.PASSED, ""),
    "down and up": ([inc(1, 9, 5, by=5), inc(1, 9, 2, by=-3), get(10, 11, 2)], Status.PASSED, ""),
    "a stale read tells nothing": ([inc(1, 2, 1), get(3, 4, None, stale_ms=9)], Status.PASSED, ""),
    "a key that was also put is no counter": (
        [Call("w", "c", Verb.PUT, Args("9"), 1, 2, Outcome(1), "done"), inc(3, 4, 10)],
        Status.PASSED,
        "0 operations on 0 keys",
    ),
    "nobody looked": ([UNTOLD], Status.UNKNOWN, "1 acknowledged increments"),
    "acknowledged and looked for": ([UNTOLD, get(3, 4, 1)], Status.PASSED, ""),
    "lost": ([inc(1, 2, 1), get(3, 4, None)], Status.VIOLATION, "0 was read; at least 1 was acknowledged"),
    "lost though it told no sum": ([UNTOLD, get(3, 4, 0)], Status.VIOLATION, "at least 1 was acknowledged"),
    "doubled": (
        [inc(1, 2, 1), get(3, 4, 2)],
        Status.VIOLATION,
        "2 was read; at least 1 was acknowledged before, at most 1",
    ),
    "unknown and doubled": ([LOST, get(3, 4, 2)], Status.VIOLATION, "at most 1 attempted"),
    "refused and yet there": ([inc(1, 2, None, effect="none"), get(3, 4, 1)], Status.VIOLATION, "at most 0 attempted"),
    "read before it was asked for": ([get(1, 2, 1), inc(3, 4, 1)], Status.VIOLATION, "at most 0 attempted"),
    "two made the same sum": ([inc(1, 9, 1), inc(1, 9, 1), get(10, 11, 2)], Status.VIOLATION, "two increments made 1"),
    "it fell": ([LOST, get(3, 4, 1), get(5, 6, 0)], Status.VIOLATION, "it fell from 1 to 0"),
    "below what can be below": ([inc(1, 2, -3, by=-3), get(3, 4, -4)], Status.VIOLATION, "-4 was read"),
    "no number": (
        [inc(1, 2, 1), msgspec.structs.replace(get(3, 4, 1), outcome=Outcome(value="x", found=True))],
        Status.VIOLATION,
        "no number",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_counter_is_judged(name: str) -> None:
    history, expected, evidence = TABLE[name]
    verdict = check(history)
    assert (verdict.status, evidence in str(verdict)) == (expected, True), str(verdict)


def test_what_it_flags_no_order_explains_and_what_is_right_it_passes() -> None:
    flagged = {True: 0, False: 0}
    for seed in range(2_000):
        chance = random.Random(seed)
        history = random_history(
            chance,
            calls=chance.randint(2, 30),
            clients=chance.randint(1, 4),
            lost=chance.choice([0.0, 0.2]),
            verbs=(Verb.INCREMENT, Verb.INCREMENT, Verb.GET),
        )
        assert check(history).status is not Status.VIOLATION, f"seed {seed}: {history}"
        history = spoilt(chance, history)
        if check(history).status is Status.VIOLATION:
            flagged[linear.check(history).status is Status.VIOLATION] += 1
            assert flagged[False] == 0, f"seed {seed}: {history}"
    assert flagged[True] > 200
