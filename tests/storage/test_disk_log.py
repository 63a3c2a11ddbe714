"""The log as its owner sees it: what is written is there, in whole batches, through every restart and checkpoint."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage.powercut import HastyDisk
from zkv.core.raft.messages import Entry, HardState, LogBatch, LogItem
from zkv.ids import ReplicaId
from zkv.storage import recovery
from zkv.storage.disk import Disk
from zkv.storage.faults import DiskFull, FlushFailed
from zkv.storage.log import Log, Recovered, RecoveredReplica

ONE, TWO = ReplicaId(1), ReplicaId(2)
SEGMENT = 4096


def batch(index: int, *, replica: ReplicaId = ONE, term: int = 1, size: int = 60) -> LogBatch:
    """Entry `index` of a replica, everything before it committed."""
    entry = Entry(term, index, 1, bytes([index % 251]) * size)
    return LogBatch((LogItem(replica, hard_state=HardState(term, replica), entries=(entry,), commit=index - 1),))


def opened(folder: Path, disk: Disk | None = None) -> tuple[Log, Recovered]:
    return Log.open(folder, segment_bytes=SEGMENT, disk=disk or HastyDisk())


def held(folder: Path) -> dict[ReplicaId, RecoveredReplica]:
    """What the log holds now."""
    log, recovered = opened(folder)
    log.close()
    return recovered.replicas


def seen(folder: Path) -> dict[ReplicaId, RecoveredReplica]:
    """What the log holds now, while its owner goes on."""
    found = recovery.read(folder, Disk())
    assert found is not None
    return found.replay.replicas


def filled(folder: Path, *indexes: int) -> Log:
    log, _ = opened(folder)
    for index in indexes:
        log.write(log.encode(batch(index)))
    return log


def rewritten(held: dict[ReplicaId, RecoveredReplica], *, start: int) -> LogBatch:
    """A checkpoint's batch: entries up to `start` are no longer needed."""
    return LogBatch(
        tuple(
            LogItem(
                replica,
                start=(start, 1),
                hard_state=found.hard_state,
                entries=tuple(entry for entry in found.entries if entry.index > start),
                commit=found.commit,
            )
            for replica, found in held.items()
        )
    )


def test_what_was_written_is_there_again_across_many_segments(tmp_path: Path) -> None:
    log, _ = Log.open(tmp_path, segment_bytes=SEGMENT)
    for index in range(1, 120):
        log.write(log.encode(LogBatch((*batch(index).items, *batch(index, replica=TWO, term=3).items))))
    log.close()
    assert len(list(tmp_path.iterdir())) > 5
    replicas = held(tmp_path)
    assert set(replicas) == {ONE, TWO}
    assert replicas[TWO].hard_state == HardState(3, TWO)
    assert replicas[TWO].commit == 118
    assert [entry.index for entry in replicas[ONE].entries] == list(range(1, 120))
    assert replicas[ONE].entries[70].payload == bytes([71]) * 60


def test_a_log_goes_on_where_it_ended_after_each_restart(tmp_path: Path) -> None:
    for index in range(1, 60):
        filled(tmp_path, index).close()
        assert held(tmp_path)[ONE].last_index == index


def test_a_record_larger_than_a_segment_gets_a_segment_of_its_size(tmp_path: Path) -> None:
    log = filled(tmp_path, 1)
    log.write(log.encode(batch(2, size=50_000)))
    log.write(log.encode(batch(3)))
    log.close()
    assert [len(entry.payload) for entry in held(tmp_path)[ONE].entries] == [60, 50_000, 60]


def test_a_checkpoint_leaves_one_segment_and_what_it_rewrote(tmp_path: Path) -> None:
    log = filled(tmp_path, *range(1, 90))
    log.checkpoint(log.encode(rewritten(seen(tmp_path), start=80)))
    assert [path.name for path in tmp_path.iterdir()] == ["000000000004.log"]
    assert log.bytes_since_checkpoint == 0
    assert log.size_bytes == SEGMENT
    log.write(log.encode(batch(90)))
    assert 60 < log.bytes_since_checkpoint < 200
    log.close()
    after = held(tmp_path)[ONE]
    assert (after.start, after.commit, [entry.index for entry in after.entries]) == ((80, 1), 89, list(range(81, 91)))


