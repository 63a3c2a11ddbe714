"""The checker of stale reads: what replicas that lag may answer passes, each planted fault is flagged."""

import msgspec
import pytest

from tests.checkers.stale_histories import delete, get, put
from zkv.checkers.history import Outcome
from zkv.checkers.stale_reads import check
from zkv.checkers.verdict import Status

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


def test_a_clock_that_may_jump_is_believed_by_that_much_less() -> None:
    history = [A, B, get(50, "a", 3, 32)]
    assert check(history).status is Status.VIOLATION
    assert check(history, jump_ms=5).status is Status.VIOLATION
    assert check(history, jump_ms=6).status is Status.PASSED
