"""The checker of growing sets: right histories pass, each planted fault is flagged."""

import pytest

from tests.checkers.set_histories import add, members
from zkv.checkers.growing_set import check
from zkv.checkers.verdict import Status

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
    "refused, then added again": ([add("a", 1, 2, "none"), add("a", 3, 4), members(5, 6, "a")], Status.PASSED, ""),
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
    "refused and yet there": ([add("a", 1, 2, "none"), members(3, 4, "a")], Status.VIOLATION, "never added: 'a'"),
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
