"""Torn or rotten (rule 4): the end of an unfinished batch is cut off, all other damage is refused."""

import shutil
from pathlib import Path

import pytest

from tests.storage.test_disk_log import ONE, batch, filled, held, opened
from tests.storage.test_disk_log_crashes import FIRST
from zkv.storage import segments
from zkv.storage.faults import Damaged
from zkv.storage.log import Log
from zkv.storage.segments import HEADER_BYTES, RECORD_BYTES


def record_ends(folder: Path, count: int) -> list[int]:
    """Offsets behind the first record, and behind each of `count` batches written after it."""
    log = filled(folder)
    ends = [HEADER_BYTES + log.position]
    for index in range(1, count + 1):
        log.write(log.encode(batch(index)))
        ends.append(HEADER_BYTES + log.position)
    log.close()
    return ends


def changed(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flipped(path: Path, offset: int, bit: int) -> None:
    changed(path, offset, bytes([path.read_bytes()[offset] ^ (1 << bit)]))


def copied(source: Path, name: str) -> Path:
    target = source.with_name(name)
    shutil.copytree(source, target)
    return target


@pytest.mark.parametrize("rest", [b"\0", b"\xa5"], ids=["zeros", "garbage"])
def test_a_last_record_torn_at_any_byte_is_cut_off_and_the_log_goes_on(rest: bytes, tmp_path: Path) -> None:
    master = tmp_path / "master"
    *_, before, end = record_ends(master, 3)
    for torn_at in range(before, end):
        folder = copied(master, "torn")
        changed(folder / FIRST, torn_at, rest * (end - torn_at))
        log, recovered = opened(folder)
        assert recovered.replicas[ONE].last_index == 2
        assert recovered.torn_bytes <= end - before
        assert (recovered.torn_bytes > 0) == (torn_at > before or rest != b"\0")
        assert not (folder / FIRST).read_bytes()[HEADER_BYTES + log.position :].strip(b"\0")
        log.write(log.encode(batch(3, size=7)))
        log.close()
        assert len(held(folder)[ONE].entries[2].payload) == 7
        shutil.rmtree(folder)


def test_a_torn_tail_is_cut_to_its_last_byte_however_long_it_is(tmp_path: Path) -> None:
    log, _ = Log.open(tmp_path, segment_bytes=4_000_000)
    torn_at = HEADER_BYTES + log.position
    log.write(log.encode(batch(1, size=3_000_000)))
    log.close()
    changed(tmp_path / FIRST, torn_at, b"?")
    log, recovered = Log.open(tmp_path)
    log.close()
    assert recovered.torn_bytes > 3_000_000
    assert not (tmp_path / FIRST).read_bytes()[HEADER_BYTES + log.position :].strip(b"\0")


def test_a_flipped_bit_in_any_byte_that_was_vouched_for_is_refused_with_the_place_and_the_way_out(
    tmp_path: Path,
) -> None:
    master = tmp_path / "master"
    ends = record_ends(master, 3)
    log, _ = opened(master)  # vouches for the last batch
    log.close()
    for offset in range(ends[-1]):
        folder = copied(master, "rotten")
        flipped(folder / FIRST, offset, offset % 8)
        with pytest.raises(Damaged, match="the log is damaged") as caught:
            opened(folder)
        assert str(folder / FIRST) in str(caught.value)
        assert "rejoins empty" in str(caught.value)
        shutil.rmtree(folder)


def test_the_place_named_is_where_the_damaged_record_begins(tmp_path: Path) -> None:
    ends = record_ends(tmp_path, 3)
    flipped(tmp_path / FIRST, ends[1] + RECORD_BYTES + 5, 3)
    with pytest.raises(Damaged, match=f"byte {ends[1]}: the record at byte {ends[2]} was written after"):
        opened(tmp_path)


def test_a_flipped_bit_in_a_last_batch_that_nothing_vouches_for_passes_for_a_torn_tail(tmp_path: Path) -> None:
    ends = record_ends(tmp_path, 3)
    flipped(tmp_path / FIRST, ends[2] + RECORD_BYTES + 5, 3)
    assert held(tmp_path)[ONE].last_index == 2


def test_a_flipped_bit_in_the_record_that_vouches_costs_nothing(tmp_path: Path) -> None:
    ends = record_ends(tmp_path, 3)
    log, _ = opened(tmp_path)
    log.close()
    for offset in range(ends[-1], HEADER_BYTES + log.position):
        flipped(tmp_path / FIRST, offset, 0)
        assert held(tmp_path)[ONE].last_index == 3


def test_a_torn_record_in_an_older_segment_is_damage(tmp_path: Path) -> None:
    filled(tmp_path, *range(1, 90)).close()
    older = tmp_path / "000000000002.log"
    content = older.read_bytes().rstrip(b"\0")
    changed(older, len(content) - 20, bytes(20))
    with pytest.raises(Damaged, match=r"000000000002\.log.*so more was on disk"):
        opened(tmp_path)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_a_missing_segment_is_damage_unless_it_was_the_newest_and_nobody_can_know(gone: int, tmp_path: Path) -> None:
    filled(tmp_path, *range(1, 130)).close()
    assert len(list(tmp_path.iterdir())) == 4
    (tmp_path / f"{gone:012d}.log").unlink()
    with pytest.raises(Damaged, match="is missing"):
        opened(tmp_path)


def test_a_segment_under_another_number_is_damage(tmp_path: Path) -> None:
    filled(tmp_path, *range(1, 130)).close()
    (tmp_path / "000000000004.log").rename(tmp_path / "000000000005.log")
    with pytest.raises(Damaged, match="header"):
        opened(tmp_path)


def test_a_checkpoint_whose_record_is_damaged_is_never_skipped_for_what_is_older(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", *range(1, 30))
    old = copied(tmp_path / "log", "old")
    log.checkpoint(log.encode(batch(1)))
    log.close()
    for path in (tmp_path / "log").iterdir():
        shutil.copy(path, old)  # as if it had been killed before it deleted the older ones
        flipped(old / path.name, HEADER_BYTES + RECORD_BYTES + 3, 1)
    with pytest.raises(Damaged, match="only after its first record was flushed"):
        opened(old)


def test_records_that_stood_in_a_place_before_are_never_taken_for_new_ones(tmp_path: Path) -> None:
    master = tmp_path / "master"
    ends = record_ends(master, 3)
    record = (master / FIRST).read_bytes()[ends[1] : ends[2]]
    for place in (ends[3], ends[3] + 17):
        folder = copied(master, f"stale{place}")
        changed(folder / FIRST, place, record)
        log, recovered = opened(folder)
        assert recovered.replicas[ONE].last_index == 3
        assert recovered.torn_bytes > 0
        log.close()


def test_a_client_cannot_forge_a_record_inside_a_value(tmp_path: Path) -> None:
    """Its value holds a record of another log that fits the place exactly; the last batch is torn around it."""
    forged = tmp_path / "forged"
    ends = record_ends(forged, 3)
    record = (forged / FIRST).read_bytes()[ends[2] : ends[3]]
    victim = tmp_path / "victim"
    assert record_ends(victim, 1)[1] == ends[1]
    changed(victim / FIRST, ends[1], b"torn" * 9)
    changed(victim / FIRST, ends[2], record)
    assert held(victim)[ONE].last_index == 1


def test_a_whole_record_of_another_version_is_refused(tmp_path: Path) -> None:
    log = filled(tmp_path, 1)
    log.write(segments.seal(b"\x91\x01"))
    log.close()
    with pytest.raises(Damaged, match="not of this version"):
        opened(tmp_path)


def test_half_made_segments_are_swept_away(tmp_path: Path) -> None:
    log: Log = filled(tmp_path, 1)
    log.close()
    (tmp_path / "000000000002.new").write_bytes(b"half")
    assert held(tmp_path)[ONE].last_index == 1
    assert [path.name for path in tmp_path.iterdir()] == [FIRST]
