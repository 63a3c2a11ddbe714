"""A power cut before each single call to the disk, and then with each part of what was not flushed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage.powercut import LEFT, NAMES, PowerCut, PowerDisk
from tests.storage.test_disk_log import ONE, SEGMENT, batch, filled, held, opened, seen
from zkv.core.raft.messages import Entry, HardState, LogBatch, LogItem
from zkv.ids import ReplicaId
from zkv.storage.log import Log, RecoveredReplica

State = dict[ReplicaId, RecoveredReplica]
FIRST = "000000000001.log"
WRITTEN = 31  # entries that the log holds when a story begins


def a_write(log: Log) -> None:
    log.write(log.encode(batch(WRITTEN + 1)))


def a_write_that_needs_a_new_segment(log: Log) -> None:
    log.write(log.encode(batch(WRITTEN + 1, size=SEGMENT)))


def a_checkpoint(log: Log) -> None:
    kept = tuple(Entry(1, index, 1, bytes([index]) * 60) for index in range(21, WRITTEN + 1))
    log.checkpoint(log.encode(LogBatch((LogItem(ONE, (20, 1), HardState(1, ONE), kept, WRITTEN - 1),))))


def a_long_day(log: Log) -> None:
    a_checkpoint(log)
    a_write_that_needs_a_new_segment(log)
    log.vouch()


STORIES: list[Callable[[Log], None]] = [a_write, a_write_that_needs_a_new_segment, a_checkpoint, a_long_day]


def after_each_call(folder: Path, story: Callable[[Log], None]) -> list[State]:
    """What the log holds at each moment of the story, in order: no cut may leave anything else."""
    log = filled(folder, *range(1, WRITTEN + 1))
    found = [seen(folder)]
    original_write, original_checkpoint = log.write, log.checkpoint

    def spied(act: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def acting(payload: bytes) -> None:
            act(payload)
            found.append(seen(folder))

        return acting

    log.write = spied(original_write)  # type: ignore[method-assign]  # only to look after each call
    log.checkpoint = spied(original_checkpoint)  # type: ignore[method-assign]  # as above
    story(log)
    log.close()
    return found


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("how", LEFT)
@pytest.mark.parametrize("names", NAMES)
def test_a_power_cut_before_any_call_leaves_the_state_before_or_after(
    story: Callable[[Log], None], how: str, names: str, tmp_path: Path
) -> None:
    allowed = after_each_call(tmp_path / "rehearsal", story)
    for cut_at in range(1_000):
        folder = tmp_path / f"log{cut_at}"
        filled(folder, *range(1, WRITTEN + 1)).close()
        disk = PowerDisk(folder, cut_at=cut_at)
        done = 0
        try:
            log, _ = opened(folder, disk)
            story(log)
            done = len(allowed) - 1
        except PowerCut:
            pass
        left = tmp_path / f"left{cut_at}"
        disk.leave(left, how, names)
        assert held(left) in allowed[done:], f"cut before {cut_at}, after {disk.calls[-3:]}"
        assert held(left) == held(left)
        if done:
            break
    assert cut_at >= 5


@pytest.mark.parametrize("how", LEFT)
def test_what_open_reports_is_on_disk_before_it_counts(how: str, tmp_path: Path) -> None:
    """A process was killed between the write and the flush of batch 6: the page cache has it, the disk may not."""
    log = filled(tmp_path / "killed", *range(1, 6))
    certain = log_bytes(tmp_path / "killed")
    log.write(log.encode(batch(6)))
    cached = log_bytes(tmp_path / "killed")
    for cut_at in range(100):
        folder = tmp_path / f"log{cut_at}"
        folder.mkdir()
        (folder / FIRST).write_bytes(cached)
        disk = PowerDisk(folder, cut_at=cut_at)
        disk.forget_flush(folder / FIRST, certain)
        reported = 5
        try:
            _, recovered = opened(folder, disk)
            reported = recovered.replicas[ONE].last_index
        except PowerCut:
            pass
        left = tmp_path / f"left{cut_at}"
        disk.leave(left, how, "new names")
        assert held(left)[ONE].last_index >= reported
        if reported == 6:
            return
    raise AssertionError("it never came to an end")


def log_bytes(folder: Path) -> bytes:
    return (folder / FIRST).read_bytes()


@pytest.mark.parametrize("names", NAMES)
def test_a_checkpoint_that_was_killed_before_its_name_was_certain_is_made_certain_before_older_segments_go(
    names: str, tmp_path: Path
) -> None:
    """Both the new name and the older ones are there for the process that opens; the disk knows only the older ones."""
    log = filled(tmp_path / "killed", *range(1, WRITTEN + 1))
    older = {path.name: path.read_bytes() for path in (tmp_path / "killed").iterdir()}
    a_checkpoint(log)
    newest = {path.name: path.read_bytes() for path in (tmp_path / "killed").iterdir()}
    for cut_at in range(100):
        folder = tmp_path / f"log{cut_at}"
        folder.mkdir()
        for name, content in (older | newest).items():
            (folder / name).write_bytes(content)
        disk = PowerDisk(folder, cut_at=cut_at)
        disk.forget_name(folder / next(iter(newest)))
        opening = True
        try:
            opened(folder, disk)
            opening = False
        except PowerCut:
            pass
        left = tmp_path / f"left{cut_at}"
        disk.leave(left, "nothing", names)
        assert held(left)[ONE].last_index == WRITTEN
        if not opening:
            return
    raise AssertionError("it never came to an end")
