"""The checker against a judge that tries everything, and against faults planted in busy histories."""

import random

import msgspec
import pytest

from tests.checkers.register_histories import random_history, spoilt, tries_all, without_some_versions
from zkv.checkers.history import Args, Call, Outcome, Recorder, Verb, from_lines, to_lines
from zkv.checkers.linear import check
from zkv.checkers.verdict import Status

PROFILES = {
    "all verbs": {},
    "registers": {"verbs": (Verb.PUT, Verb.GET, Verb.GET, Verb.DELETE), "values": 2},
    "counters": {"verbs": (Verb.INCREMENT, Verb.INCREMENT, Verb.GET, Verb.DELETE)},
    "conditions": {"verbs": (Verb.PUT_IF_VERSION, Verb.PUT_IF_ABSENT, Verb.GET, Verb.DELETE, Verb.PUT), "values": 1},
}


@pytest.mark.parametrize("profile", PROFILES)
def test_agrees_with_brute_force_on_a_thousand_small_histories(profile: str) -> None:
    verdicts = {True: 0, False: 0}
    for seed in range(1_000):
        chance = random.Random(f"{profile} {seed}")
        history = random_history(
            chance,
            calls=chance.randint(2, 7),
            clients=chance.randint(1, 4),
            lost=chance.choice([0.0, 0.2, 0.5]),
            **PROFILES[profile],
        )
        if chance.random() < 0.6:
            history = without_some_versions(chance, history)
        assert check(history).status is Status.PASSED, f"seed {seed}: {history}"
        for _ in range(chance.randint(1, 3)):
            history = spoilt(chance, history)
        expected = tries_all(history)
        verdicts[expected] += 1
        found = check(history).status
        assert found is (Status.PASSED if expected else Status.VIOLATION), f"seed {seed}: {history}"
    assert min(verdicts.values()) > 100


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


@pytest.mark.parametrize("versions", [True, False], ids=["versions told", "some versions told"])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_flagged_and_the_same_history_without_it_passes(fault: str, versions: bool) -> None:
    for seed in range(5):
        before, end = noise(seed, versions=versions)
        base = call(Verb.PUT, end + 1, end + 5, Outcome(100_000), value="5")
        for planted, expected in zip(PLANTED[fault], (Status.VIOLATION, Status.PASSED), strict=True):
            tail = [
                msgspec.structs.replace(
                    found,
                    invoked_ns=found.invoked_ns + end,
                    completed_ns=None if found.completed_ns is None else found.completed_ns + end,
                )
                for found in planted
            ]
            if not versions and fault not in NEEDS_VERSIONS:
                tail = [without_version(found) for found in tail]
            verdict = check([*before, base, *tail])
            assert verdict.status is expected, f"seed {seed}: {verdict}"


def without_version(found: Call) -> Call:
    if found.outcome is None or found.outcome.failed:
        return found
    return msgspec.structs.replace(found, outcome=msgspec.structs.replace(found.outcome, version=None))


def test_a_violation_names_the_key_and_the_place_that_no_order_gets_past() -> None:
    before = [put(1, "a", 1), get(11, "a", 1)]
    verdict = check([*before, get(21, "b", 2), msgspec.structs.replace(put(1, "x", 1), key="other")])
    [stuck] = verdict.findings
    assert (verdict.status, verdict.calls, verdict.keys) == (Status.VIOLATION, 4, 2)
    assert (stuck.key, stuck.placed, stuck.state, stuck.next) == ("k", 2, (b"a", 1, True), (get(21, "b", 2),))
    assert "key 'k': after 2 operations: b'a' at version 1" in str(verdict)


def test_a_search_that_runs_out_of_steps_says_unknown_even_where_the_history_is_right() -> None:
    history, _ = noise(2, versions=True)
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
