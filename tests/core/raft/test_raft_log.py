"""The log in memory: matching, cutting, marks, bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkv.core.raft.log import ENTRY_OVERHEAD_BYTES, Log
from zkv.core.raft.membership import encode_membership
from zkv.core.raft.messages import Entry, EntryKind, Membership
from zkv.core.raft.ready import EntryId

START = EntryId(0, 0)


def entry(index: int, term: int, payload: bytes = b"") -> Entry:
    return Entry(term, index, EntryKind.BATCH, payload)


def change(index: int, term: int) -> Entry:
    return Entry(term, index, EntryKind.MEMBERSHIP, encode_membership(Membership(index, ())))


def log_of(*terms: int, start: EntryId = START, committed: int = 0, applied: int = 0) -> Log:
    """Entries of these terms after `start`, from disk."""
    first = start.index + 1
    entries = [entry(first + place, term) for place, term in enumerate(terms)]
    return Log(start, entries, committed=max(committed, start.index), applied=max(applied, start.index))


def terms_of(log: Log) -> list[int]:
    return [one.term for one in log.slice(log.start.index, log.last.index)]


def test_what_comes_from_the_disk_counts_as_persisted_and_is_not_written_again() -> None:
    log = log_of(1, 1, 2)
    assert (log.last, log.persisted) == (EntryId(3, 2), 3)
    assert log.to_write() == []


def test_entries_are_handed_to_the_disk_once_and_count_after_the_flush() -> None:
    log = log_of(1)
    log.append([entry(2, 1), entry(3, 1)])
    assert [one.index for one in log.to_write()] == [2, 3]
    assert log.to_write() == []
    assert log.persisted == 1
    assert log.flushed(EntryId(2, 1))
    assert log.persisted == 2


def test_a_flush_of_entries_cut_off_since_or_never_handed_out_does_not_count() -> None:
    log = log_of(1)
    log.append([entry(2, 1), entry(3, 1)])
    log.to_write()
    assert log.accept(EntryId(1, 1), [entry(2, 2)]) == 2
    assert not log.flushed(EntryId(3, 1))
    assert not log.flushed(EntryId(2, 2)), "not handed out yet"
    assert log.persisted == 1
    assert [one.term for one in log.to_write()] == [2]
    assert log.flushed(EntryId(2, 2))


def test_a_late_flush_does_not_take_the_mark_back() -> None:
    log = log_of(1, 1, 1)
    assert log.flushed(EntryId(2, 1))
    assert log.persisted == 3


@pytest.mark.parametrize(
    ("previous", "terms", "match", "result"),
    [
        (EntryId(3, 2), [2], 4, [1, 1, 2, 2]),
        (EntryId(2, 1), [2], 3, [1, 1, 2]),
        (EntryId(1, 1), [1], 2, [1, 1, 2]),
        (EntryId(2, 1), [3], 3, [1, 1, 3]),
        (EntryId(1, 1), [3, 3], 3, [1, 3, 3]),
        (EntryId(0, 0), [1, 1, 2, 2], 4, [1, 1, 2, 2]),
        (EntryId(2, 1), [], 2, [1, 1, 2]),
        (EntryId(4, 2), [2], None, [1, 1, 2]),
        (EntryId(2, 2), [3], None, [1, 1, 2]),
    ],
    ids=[
        "appended",
        "already there",
        "a late short one does not cut",
        "the last differs",
        "all after a difference goes",
        "overlapping",
        "a heartbeat",
        "a gap",
        "another previous entry",
    ],
)
def test_what_a_leader_sends_is_taken_where_it_fits(
    previous: EntryId, terms: list[int], match: int | None, result: list[int]
) -> None:
    log = log_of(1, 1, 2)
    entries = [entry(previous.index + 1 + place, term) for place, term in enumerate(terms)]
    assert log.accept(previous, entries) == match
    assert terms_of(log) == result


def test_entries_that_reach_back_before_the_start_are_taken_from_there_on() -> None:
    log = log_of(2, start=EntryId(5, 1))
    assert log.accept(EntryId(3, 1), [entry(4, 1), entry(5, 1), entry(6, 2), entry(7, 2)]) == 7
    assert terms_of(log) == [2, 2]
    assert log.accept(EntryId(3, 1), [entry(4, 1)]) == 4
    assert terms_of(log) == [2, 2]


def test_overwriting_what_is_committed_is_our_own_fault() -> None:
    log = log_of(1, 1, committed=2)
    with pytest.raises(AssertionError, match="committed"):
        log.accept(EntryId(1, 1), [entry(2, 2)])


@given(st.lists(st.integers(1, 4), max_size=8), st.integers(0, 10), st.integers(0, 5))
def test_a_hint_is_the_last_entry_at_or_below_that_may_agree(terms: list[int], index: int, term: int) -> None:
    terms = sorted(terms)
    log = log_of(*terms)
    fitting = [EntryId(place + 1, own) for place, own in enumerate(terms) if place < index and own <= term]
    assert log.hint(index, term) == (fitting[-1] if fitting else START)


def test_entries_go_to_the_state_machine_once_they_are_committed_and_on_our_own_disk() -> None:
    log = log_of(1)
    log.append([entry(2, 1), entry(3, 1)])
    log.to_write()
    assert log.commit_to(3)
    assert [one.index for one in log.to_apply()] == [1]
    log.flushed(EntryId(2, 1))
    assert [one.index for one in log.to_apply()] == [2]
    assert log.to_apply() == []


def test_the_commit_mark_does_not_fall() -> None:
    log = log_of(1, 1, committed=2)
    assert not log.commit_to(1)
    assert log.committed == 2


def test_forgetting_keeps_what_is_not_applied() -> None:
    log = log_of(1, 1, 1, committed=2, applied=2)
    log.forget(3)
    assert (log.start, terms_of(log)) == (EntryId(2, 1), [1])
    assert log.term_at(1) is None
    assert log.term_at(2) == 1


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 200))
def test_bytes_are_those_of_the_entries_whatever_is_forgotten(
    sizes: list[int], forgotten: int, committed: int, bytes_max: int
) -> None:
    entries = [entry(place + 1, 1, b"x" * size) for place, size in enumerate(sizes)]
    committed = min(committed, len(sizes))
    log = Log(START, entries, committed=committed, applied=committed)
    log.forget(forgotten)
    costs = [size + ENTRY_OVERHEAD_BYTES for size in sizes]
    start = log.start.index
    assert log.tail_bytes == sum(costs[start:])
    assert log.uncommitted_bytes == sum(costs[committed:])
    assert log.bytes_between(committed, len(sizes)) == sum(costs[committed:])
    taken = log.take(committed, bytes_max)
    assert [one.index for one in taken] == list(range(committed + 1, committed + 1 + len(taken)))
    if committed < len(sizes):
        assert taken
        assert len(taken) == 1 or sum(costs[committed : committed + len(taken)]) <= bytes_max
    end = committed + len(taken)
    if end < len(sizes):
        assert sum(costs[committed : end + 1]) > bytes_max


def test_a_snapshot_beyond_the_log_starts_it_anew() -> None:
    log = log_of(1, 1)
    log.restart(EntryId(9, 3))
    assert (log.start, log.last, log.committed, log.applied, log.persisted) == (EntryId(9, 3), EntryId(9, 3), 9, 9, 9)
    assert log.to_write() == []
    assert log.tail_bytes == 0


def test_a_snapshot_within_the_log_leaves_what_follows_it() -> None:
    log = log_of(1, 1)
    log.append([entry(3, 1), entry(4, 1)])
    log.to_write()
    log.restart(EntryId(3, 1))
    assert (log.start, log.last, log.committed, log.applied, log.persisted) == (EntryId(3, 1), EntryId(4, 1), 3, 3, 3)
    assert log.flushed(EntryId(4, 1)), "its flush is still under way"


def test_a_snapshot_that_the_log_contradicts_starts_it_anew() -> None:
    log = log_of(1, 1, 1, 1)
    log.restart(EntryId(3, 2))
    assert (log.start, log.last, log.persisted) == (EntryId(3, 2), EntryId(3, 2), 3)


def test_changes_of_membership_are_known_until_they_are_applied_or_cut_off() -> None:
    log = log_of(1)
    log.append([change(2, 1), entry(3, 1), change(4, 1)])
    assert log.changes == [2, 4]
    log.accept(EntryId(3, 1), [entry(4, 2)])
    assert log.changes == [2]
    log.to_write()
    log.flushed(EntryId(4, 2))
    log.commit_to(4)
    log.to_apply()
    assert [one.index for one in log.applied_to(4)] == [2]
    assert log.changes == []


def test_a_second_change_in_the_log_proves_that_the_first_is_committed() -> None:
    log = Log(START, [entry(1, 1), change(2, 1), change(3, 1), entry(4, 1)], committed=1, applied=1)
    assert log.committed == 2


def test_applying_more_than_was_handed_out_is_our_own_fault() -> None:
    log = log_of(1, 1, committed=2)
    with pytest.raises(AssertionError, match="handed out"):
        log.applied_to(1)
