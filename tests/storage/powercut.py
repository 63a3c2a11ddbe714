"""A disk that remembers what a power cut would leave: for each file what was flushed, and what may or may not be.

Names (of new files, renames, deletions) are certain after a flush of the folder; bytes after a flush of the file. What
is not certain may be there in any part: `Left` says which part one particular power cut left.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from zkv.storage.disk import Disk


class PowerCut(Exception):
    """The power went out before this call."""


@dataclass
class Bytes:
    """One file. `pending`: writes and cuts since its last flush."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset, bytes; None: cut off there

    def left(self, keep: Callable[[int, int], bool]) -> bytes:
        """What is there if of the pending steps only those stayed that `keep` wants, by number and count."""
        content = bytearray(self.durable)
        for number, (offset, data) in enumerate(self.pending):
            if not keep(number, len(self.pending)):
                continue
            if data is None:
                del content[offset:]
                continue
            content.extend(bytes(max(0, offset + len(data) - len(content))))
            content[offset : offset + len(data)] = data
        return bytes(content)


LEFT: dict[str, Callable[[int, int], bool]] = {
    "nothing": lambda number, count: False,
    "all": lambda number, count: True,
    "only the last": lambda number, count: number == count - 1,
    "all but the first": lambda number, count: number > 0,
    "all but the last": lambda number, count: number < count - 1,
    "some": lambda number, count: random.Random(number + count).random() < 0.5,
}


Names = dict[str, int]
NAMES: dict[str, Callable[[Names, Names], Names]] = {
    "old names": lambda certain, now: certain,
    "new names": lambda certain, now: now,
    "new names that are there": lambda certain, now: {**certain, **now},
    "old names that are there": lambda certain, now: {name: certain[name] for name in certain if name in now},
}


class HastyDisk(Disk):
    """Never flushes. For what comes before and after the moment that a test is about, where nobody cuts the power."""

    def flush(self, file: int) -> None:
        return

    def flush_folder(self, folder: Path) -> None:
        return


class PowerDisk(Disk):
    """Does everything for real, and keeps account. Raises PowerCut instead of call number `cut_at`."""

    def __init__(self, folder: Path, *, cut_at: int = 1_000_000) -> None:
        self.calls: list[str] = []
        self._cut_at = cut_at
        self._folder = folder
        self._grave = folder.with_name(folder.name + ".grave")
        self._bytes: dict[int, Bytes] = {}  # by inode
        self._names: dict[str, int] = {}  # certain
        self._open: set[int] = set()
        for path in folder.glob("*"):
            inode = path.stat().st_ino
            self._names[path.name] = inode
            self._bytes[inode] = Bytes(path.read_bytes())

    def forget_flush(self, path: Path, before: bytes) -> None:
        """Say that of `path` only `before` is certain: the rest was written by a process that was killed."""
        content = path.read_bytes()
        first = next(at for at in range(len(content)) if content[at : at + 1] != before[at : at + 1])
        self._bytes[path.stat().st_ino] = Bytes(before, [(first, content[first:])])

    def forget_name(self, path: Path) -> None:
        """Say that `path` has its name only in memory: it was renamed by a process that was killed."""
        del self._names[path.name]

    def leave(self, target: Path, how: str, names: str) -> None:
        """Fill `target` with what a power cut now leaves: `how` says of bytes, `names` of names what stayed.

        Who used this disk has ended by that: its files are closed.
        """
        for file in [*self._open]:
            self.close(file)
        target.mkdir()
        now = {path.name: path.stat().st_ino for path in self._folder.glob("*")}
        for name, inode in NAMES[names](self._names, now).items():
            (target / name).write_bytes(self._bytes[inode].left(LEFT[how]))

    def create(self, path: Path) -> int:
        self._count("create")
        file = super().create(path)
        self._open.add(file)
        self._bytes[os.fstat(file).st_ino] = Bytes()
        return file

    def open(self, path: Path) -> int:
        file = super().open(path)
        self._open.add(file)
        return file

    def close(self, file: int) -> None:
        self._open.discard(file)
        super().close(file)

    def allocate(self, file: int, size: int) -> None:
        self._count("allocate")
        before = os.fstat(file).st_size
        super().allocate(file, size)
        self._of(file).pending.append((before, bytes(size - before)))

    def zero(self, file: int, start: int, end: int) -> None:
        self._count("zero")
        super().zero(file, start, end)
        self._of(file).pending.append((start, bytes(end - start)))

    def write(self, file: int, parts: list[bytes], offset: int) -> None:
        self._count("write")
        super().write(file, parts, offset)
        for part in parts:  # each may be there without the other: a torn write
            self._of(file).pending.append((offset, part))
            offset += len(part)

    def flush(self, file: int) -> None:
        self._count("flush")
        held = self._of(file)
        held.durable, held.pending = held.left(LEFT["all"]), []

    def flush_folder(self, folder: Path) -> None:
        self._count("flush_folder")
        if folder == self._folder:
            self._names = {path.name: path.stat().st_ino for path in folder.glob("*")}

    def rename(self, source: Path, target: Path) -> None:
        self._count("rename")
        super().rename(source, target)

    def delete(self, path: Path) -> None:
        self._count("delete")
        self._grave.mkdir(exist_ok=True)
        os.link(path, self._grave / str(len(self.calls)))  # so that no new file gets its inode
        super().delete(path)

    def truncate(self, file: int, size: int) -> None:
        self._count("truncate")
        super().truncate(file, size)
        self._of(file).pending.append((size, None))

    def _of(self, file: int) -> Bytes:
        return self._bytes[os.fstat(file).st_ino]

    def _count(self, call: str) -> None:
        if len(self.calls) == self._cut_at:
            raise PowerCut(call)
        self.calls.append(call)
