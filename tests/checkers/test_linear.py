"""The checker against a judge that tries everything, and against faults planted in busy histories.

Slices of `python -m tests.checkers.agreement` and `python -m tests.checkers.planted`.
"""

import random

import msgspec
import pytest

from tests.checkers.agreement import PROFILES, compared
from tests.checkers.planted import Row, judged, rows
from tests.checkers.planted_tails import call, get, noise, put
from tests.checkers.register_histories import random_history
from zkv.checkers.history import Args, Call, Outcome, Recorder, Verb, from_lines, to_lines
from zkv.checkers.linear import check
from zkv.checkers.verdict import Status


@pytest.mark.parametrize("profile", PROFILES)
def test_agrees_with_brute_force_on_a_thousand_small_histories(profile: str) -> None:
    counts = compared(profile, 500)
    assert counts["disagreements"] == 0
    assert min(counts["still right"], counts["wrong"], counts["by versions"]) > 50


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.fault}, {row.where}")
def test_a_planted_fault_is_flagged_and_the_same_history_without_it_passes(row: Row) -> None:
    assert judged(row, 3) == (3, 3)


def test_a_violation_names_the_key_and_the_place_that_no_order_gets_past() -> None:
    before = [put(1, "a", 1), get(11, "a", 1)]
    verdict = check([*before, get(21, "b", 2), msgspec.structs.replace(put(1, "x", 1), key="other")])
    [stuck] = verdict.findings
    assert (verdict.status, verdict.calls, verdict.keys) == (Status.VIOLATION, 4, 2)
    assert (stuck.key, stuck.placed, stuck.state, stuck.next) == ("k", 2, ("a", 1, True), (get(21, "b", 2),))
    assert "key 'k': after 2 operations: 'a' at version 1" in str(verdict)


def test_a_search_that_runs_out_of_steps_says_unknown_even_where_the_history_is_right() -> None:
    history, _ = noise(2, versions=False)
    assert check(history).status is Status.PASSED
    verdict = check(history, steps_max=100)
    assert (verdict.status, verdict.findings[0].status) == (Status.UNKNOWN, Status.UNKNOWN)


def test_a_violation_on_one_key_outweighs_an_unknown_on_another() -> None:
    history, _ = noise(1, versions=True)
    wrong = [msgspec.structs.replace(found, key="other") for found in (put(1, "a", 1), get(11, None, 0))]
    assert check([*history, *wrong], steps_max=100).status is Status.VIOLATION


def test_a_stale_read_that_was_asked_for_is_not_judged() -> None:
    stale = msgspec.structs.replace(get(30, None, 0), stale_ms=50)
    assert check([put(1, "a", 1), stale]).status is Status.PASSED


def test_an_empty_history_passes_over_no_operations() -> None:
    assert (check([]).status, check([]).calls) == (Status.PASSED, 0)


def test_forty_unknown_writes_do_not_hide_a_stale_read() -> None:
    lost = [call(Verb.PUT, number, None, None, value=f"lost{number}") for number in range(40)]
    counts = [call(Verb.INCREMENT, 50 + number, None, None, by=1) for number in range(20)]
    fine = [put(100, "7", 5), get(110, "lost3", 6), get(120, "lost9", 9), put(130, "1", 12), get(140, "4", 20)]
    assert check([*lost, *counts, *fine]).status is Status.PASSED
    assert check([*lost, *counts, *fine, get(150, "lost3", 21)]).status is Status.VIOLATION


def test_a_history_of_ten_thousand_operations_is_judged_within_its_steps() -> None:
    history: list[Call] = []
    for number in range(20):
        chance = random.Random(number)
        history += random_history(chance, calls=500, clients=3, lost=0.01, key=f"k{number}")
    assert check(history, steps_max=5_000).status is Status.PASSED


def test_a_history_is_the_same_after_it_was_written_and_read() -> None:
    history, _ = noise(3, versions=True)
    odd = Call("c", "\x00\xff\n", Verb.PUT, Args("\u0080"), 1)
    assert from_lines(list(to_lines([*history, odd]))) == [*history, odd]


def test_a_line_of_a_history_reads_like_this() -> None:
    recorder = Recorder()
    token = recorder.invoke("c1", b"k3", Verb.PUT, Args("x"), 17)
    recorder.invoke("c2", b"k3", Verb.GET, Args(), 18)
    recorder.complete(token, 91, outcome=Outcome(7), effect="done")
    assert b"".join(to_lines(recorder.calls)) == (
        b'{"client":"c1","key":"k3","op":"put","args":{"value":"x"},"invoked_ns":17,"completed_ns":91,'
        b'"outcome":{"version":7},"effect":"done"}\n'
        b'{"client":"c2","key":"k3","op":"get","args":{},"invoked_ns":18}\n'
    )
    assert recorder.pending() == 1
    with pytest.raises(AssertionError, match="ended twice"):
        recorder.complete(token, 92, outcome=None, effect="unknown")


def test_a_line_that_is_no_call_is_refused() -> None:
    with pytest.raises(ValueError, match="op"):
        from_lines([b'{"client":"c","key":"k","op":"drop","args":{},"invoked_ns":1}'])
