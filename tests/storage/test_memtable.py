"""What the memtable lets the engine put on disk: whole batches, in order, whenever a flush happens to run."""

import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import cache
from typing import TypeVar

import pytest

from zkv.core.shard.rows import Changes
from zkv.storage.memory import MemoryEngine
from zkv.storage.memtable import Inline, Memtable

T = TypeVar("T")
LAST = b"\xff" * 8


class Later(Executor):
    """Runs what it was given when the test says so, as a thread does whenever it likes."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        future: Future[T] = Future()
        self._waiting.append(lambda: future.set_result(fn(*args, **kwargs)))
        return future

    def run(self) -> None:
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            job()


class Disk(MemoryEngine):
    """Keeps what it held at its last flush: what a crash would leave."""

    def __init__(self) -> None:
        super().__init__()
        self.on_disk: dict[bytes, bytes] = {}

    def flush(self) -> None:
        super().flush()
        self.on_disk = dict(self.scan(b"", LAST))


@cache
def batch(number: int) -> Changes:
    """Batch `number` says so, and overwrites and deletes rows of earlier ones."""
    rng = random.Random(number)
    rows: Changes = {b"row%02d" % rng.randrange(40): rng.choice((None, b"%d" % number)) for _ in range(5)}
    return {b"number": b"%d" % number, **rows}


@cache
def after(batches: int) -> dict[bytes, bytes]:
    """The rows after so many batches; before every tenth, a range was dropped."""
    if not batches:
        return {}
    before = after(batches - 1)
    rows = (without_range(before) if batches % 10 == 0 else before) | batch(batches)
    return {key: value for key, value in rows.items() if value is not None}


def without_range(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in rows.items() if not b"row10" <= key < b"row20"}


@pytest.mark.parametrize("seed", range(20))
def test_each_flush_leaves_whole_batches_in_order_however_late_it_runs(seed: int) -> None:
    rng = random.Random(seed)
    disk, later = Disk(), Later()
    memtable = Memtable(disk, later, generation_rows=rng.choice((8, 60)), piece_rows=rng.choice((1, 3)))
    flushed: set[int] = set()
    for number in range(1, 200):
        if number % 10 == 0:
            later.run()  # a drop waits for the flush that runs, as it would for a thread
            memtable.drop(b"row10", b"row20")
        memtable.apply(batch(number))
        assert dict(memtable.scan(b"", LAST)) == after(number)
        if rng.random() < 0.2:
            memtable.begin_flush()
        for _ in range(rng.randrange(4)):
            memtable.tend(idle=rng.random() < 0.3)
            if rng.random() < 0.3:
                later.run()
        if rng.random() < 0.02:
            later.run()
            memtable.flush()
        held = int(disk.on_disk.get(b"number", b"0"))
        assert disk.on_disk in (after(held), without_range(after(held)))
        flushed.add(held)
    assert len(flushed) > 3


def test_what_is_wanted_on_disk_is_there_when_it_is_said_to_be() -> None:
    disk, later = Disk(), Later()
    memtable = Memtable(disk, later, generation_rows=100, piece_rows=2)
    memtable.apply({b"a": b"1", b"b": b"1", b"c": b"1"})
    wanted = memtable.begin_flush()
    memtable.apply({b"a": b"2"})
    for _ in range(5):
        memtable.tend()
    assert not memtable.is_flushed(wanted)
    later.run()
    memtable.tend()
    assert memtable.is_flushed(wanted)
    assert disk.on_disk == {b"a": b"2", b"b": b"1", b"c": b"1"}


def test_a_row_that_is_overwritten_reaches_the_engine_once() -> None:
    disk = Disk()
    memtable = Memtable(disk, Inline(), generation_rows=100)
    for number in range(1_000):
        memtable.apply({b"counter": b"%d" % number, b"row%d" % (number % 50): b"%d" % number})
        memtable.tend()
    assert disk.unflushed == 0
    assert memtable.get(b"counter") == b"999"
    memtable.flush()
    assert disk.get(b"counter") == b"999"


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_read_from_the_engine_are_remembered_until_they_change(reverse: bool) -> None:
    disk = Disk()
    memtable = Memtable(disk, Inline(), generation_rows=4, piece_rows=1)
    memtable.apply({b"k%d" % number: b"old" for number in range(9)})
    memtable.flush()
    keys = [b"k%d" % number for number in range(9)]
    for key in reversed(keys) if reverse else keys:
        assert memtable.get(key) == b"old"
    memtable.apply({b"k3": b"new", b"k4": None})
    for _ in range(3):
        assert [memtable.get(key) for key in (b"k2", b"k3", b"k4", b"none")] == [b"old", b"new", None, None]
        memtable.tend(idle=True)
    memtable.drop(b"k0", b"k3")
    assert [memtable.get(key) for key in (b"k2", b"k3")] == [None, b"new"]


@pytest.mark.parametrize("turns", range(6))
def test_a_flush_wanted_while_rows_are_on_their_way_covers_them(turns: int) -> None:
    disk, later = Disk(), Later()
    memtable = Memtable(disk, later, generation_rows=100, piece_rows=1)
    memtable.apply({b"a": b"1", b"b": b"1", b"c": b"1"})
    for _ in range(turns):
        memtable.tend(idle=True)
    wanted = memtable.begin_flush()
    assert not memtable.is_flushed(wanted)
    for _ in range(10):
        memtable.tend()
        later.run()
    assert memtable.is_flushed(wanted)
    assert len(disk.on_disk) == 3


@pytest.mark.parametrize("seed", range(20))
def test_what_is_discarded_is_gone_in_the_end_and_nothing_else_is(seed: int) -> None:
    rng = random.Random(seed)
    disk, later = Disk(), Later()
    memtable = Memtable(disk, later, generation_rows=rng.choice((10, 60)), piece_rows=rng.choice((1, 3)))
    kept: dict[bytes, bytes] = {}
    for number in range(60):
        if number % 5 == 0:
            later.run()  # or what comes would wait for it, as it would for a thread
        space = b"space%02d" % number
        memtable.apply({space + b"-%d" % row: b"x" for row in range(5)})
        if rng.random() < 0.5:
            memtable.discard(space, space + b"~")
        else:
            kept |= {space + b"-%d" % row: b"x" for row in range(5)}
        if rng.random() < 0.2:
            memtable.begin_flush(hurry=rng.random() < 0.5)
        for _ in range(rng.randrange(3)):
            memtable.tend(idle=rng.random() < 0.3)
            if rng.random() < 0.3:
                later.run()
    while memtable.busy:
        memtable.tend(idle=True)
        later.run()
    assert dict(disk.scan(b"", LAST)) == kept


def test_it_is_behind_while_a_generation_waits_for_the_engine_to_be_flushed() -> None:
    later = Later()
    table = Memtable(MemoryEngine(), later, generation_rows=10)
    table.apply({b"%d" % number: b"1" for number in range(9)})
    table.begin_flush()
    assert not table.behind
    while table.tend():  # until the flush runs
        pass
    table.apply({b"%d" % number: b"2" for number in range(9)})
    assert not table.behind, "it has room for a generation"
    table.apply({b"9": b"2"})
    assert table.behind
    later.run()
    table.tend()
    assert not table.behind