def test_bytes_since_the_checkpoint_are_known_again_after_a_restart(tmp_path: Path) -> None:
    log = filled(tmp_path, *range(1, 90))
    log.checkpoint(log.encode(rewritten(seen(tmp_path), start=80)))
    for index in range(90, 140):
        log.write(log.encode(batch(index)))
    log.vouch()
    expected = log.bytes_since_checkpoint, log.size_bytes, log.position
    log.close()
    again, _ = opened(tmp_path)
    assert (again.bytes_since_checkpoint, again.size_bytes, again.position) == expected
    again.close()


def test_a_replica_that_a_checkpoint_left_out_is_forgotten(tmp_path: Path) -> None:
    log = filled(tmp_path, 1, 2)
    log.checkpoint(log.encode(LogBatch(())))
    log.close()
    assert held(tmp_path) == {}


def test_an_idle_log_vouches_once(tmp_path: Path) -> None:
    log = filled(tmp_path, 1)
    before = log.position
    log.vouch()
    after = log.position
    log.vouch()
    assert after > before
    assert log.position == after
    log.close()
    assert filled(tmp_path).position == after


class Failing(Disk):
    """Fails the calls that are named in `failing`."""

    def __init__(self) -> None:
        self.failing: set[str] = set()

    def allocate(self, file: int, size: int) -> None:
        if "allocate" in self.failing:
            raise DiskFull("no room")
        super().allocate(file, size)

    def flush(self, file: int) -> None:
        if "flush" in self.failing:
            raise FlushFailed("EIO")
        super().flush(file)


@pytest.mark.parametrize("call", ["write", "checkpoint"])
def test_a_full_disk_leaves_the_log_as_it_was_and_the_same_call_works_when_there_is_room(
    call: str, tmp_path: Path
) -> None:
    disk = Failing()
    log, _ = opened(tmp_path, disk)
    log.write(log.encode(batch(1)))
    big = batch(2, size=SEGMENT)
    payload = log.encode(LogBatch((*batch(1).items, *big.items)) if call == "checkpoint" else big)
    act: Callable[[bytes], None] = getattr(log, call)
    disk.failing.add("allocate")
    with pytest.raises(DiskFull):
        act(payload)
    assert [path.suffix for path in tmp_path.iterdir()] == [".log"]
    log.vouch()  # what fits in the segment goes in
    disk.failing.clear()
    act(payload)
    log.close()
    assert held(tmp_path)[ONE].last_index == 2


@pytest.mark.parametrize("call", ["write", "checkpoint"])
def test_a_failed_flush_is_final(call: str, tmp_path: Path) -> None:
    disk = Failing()
    log, _ = opened(tmp_path, disk)
    disk.failing.add("flush")
    with pytest.raises(FlushFailed, match="EIO"):
        getattr(log, call)(log.encode(batch(1)))
    disk.failing.clear()
    for act in (log.write, log.checkpoint):
        with pytest.raises(FlushFailed, match="earlier flush failed"):
            act(log.encode(batch(2)))


def test_errors_of_the_system_are_told_apart_by_what_must_be_done(tmp_path: Path) -> None:
    disk = Disk()
    file = disk.create(tmp_path / "file")
    os.close(file)
    for act in (
        lambda: disk.write(file, [b"x"], 0),
        lambda: disk.flush(file),
        lambda: disk.zero(file, 0, 1),
        lambda: disk.truncate(file, 0),
        lambda: disk.allocate(file, 10),
        lambda: disk.flush_folder(tmp_path / "missing"),
        lambda: disk.delete(tmp_path / "missing"),
    ):
        with pytest.raises(FlushFailed):
            act()


FULL = """
import resource, sys
from tests.storage.test_disk_log import DiskFull, batch, filled, Path
log = filled(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    log.write(log.encode(batch(1, size=20_000)))
except DiskFull:
    log.write(log.encode(batch(1)))
    print("full, then written")
"""


def test_the_system_itself_says_full(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    root = Path(__file__).parents[2]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    assert output == "full, then written\n"
    assert held(tmp_path)[ONE].last_index == 1
