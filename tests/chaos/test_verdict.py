"""A run passes only where everything was checked and nothing is wrong; each planted fault must turn it red."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from zkv.chaos.figures import FINAL
from zkv.chaos.story import Span
from zkv.chaos.verdict import Ran, Verdict, reach
from zkv.checkers.history import Args, Call, Outcome, Verb

History = list[Call]


def call(client: str, key: str, op: Verb, at: int, outcome: Outcome, **args: object) -> Call:
    return Call(client, f"hash/{key}", op, msgspec.convert(args, Args), at, at + 5, outcome, "done")


def clean() -> History:
    """Two writes, an increment that was lost on its way, two elements of a set, and all of it read in the end."""
    lost = Call("p1.0", "hash/c", Verb.INCREMENT, Args(by=1), 30, 40, None, "unknown")
    return [
        call("p1.0", "r", Verb.PUT, 0, Outcome(1), value="p1.1"),
        call("p2.0", "r", Verb.PUT, 10, Outcome(2), value="p2.1"),
        call("p2.0", "r", Verb.GET, 20, Outcome(2, "p2.1", True)),
        call("p1.0", "c", Verb.INCREMENT, 20, Outcome(3, "2"), by=2),
        lost,
        call("p1.0", "s", Verb.ADD, 40, Outcome(), value="p1.2"),
        call("p2.0", "s", Verb.ADD, 41, Outcome(), value="p2.2"),
        call(FINAL, "r", Verb.GET, 100, Outcome(value="p2.1", found=True)),
        call(FINAL, "c", Verb.GET, 100, Outcome(value="3", found=True)),
        call(FINAL, "s", Verb.MEMBERS, 100, Outcome(members=("p1.2", "p2.2"))),
    ]


def judged(history: History, *failures: str) -> Verdict:
    spans = [Span("kill-node", 5, 20, 30)]
    return reach(history, Ran(7, 1.0, Path("kept"), {}, spans, failures), lambda call: 1)


def told(place: int, **outcome: object) -> Callable[[History], None]:
    """The call at that place was told something else."""

    def tamper(history: History) -> None:
        history[place] = msgspec.structs.replace(history[place], outcome=msgspec.convert(outcome, Outcome))

    return tamper


def gone(place: int) -> Callable[[History], None]:
    return lambda history: history.__delitem__(place)


PLANTED = {
    "a write is lost": (told(7, value="p1.1", found=True), {"linearizable": "no"}),
    "a row is lost": (told(7, found=False), {"linearizable": "no"}),
    "a read is stale": (told(2, version=1, value="p1.1", found=True), {"linearizable": "no"}),
    "an increment is lost": (told(8, value="1", found=True), {"lost": 1, "linearizable": "no"}),
    "an increment is applied twice": (told(8, value="4", found=True), {"doubled": 1, "linearizable": "no"}),
    "an element is lost": (told(9, members=("p2.2",)), {"lost": 1, "linearizable": "yes"}),
    "an element nobody added": (told(9, members=("p1.2", "p2.2", "p9.9")), {"linearizable": "yes"}),
    "an element is there twice": (told(9, members=("p1.2", "p2.2", "p2.2")), {"linearizable": "yes"}),
    "a key that nobody read in the end": (gone(7), {"linearizable": "yes"}),
}


def test_a_clean_history_passes() -> None:
    verdict = judged(clean())
    assert verdict.failures == []
    assert verdict.passed
    assert (verdict.lost, verdict.doubled, verdict.linearizable) == (0, 0, "yes")
    assert set(verdict.checks.values()) == {"passed"}
    assert [(one.kind, one.times) for one in verdict.faults] == [("kill-node", 1)]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_does_not_pass(name: str) -> None:
    tamper, expected = PLANTED[name]
    history = clean()
    tamper(history)
    verdict = judged(history)
    assert not verdict.passed
    assert verdict.failures != []
    assert {field: getattr(verdict, field) for field in expected} == expected


def test_what_is_unknown_is_no_pass() -> None:
    history = [one for one in clean() if one.op is not Verb.MEMBERS]  # nobody looked at the set
    verdict = judged(history)
    assert verdict.checks["a set that only grows"] == "unknown"
    assert not verdict.passed


def test_a_run_that_failed_does_not_pass_however_clean_its_history() -> None:
    verdict = judged(clean(), "node1 ended by itself")
    assert not verdict.passed
    assert verdict.failures == ["node1 ended by itself"]


def test_a_run_that_wrote_nothing_does_not_pass() -> None:
    assert judged([]).failures == ["nothing was written"]
