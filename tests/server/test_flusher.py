"""Both flushers keep the same promises; the second one keeps them beside its owner's thread."""

import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zkv.core.raft.messages import Entry, LogBatch, LogItem
from zkv.ids import ReplicaId
from zkv.server.flusher import Flush, Flusher, InlineFlusher
from zkv.storage import recovery
from zkv.storage.disk import Disk
from zkv.storage.faults import DiskFull, FlushFailed
from zkv.storage.log import Log

ONE = ReplicaId(1)
WAIT_S = 10


class Gate(Disk):
    """A disk whose flushes wait until they may go on, and whose calls fail when told to."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.full = self.broken = False
        self.flushed_by: set[str] = set()

    def allocate(self, file: int, size: int) -> None:
        if self.full:
            raise DiskFull("no room")
        super().allocate(file, size)

    def flush(self, file: int) -> None:
        assert self.open.wait(WAIT_S)
        if self.broken:
            raise FlushFailed("EIO")
        self.flushed_by.add(threading.current_thread().name)
        super().flush(file)


@pytest.fixture
def disk() -> Gate:
    return Gate()


@pytest.fixture
def log(tmp_path: Path, disk: Gate) -> Iterator[Log]:
    log, _ = Log.open(tmp_path, segment_bytes=4096, disk=disk)
    yield log
    log.close()


@pytest.fixture(params=[Flusher, InlineFlusher])
def flusher(request: pytest.FixtureRequest, log: Log) -> Iterator[Flush]:
    make: Callable[[Log], Flush] = request.param
    flusher = make(log)
    yield flusher
    flusher.close()


def payload(index: int, *, size: int = 10) -> bytes:
    return Log.encode(LogBatch((LogItem(ONE, entries=(Entry(1, index, 1, b"x" * size),)),)))


def finished(flusher: Flush, ticket: int) -> int:
    """Wait as a loop does until `ticket` is done, or an error comes."""
    while (done := flusher.done()) < ticket:
        ready, _, _ = select.select([flusher], [], [], WAIT_S)
        assert ready, f"ticket {ticket} never came"
    return done


def indexes(folder: Path) -> list[int]:
    found = recovery.read(folder, Disk())
    assert found is not None
    return [entry.index for held in found.replay.replicas.values() for entry in held.entries]


def test_a_ticket_is_done_once_its_batch_is_on_disk(flusher: Flush, tmp_path: Path) -> None:
    assert flusher.done() == 0
    for index in range(1, 6):
        ticket = flusher.submit(payload(index))
        assert ticket == index
        assert finished(flusher, ticket) == ticket
        assert indexes(tmp_path) == list(range(1, index + 1))


def test_what_is_submitted_together_finishes_in_order(flusher: Flush, tmp_path: Path) -> None:
    tickets = [flusher.submit(payload(index)) for index in range(1, 101)]
    assert finished(flusher, tickets[-1]) == 100
    assert indexes(tmp_path) == list(range(1, 101))


def test_a_checkpoint_takes_its_turn_among_the_batches(flusher: Flush, tmp_path: Path) -> None:
    flusher.submit(payload(1))
    head = LogBatch((LogItem(ONE, start=(1, 1), entries=(Entry(1, 2, 1, b""),)),))
    flusher.submit_checkpoint(Log.encode(head))
    finished(flusher, flusher.submit(payload(3)))
    assert indexes(tmp_path) == [2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["000000000002.log"]


def test_the_bell_rings_for_what_finished_and_is_quiet_after_it_was_asked(flusher: Flush) -> None:
    finished(flusher, flusher.submit(payload(1)))
    assert select.select([flusher], [], [], 0) == ([], [], [])


def test_a_failed_flush_is_raised_where_the_loop_asks_and_nothing_follows_it(
    flusher: Flush, disk: Gate, tmp_path: Path
) -> None:
    disk.broken = True
    ticket = flusher.submit(payload(1))
    flusher.submit(payload(2))
    with pytest.raises(FlushFailed, match="EIO"):
        finished(flusher, ticket)
    disk.broken = False
    ticket = flusher.submit(payload(3))
    with pytest.raises(FlushFailed, match="earlier"):
        finished(flusher, ticket)


def test_after_a_full_disk_what_was_submitted_behind_it_is_not_written_before_it(
    flusher: Flush, disk: Gate, tmp_path: Path
) -> None:
    disk.full = True
    first = flusher.submit(payload(1, size=5_000))
    flusher.submit(payload(2))
    with pytest.raises(DiskFull):
        finished(flusher, first)
    disk.full = False
    flusher.submit(payload(1, size=5_000))
    finished(flusher, flusher.submit(payload(2)))
    assert indexes(tmp_path) == [1, 2]


def test_close_finishes_what_was_submitted(log: Log, disk: Gate, tmp_path: Path) -> None:
    flusher = Flusher(log)
    disk.open.clear()
    for index in range(1, 4):
        flusher.submit(payload(index))
    assert flusher.done() == 0  # the loop goes on while the disk is slow
    disk.open.set()
    flusher.close()
    assert indexes(tmp_path) == [1, 2, 3]
    assert disk.flushed_by == {"flush", "MainThread"}  # MainThread made the log


def test_the_inline_flusher_is_done_when_submit_returns(log: Log, disk: Gate) -> None:
    flusher = InlineFlusher(log)
    assert flusher.submit(payload(1)) == 1
    assert flusher.done() == 1
    assert disk.flushed_by == {"MainThread"}
    flusher.close()


class SlowDisk(Disk):
    """Each flush takes `cost_s` of its own clock, and says in which thread it ran."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cost_s = 0.0
        self.ran_in: list[str] = []

    def clock(self) -> float:
        return self.now_s

    def flush(self, file: int) -> None:
        self.now_s += self.cost_s
        self.ran_in.append(threading.current_thread().name)
        super().flush(file)


def test_flushes_run_in_the_loop_while_they_are_short_and_beside_it_while_they_are_long(tmp_path: Path) -> None:
    disk = SlowDisk()
    log, _ = Log.open(tmp_path, segment_bytes=100_000, disk=disk)
    flusher = Flusher(log, inline_below_s=0.001, clock=disk.clock)
    places: dict[str, set[str]] = {}
    for name, cost_s in (("fast", 0.0002), ("slow", 0.004), ("fast again", 0.0002)):
        disk.cost_s = cost_s
        for _ in range(100):
            finished(flusher, flusher.submit(payload(1)))
        places[name] = set(disk.ran_in[-50:])
    flusher.close()
    log.close()
    assert places == {"fast": {"MainThread"}, "slow": {"flush"}, "fast again": {"MainThread"}}
    assert 0.0001 < flusher.cost_s < 0.0003


def test_a_short_flush_never_overtakes_one_that_was_handed_over(tmp_path: Path) -> None:
    gate = Gate()
    log, _ = Log.open(tmp_path, segment_bytes=4096, disk=gate)
    flusher = Flusher(log, inline_below_s=WAIT_S)
    gate.open.clear()
    checkpoint = flusher.submit_checkpoint(Log.encode(LogBatch(())))  # always handed over: it may take long
    last = flusher.submit(payload(1))
    assert flusher.done() < checkpoint
    gate.open.set()
    finished(flusher, last)
    flusher.close()
    log.close()
    assert indexes(tmp_path) == [1]
