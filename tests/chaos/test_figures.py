"""What a run's history says in numbers, on histories made by hand."""

from zkv.chaos.figures import FINAL, doubled, longest_pauses, lost, outcomes, pauses, unread
from zkv.chaos.story import Span
from zkv.checkers.history import Args, Call, Outcome, Verb

MS = 1_000_000


def put(begun: int, ended: int | None, *, key: str = "hash/r", effect: str = "done") -> Call:
    outcome = Outcome(1) if effect == "done" else None
    return Call("p1.0", key, Verb.PUT, Args("v"), begun, ended, outcome, effect)  # type: ignore[arg-type]  # a literal


def increment(by: int, effect: str, *, key: str = "hash/c") -> Call:
    return Call("p1.0", key, Verb.INCREMENT, Args(by=by), 1, 2, Outcome(1, "1"), effect)  # type: ignore[arg-type]  # "


def add(element: str, effect: str) -> Call:
    return Call("p1.0", "hash/s", Verb.ADD, Args(element), 1, 2, Outcome(), effect)  # type: ignore[arg-type]  # "


def held(value: str) -> Call:
    return Call(FINAL, "hash/c", Verb.GET, Args(), 8, 9, Outcome(value=value, found=True), "done")


def members(*elements: str) -> Call:
    return Call(FINAL, "hash/s", Verb.MEMBERS, Args(), 8, 9, Outcome(members=elements), "done")


def test_an_acknowledged_element_or_count_that_is_not_there_is_lost_and_one_of_unknown_outcome_is_not() -> None:
    adds = [add("a", "done"), add("b", "done"), add("c", "unknown"), add("d", "none")]
    assert lost([*adds, members("a", "b")]) == 0
    assert lost([*adds, members("a", "b", "c")]) == 0
    assert lost([*adds, members("c")]) == 2
    counts = [increment(2, "done"), increment(3, "done"), increment(1, "unknown"), increment(7, "none")]
    assert [lost([*counts, held(value)]) for value in ("3", "5", "6")] == [2, 0, 0]
    assert [doubled([*counts, held(value)]) for value in ("5", "6", "8")] == [0, 0, 2]


def test_a_key_that_was_written_and_not_read_in_the_end_is_told() -> None:
    assert unread([increment(1, "done"), add("a", "done"), held("1")]) == 1
    assert unread([increment(1, "done"), add("a", "done"), held("1"), members("a")]) == 0


def test_outcomes_are_counted_by_operation_without_the_final_reads() -> None:
    refused = Call("p1.0", "hash/r", Verb.PUT_IF_ABSENT, Args("v"), 1, 2, Outcome(3, failed=True), "none")
    silent = Call("p1.0", "hash/r", Verb.GET, Args(), 1, 2, None, "none")
    assert outcomes([put(1, 2), put(3, 4), put(5, None, effect="unknown"), refused, silent, held("1")]) == {
        "put": {"done": 2, "unknown": 1},
        "put_if_absent": {"condition failed": 1},
        "get": {"no answer": 1},
    }


def test_a_pause_is_time_in_which_a_write_was_wanted_and_none_was_answered() -> None:
    busy = [put(0, 10 * MS), put(5 * MS, 20 * MS), put(20 * MS, 30 * MS)]
    assert found(busy) == [(0, 10), (10, 20), (20, 30)]
    assert found([put(0, 10 * MS), put(8 * MS, 900 * MS)]) == [(0, 10), (10, 900)]
    assert found([put(0, 10 * MS), put(600 * MS, 610 * MS)]) == [(0, 10), (600, 610)], "nobody waited in between"
    tries = [put(0, 10 * MS), refused(20), refused(300), refused(700), put(1_100 * MS, 1_110 * MS)]
    assert found(tries) == [(0, 10), (20, 1_110)], "who is refused tries again"
    assert found([put(0, 10 * MS), refused(20), refused(900)]) == [(0, 10), (20, 21), (900, 901)], "who gave up"


def refused(begun_ms: int) -> Call:
    return put(begun_ms * MS, (begun_ms + 1) * MS, effect="none")


def found(calls: list[Call]) -> list[tuple[int, int]]:
    return [(begun // MS, ended // MS) for begun, ended in pauses(calls)]


def test_the_longest_pause_is_of_the_fault_that_it_meets_and_each_shard_is_judged_alone() -> None:
    calls = [put(0, 10 * MS), put(11 * MS, 300 * MS), put(301 * MS, 302 * MS), put(900 * MS, 940 * MS)]
    other = [put(moment * MS, (moment + 1) * MS, key="hash/other") for moment in range(0, 600, 10)]
    spans = [Span("kill", 100 * MS, 150 * MS, 200 * MS), Span("cut", 301 * MS, 305 * MS, 310 * MS)]
    longest = longest_pauses([*calls, *other], spans, lambda call: call.key == "hash/other")
    assert longest == ({"kill": 289 * MS, "cut": MS}, 40 * MS)
