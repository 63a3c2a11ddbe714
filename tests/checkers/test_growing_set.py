"""The checker of growing sets: right histories pass, each planted fault is flagged."""

import random

import pytest

from zkv.checkers.growing_set import check
from zkv.checkers.history import Args, Call, Outcome, Verb
from zkv.checkers.verdict import Status


def add(element: str, start: int, end: int | None, effect: str = "done") -> Call:
    return Call("w", "s", Verb.ADD, Args(element), start, end, None, effect)


def members(start: int, end: int, *elements: str, stale_ms: int | None = None) -> Call:
    return Call("r", "s", Verb.MEMBERS, Args(), start, end, Outcome(members=elements), "done", stale_ms)


NEVER = "none"
# name: (history, what it is, what the evidence says)
TABLE = {
    "nothing at all": ([], Status.PASSED, ""),
    "an empty set is read as empty": ([members(1, 2)], Status.PASSED, ""),
    "acknowledged, then read": ([add("a", 1, 2), members(3, 4, "a")], Status.PASSED, ""),
    "a read at the same time need not show it": (
        [add("a", 1, 5), members(2, 4), members(6, 7, "a")],
        Status.PASSED,
        "",
    ),
    "it may show it before it is acknowledged": (
        [add("a", 1, 5), members(2, 4, "a"), members(6, 7, "a")],
        Status.PASSED,
        "",
    ),
    "unknown and never there": ([add("a", 1, None, "unknown"), members(9, 10)], Status.PASSED, ""),
    "unknown and there late": (
        [add("a", 1, 2, "unknown"), members(3, 4), members(5, 6, "a"), members(7, 8, "a")],
        Status.PASSED,
        "",
    ),
    "refused, then added again": ([add("a", 1, 2, NEVER), add("a", 3, 4), members(5, 6, "a")], Status.PASSED, ""),
    "a stale read may lack it": ([add("a", 1, 2), members(3, 4, stale_ms=9), members(5, 6, "a")], Status.PASSED, ""),
    "nobody looked": ([add("a", 1, 2)], Status.UNKNOWN, "1 acknowledged elements"),
    "nobody looked afterwards": ([members(0, 3), add("a", 1, 2)], Status.UNKNOWN, "1 acknowledged elements"),
    "lost": ([add("a", 1, 2), add("b", 1, 2), members(3, 4, "a")], Status.VIOLATION, "not in a later read: 'b'"),
    "lost after it was read": (
        [add("a", 1, 2), members(3, 4, "a"), members(5, 6)],
        Status.VIOLATION,
        "not in a later read: 'a'",
    ),
    "unknown, read, and gone again": (
        [add("a", 1, None, "unknown"), members(3, 4, "a"), members(5, 6)],
        Status.VIOLATION,
        "not in a later read: 'a'",
    ),
    "never added": ([members(3, 4, "ghost")], Status.VIOLATION, "never added: 'ghost'"),
    "read before it was asked for": ([members(1, 2, "a"), add("a", 3, 4)], Status.VIOLATION, "never added: 'a'"),
    "refused and yet there": ([add("a", 1, 2, NEVER), members(3, 4, "a")], Status.VIOLATION, "never added: 'a'"),
    "twice in one read": (
        [add("a", 1, 2), members(3, 4, "a", "a")],
        Status.VIOLATION,
        "more than once in one read: 'a'",
    ),
    "a stale read of what was never added": ([members(1, 2, "a", stale_ms=5)], Status.VIOLATION, "never added: 'a'"),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_set_is_judged(name: str) -> None:
    history, expected, evidence = TABLE[name]
    verdict = check(history)
    assert (verdict.status, evidence in str(verdict)) == (expected, True), str(verdict)


def busy(chance: random.Random) -> list[Call]:
    """A right history: adds and reads take effect at one moment each, a fifth of the adds are never answered."""
    moments: list[tuple[int, int, int, str | None]] = []
    for number in range(200):
        at = chance.randrange(10_000)
        moments.append((at, at - chance.randrange(1, 300), at + chance.randrange(1, 300), f"e{number}"))
    moments += [
        (at, at - chance.randrange(1, 300), at + chance.randrange(1, 300), None) for at in range(0, 11_000, 500)
    ]
    present: list[str] = []
    calls = []
    for _, start, end, element in sorted(moments):
        if element is None:
            calls.append(members(start, end, *present))
            continue
        lost = chance.random() < 0.2
        if not lost or chance.random() < 0.5:
            present.append(element)
        calls.append(add(element, start, None if lost else end, "unknown" if lost else "done"))
    return calls


@pytest.mark.parametrize("seed", range(20))
def test_in_a_busy_history_the_loss_of_one_acknowledged_element_is_flagged(seed: int) -> None:
    chance = random.Random(seed)
    history = busy(chance)
    assert check(history).status is Status.PASSED
    victim = chance.choice([call for call in history if call.op is Verb.ADD and call.effect == "done"])
    spoilt = [
        members(call.invoked_ns, call.completed_ns or 0, *set(call.outcome.members or ()) - {victim.args.value or ""})
        if call.op is Verb.MEMBERS and call.outcome is not None
        else call
        for call in history
    ]
    verdict = check(spoilt)
    assert verdict.status is Status.VIOLATION
    assert f"not in a later read: '{victim.args.value}'" in str(verdict)
