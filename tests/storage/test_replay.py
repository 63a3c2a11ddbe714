"""What a replica's records mean, against the rules and against a slower reading of them."""

import random

import pytest

from zkv.core.raft.messages import Entry, HardState, LogBatch, LogItem
from zkv.ids import ReplicaId
from zkv.storage.faults import Damaged
from zkv.storage.replay import RecoveredReplica, Replay

ONE, TWO = ReplicaId(1), ReplicaId(2)


def entry(index: int, term: int) -> Entry:
    return Entry(term, index, 1, b"%d@%d" % (index, term))


def entries(first: int, last: int, *, term: int) -> tuple[Entry, ...]:
    return tuple(entry(index, term) for index in range(first, last + 1))


def replayed(*items: LogItem) -> dict[ReplicaId, RecoveredReplica]:
    replay = Replay()
    for item in items:
        replay.apply(LogBatch((item,)))
    replay.check()
    return replay.replicas


def ids(held: RecoveredReplica) -> list[tuple[int, int]]:
    return [(stored.index, stored.term) for stored in held.entries]


def test_an_entry_cancels_the_whole_suffix_from_its_index_on() -> None:
    held = replayed(
        LogItem(ONE, entries=entries(1, 4, term=1)),
        LogItem(ONE, entries=entries(5, 8, term=2)),
        LogItem(ONE, entries=entries(5, 5, term=3)),
    )[ONE]
    assert ids(held) == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 3)]


def test_the_highest_commit_mark_counts_and_what_is_behind_it_is_kept_as_uncommitted() -> None:
    held = replayed(
        LogItem(ONE, entries=entries(1, 3, term=1), commit=2),
        LogItem(ONE, entries=entries(4, 5, term=1), commit=1),
    )[ONE]
    assert held.commit == 2
    assert held.last_index == 5


def test_a_start_voids_entries_and_commit_and_keeps_term_and_vote() -> None:
    held = replayed(
        LogItem(ONE, hard_state=HardState(7, TWO), entries=entries(1, 9, term=7), commit=9),
        LogItem(ONE, start=(4, 7), entries=entries(5, 6, term=7)),
    )[ONE]
    assert held == RecoveredReplica((4, 7), HardState(7, TWO), list(entries(5, 6, term=7)), 4)


def test_a_replica_that_is_gone_leaves_nothing_and_others_stay() -> None:
    replicas = replayed(
        LogItem(ONE, entries=entries(1, 2, term=1)),
        LogItem(TWO, entries=entries(1, 1, term=1)),
        LogItem(ONE, gone=True),
    )
    assert list(replicas) == [TWO]


def test_the_latest_term_and_vote_count() -> None:
    replicas = replayed(LogItem(ONE, hard_state=HardState(3, ONE)), LogItem(ONE, hard_state=HardState(4, TWO)))
    assert replicas[ONE].hard_state == HardState(4, TWO)


@pytest.mark.parametrize(
    "item",
    [
        LogItem(ONE, entries=entries(5, 6, term=2)),
        LogItem(ONE, entries=(entry(4, 2), entry(6, 2))),
        LogItem(ONE, start=(9, 2), entries=entries(9, 10, term=2)),
        LogItem(ONE, commit=4),
    ],
    ids=["a gap before", "a gap inside", "at or below the start", "a commit mark beyond the last entry"],
)
def test_records_that_cannot_follow_those_before_are_damage(item: LogItem) -> None:
    with pytest.raises(Damaged):
        replayed(LogItem(ONE, entries=entries(1, 3, term=1)), item)


class Twin:
    """The same rules, entry by entry, in a dict from index to term."""

    def __init__(self) -> None:
        self.start, self.terms, self.commit = (0, 0), dict[int, int](), 0

    def apply(self, item: LogItem) -> None:
        if item.start:
            self.start, self.terms, self.commit = item.start, {}, item.start[0]
        for stored in item.entries:
            for index in [index for index in self.terms if index >= stored.index]:
                del self.terms[index]
            self.terms[stored.index] = stored.term
        self.commit = max(self.commit, item.commit)


@pytest.mark.parametrize("seed", range(20))
def test_any_history_reads_like_the_entry_by_entry_twin(seed: int) -> None:
    rng = random.Random(seed)
    replay, twin = Replay(), Twin()
    for term in range(1, 60):
        last = max(twin.terms, default=twin.start[0])
        start = (rng.randint(twin.start[0], last), term) if rng.random() < 0.1 else None
        low, high = (start[0], start[0]) if start else (max(twin.commit, twin.start[0]), last)
        first = rng.randint(low, high) + 1
        new = entries(first, first + rng.randrange(5) - 1, term=term)
        commit = rng.randint(low, new[-1].index if new else low)
        item = LogItem(ONE, start=start, entries=new, commit=commit)
        replay.apply(LogBatch((item,)))
        twin.apply(item)
        held = replay.replicas[ONE]
        assert (held.start, dict(ids(held)), held.commit) == (twin.start, twin.terms, twin.commit)
