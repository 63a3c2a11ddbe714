"""How a process's log and state engine stay in step: what is told when, and what a checkpoint waits for (rule 5)."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from zkv import limits
from zkv.core.node.host import Effects
from zkv.core.raft.messages import HardState, LogBatch, LogItem
from zkv.core.raft.ready import EntryId
from zkv.ids import ReplicaId
from zkv.server.store import Store
from zkv.storage.open_engine import Kind

ROWS = {b"r" + number.to_bytes(8, "big"): b"x" * 100 for number in range(5_000)}
LOGGED = LogBatch((LogItem(ReplicaId(1), start=EntryId(1, 1), hard_state=HardState(1, ReplicaId(1)), commit=1),))


class Owner:
    """Notes what it is told, and whether rows were on disk then."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def engine_flush_begins(self) -> None:
        self.told.append("begins")

    def engine_flushed(self) -> None:
        self.told.append("flushed")

    def points(self) -> dict[ReplicaId, EntryId]:
        self.told.append("points")
        return {}

    def checkpoint(self, points: Mapping[ReplicaId, EntryId]) -> LogBatch:
        self.told.append("checkpoint")
        return LOGGED


def tend_until(store: Store, owner: Owner, told: str, times: int = 1) -> None:
    now_ms = 0
    while owner.told.count(told) < times:
        now_ms += 1
        assert now_ms < 20_000, owner.told
        store.flushed()
        store.tend(owner, now_ms)


@pytest.fixture(params=["rocksdb", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    engine: Kind = request.param
    return Store(tmp_path / "n1", name="n1", role="node", engine=engine, threaded=False)


def test_a_flush_that_is_asked_for_covers_its_turn_and_is_told_when_it_is_done(store: Store) -> None:
    owner = Owner()
    store.apply(Effects(changes=dict(ROWS), flush_engine=True))
    assert owner.told == []
    tend_until(store, owner, "flushed")
    assert owner.told == ["begins", "flushed"]
    assert store.engine.is_flushed(1)
    store.close()


def test_one_that_is_asked_for_meanwhile_follows(store: Store) -> None:
    owner = Owner()
    store.apply(Effects(changes={b"a": b"1"}, flush_engine=True))
    tend_until(store, owner, "begins")
    store.apply(Effects(changes={b"b": b"1"}, flush_engine=True))
    tend_until(store, owner, "flushed", 2)
    assert owner.told == ["begins", "flushed", "begins", "flushed"]
    store.close()


def test_a_checkpoint_waits_for_what_the_host_wants_on_disk(store: Store) -> None:
    store.checkpoint_bytes = 1
    owner = Owner()
    store.write(Effects(log=LOGGED), 0)
    store.apply(Effects(changes={b"a": b"1"}))
    tend_until(store, owner, "points")
    for _ in range(2):  # what the checkpoint waits for leaves the memtable, and is not flushed yet
        store.tend(owner, 0)
    store.apply(Effects(changes=dict(ROWS), flush_engine=True))
    tend_until(store, owner, "checkpoint")
    assert owner.told == ["points", "begins", "flushed", "checkpoint"]
    store.close()


def test_ranges_that_are_dropped_go_and_what_is_cleared_goes_at_once(store: Store) -> None:
    store.apply(Effects(changes=dict(ROWS)))
    keys = sorted(ROWS)
    store.apply(Effects(clears=[(keys[0], keys[10])], drops=[(keys[10], keys[20])]))
    assert store.engine.get(keys[5]) is None
    while store.engine.busy:
        store.engine.tend(idle=True)
    assert [key for key, _ in store.engine.scan(b"r", b"s")] == keys[20:]
    store.close()


def test_stores_of_one_group_do_not_all_shorten_their_logs_at_the_same_amount(tmp_path: Path) -> None:
    bounds = set()
    for number in range(8):
        one = Store(tmp_path / str(number), name=f"n{number}", role="node", engine="rocksdb", threaded=False)
        bounds.add(one.checkpoint_bytes)
        one.close()
    assert len(bounds) > 4
    assert all(0.6 * limits.LOG_CHECKPOINT_BYTES <= bound <= limits.LOG_CHECKPOINT_BYTES for bound in bounds)
