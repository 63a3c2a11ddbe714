"""One segment file of the log, as it is made and written."""

from pathlib import Path

from zkv.storage import segments
from zkv.storage.disk import Disk
from zkv.storage.faults import DiskFull
from zkv.storage.segments import HEADER_BYTES, SegmentHeader

ZERO_AHEAD_BYTES = 1024 * 1024
SUFFIX = ".log"
HALF_MADE = ".new"


def segment_path(folder: Path, number: int) -> Path:
    """Where segment `number` is kept."""
    return folder / f"{number:012d}{SUFFIX}"


class SegmentFile:
    """The segment that is written. Bytes from `end` to `size` are zeros; up to `_filled` they were written as such."""

    def __init__(self, disk: Disk, path: Path, header: SegmentHeader, *, file: int, size: int, end: int) -> None:
        self.path = path
        self.header = header
        self.size = size
        self.end = end
        self._disk = disk
        self._file = file
        self._filled = end

    @classmethod
    def make(cls, disk: Disk, folder: Path, header: SegmentHeader, payload: bytes, size: int) -> "SegmentFile":
        """A new segment with its first record, on disk when this returns; of `size` bytes, or more for a big record.

        Raises DiskFull, which leaves nothing behind; FlushFailed.
        """
        path = segment_path(folder, header.number)
        half_made = path.with_suffix(HALF_MADE)
        size = max(size, HEADER_BYTES + segments.record_bytes(payload))
        file = disk.create(half_made)
        segment = cls(disk, path, header, file=file, size=size, end=0)
        try:
            disk.allocate(file, size)
            segment._write([header.encode(), segments.prefix(payload, header.base, header.salt), payload])
            disk.rename(half_made, path)
        except DiskFull:
            disk.close(file)
            disk.delete(half_made)
            raise
        disk.flush_folder(folder)
        return segment

    @classmethod
    def reopen(cls, disk: Disk, path: Path, header: SegmentHeader, *, end: int, torn: int) -> "SegmentFile":
        """An existing segment whose records end at `end`; the rest is cut off and reads as zeros; all is flushed.

        Raises DiskFull, StorageError, FlushFailed.
        """
        file, size = disk.open(path), disk.size(path)
        if torn:
            disk.truncate(file, end)
            disk.allocate(file, size)
        disk.flush(file)  # after kill -9 it may only be in the page cache (rule 3)
        return cls(disk, path, header, file=file, size=size, end=end)

    def has_room(self, payload: bytes) -> bool:
        """Whether a record of this payload fits."""
        return self.end + segments.record_bytes(payload) <= self.size

    def append(self, payload: bytes) -> None:
        """Write one record behind the last, and flush it. Raises FlushFailed."""
        self._write([segments.prefix(payload, self.position, self.header.salt), payload])

    @property
    def position(self) -> int:
        """Where in the log the next record goes."""
        return self.header.position_of(self.end)

    def close(self) -> None:
        """Give the file back."""
        self._disk.close(self._file)

    def _write(self, parts: list[bytes]) -> None:
        end = self.end + sum(map(len, parts))
        if end > self._filled:
            ahead = min(end + ZERO_AHEAD_BYTES, self.size)
            self._disk.zero(self._file, end, ahead)
            self._filled = ahead
        self._disk.write(self._file, parts, self.end)
        self._disk.flush(self._file)
        self.end = end
