"""What a log folder holds, read without changing it: whole, torn at its end, or damaged (rule 4)."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from zkv.core.raft.messages import LogBatch
from zkv.storage import segments
from zkv.storage.disk import Disk
from zkv.storage.faults import Damaged
from zkv.storage.replay import Replay
from zkv.storage.segment_file import SUFFIX
from zkv.storage.segments import HEADER_BYTES, SegmentHeader

_decoder = msgspec.msgpack.Decoder(LogBatch)


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment that is needed, and where in it the records end."""

    path: Path
    header: SegmentHeader
    end: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds. `needed`: from the last checkpoint to the newest; `needless`: what is older than that.

    `checkpoint_end`: position behind the last checkpoint. `torn_bytes`: behind the last record, to be cut off.
    `vouched`: the last record is empty, so that whatever is before it can never pass for a torn tail.
    """

    needed: list[StoredSegment]
    needless: list[Path]
    replay: Replay
    checkpoint_end: int
    torn_bytes: int
    vouched: bool


def read(folder: Path, disk: Disk) -> Found | None:
    """The log in `folder`, or None where there is no segment. Raises Damaged."""
    paths = sorted(disk.files(folder, SUFFIX), key=_number)
    if not paths:
        return None
    chain = _since_checkpoint(paths, disk)
    reader = _Reader(disk)
    stored = [reader.read(path, header) for path, header in chain]
    reader.replay.check()
    return Found(stored, paths[: -len(chain)], reader.replay, reader.checkpoint_end, reader.torn_bytes, reader.vouched)


class _Reader:
    """Reads needed segments in order; each must begin where the one before ended."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.replay = Replay()
        self.checkpoint_end = 0
        self.torn_bytes = 0
        self.vouched = False
        self._previous: StoredSegment | None = None

    def read(self, path: Path, header: SegmentHeader) -> StoredSegment:
        before = self._previous
        if before is not None and before.header.position_of(before.end) != header.base:
            raise _damaged(before.path, before.end, f"{path.name} begins at {header.base}, so more was on disk")
        data = self._disk.read(path)
        end = HEADER_BYTES
        for behind, body in segments.records(data, header):
            self._apply(path, end, body)
            if end == HEADER_BYTES and header.head:
                self.checkpoint_end = header.position_of(behind)
            end = behind
        if end == HEADER_BYTES:
            raise _damaged(path, end, "a segment gets its name only after its first record was flushed")
        self._judge_rest(path, header, data, end)
        self._previous = StoredSegment(path, header, end)
        return self._previous

    def _apply(self, path: Path, offset: int, body: bytes) -> None:
        try:
            batch = _decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise _damaged(path, offset, f"the record is whole, but not of this version: {error}") from error
        self.replay.apply(batch)
        self.vouched = not batch.items

    def _judge_rest(self, path: Path, header: SegmentHeader, data: bytes, end: int) -> None:
        witness = segments.vouched_after(data, header, end)
        if witness is not None:
            raise _damaged(path, end, f"the record at byte {witness} was written after a flush of all before it")
        self.torn_bytes = len(data[end:].rstrip(b"\0"))


def _since_checkpoint(paths: list[Path], disk: Disk) -> list[tuple[Path, SegmentHeader]]:
    """The segments from the newest one that begins with a checkpoint, in order, without a gap."""
    chain: list[tuple[Path, SegmentHeader]] = []
    for path in reversed(paths):
        header = segments.decode_header(disk.read(path, HEADER_BYTES))
        if header is None or header.number != _number(path):
            raise _damaged(path, 0, "the segment's header is not whole")
        if chain and header.number + 1 != chain[-1][1].number:
            raise _damaged(path, 0, f"the segment between it and {chain[-1][0].name} is missing")
        chain.append((path, header))
        if header.head:
            return chain[::-1]
    raise _damaged(paths[0], 0, "the segment before it is missing")


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else -1


def _damaged(path: Path, offset: int, why: str) -> Damaged:
    return Damaged(f"the log is damaged: {path}, byte {offset}: {why}")
