"""The few file calls that durability rests on, each with the error it means.

Everything that must survive a power cut goes through one `Disk`, so that a test can hand in one that fails, or one that
forgets what was not flushed, and the simulator one of its own.
"""

import errno
import fcntl
import os
import sys
from pathlib import Path

from zkv.errors import StorageError
from zkv.storage.faults import DiskFull, FlushFailed

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ZEROS = bytes(1024 * 1024)
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Disk:
    """The real disk. Calls release the GIL while they wait."""

    def salt(self) -> int:
        """32 random bits, for a new log."""
        return int.from_bytes(os.urandom(4), "little")

    def make_folder(self, folder: Path) -> None:
        """Make the folder if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)

    def files(self, folder: Path, suffix: str) -> list[Path]:
        """The files there whose names end so."""
        return list(folder.glob(f"*{suffix}"))

    def read(self, path: Path, most: int = -1) -> bytes:
        """The bytes of a file; `most`: only so many, from its beginning."""
        with path.open("rb") as file:
            return file.read(most)

    def size(self, path: Path) -> int:
        """How many they are."""
        return path.stat().st_size

    def create(self, path: Path) -> int:
        """A new, empty file; its descriptor. Raises DiskFull, FlushFailed."""
        try:
            return os.open(path, _NEW_FILE, 0o644)
        except OSError as error:
            raise _refused("create", path, error) from error

    def open(self, path: Path) -> int:
        """An existing file, to read and write. Raises StorageError."""
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"cannot open {path}: {error.strerror}") from error

    def allocate(self, file: int, size: int) -> None:
        """Make room for `size` bytes, which read as zeros until written. Raises DiskFull, FlushFailed.

        Where there is no fallocate (macOS), zeros are written, which makes room as well.
        """
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, size)
            else:
                self._fill(file, os.fstat(file).st_size, size)
        except OSError as error:
            raise _refused("make room in", None, error) from error

    def zero(self, file: int, start: int, end: int) -> None:
        """Write zeros over start <= offset < end, which is allocated already. Raises FlushFailed."""
        try:
            self._fill(file, start, end)
        except OSError as error:
            raise FlushFailed(f"a write failed: {error.strerror}") from error

    def write(self, file: int, parts: list[bytes], offset: int) -> None:
        """Write all parts at `offset`, one after the other. Raises FlushFailed."""
        expected = sum(map(len, parts))
        try:
            written = os.pwritev(file, parts, offset)
        except OSError as error:
            raise FlushFailed(f"a write failed: {error.strerror}") from error
        if written != expected:
            raise FlushFailed(f"a write failed: {written} of {expected} bytes were taken")

    def flush(self, file: int) -> None:
        """Return once the file's bytes are on the medium. Raises FlushFailed."""
        try:
            if sys.platform == "darwin":
                fcntl.fcntl(file, fcntl.FFULLFSYNC)  # fsync leaves the bytes in the drive's cache there
            else:
                os.fdatasync(file)
        except OSError as error:
            raise FlushFailed(f"a flush failed: {error.strerror}") from error

    def flush_folder(self, folder: Path) -> None:
        """Return once the names in `folder` are on the medium. Raises FlushFailed."""
        try:
            file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise FlushFailed(f"a flush of the folder {folder} failed: {error.strerror}") from error

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its name, at once or not at all. Raises DiskFull, FlushFailed."""
        try:
            source.rename(target)
        except OSError as error:
            raise _refused("rename", source, error) from error

    def delete(self, path: Path) -> None:
        """Delete a file. Raises FlushFailed."""
        try:
            path.unlink()
        except OSError as error:
            raise FlushFailed(f"cannot delete {path}: {error.strerror}") from error

    def truncate(self, file: int, size: int) -> None:
        """Cut the file off at `size`. Raises FlushFailed."""
        try:
            os.ftruncate(file, size)
        except OSError as error:
            raise FlushFailed(f"cannot cut the log's torn end off: {error.strerror}") from error

    def close(self, file: int) -> None:
        """Give the descriptor back."""
        os.close(file)

    def _fill(self, file: int, start: int, end: int) -> None:
        while start < end:
            start += os.pwrite(file, _ZEROS[: end - start], start)


def _refused(verb: str, path: Path | None, error: OSError) -> StorageError:
    where = "the log" if path is None else str(path)
    kind = DiskFull if error.errno in FULL else FlushFailed
    return kind(f"cannot {verb} {where}: {error.strerror}")
