"""A disk in memory, under the real log: it loses and tears what was not flushed, fills up, fails, and rots.

Bytes are certain after a flush of their file, names after a flush of their folder. When the power goes, each write that
is not certain stays, goes, or stays up to some byte; of the changes to names, the first few stay.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from zkv.storage.disk import Disk
from zkv.storage.faults import DiskFull, FlushFailed


class PowerCut(Exception):
    """The power went out before this call."""


class _Write(NamedTuple):
    offset: int
    old: bytes
    new: bytes


@dataclass(slots=True)
class _File:
    """Its bytes as they would be read now, and what was written since its last flush."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[_Write] = field(default_factory=list)


class SimDisk(Disk):
    """The files of one process."""

    def __init__(self, rng: random.Random) -> None:
        self.full = False
        self.failing = False  # the next flush fails
        self._rng = rng
        self._names: dict[Path, _File] = {}
        self._certain: dict[Path, _File] = {}  # names as a power cut would leave them at the worst
        self._renamed: list[dict[Path, _File]] = []  # and as they were after each change since then
        self._open: dict[int, _File] = {}
        self._next = 1
        self._calls_left = -1  # until the power goes; -1: it stays

    # What goes wrong

    def cut_power_within(self, calls: int) -> None:
        """Raise PowerCut instead of one of the next calls that change anything."""
        self._calls_left = calls

    def lose_power(self) -> None:
        """The power is gone and back: nobody has a file open, and what was not certain is there in parts."""
        self._calls_left = -1
        self._open.clear()
        self._names = dict(self._rng.choice([self._certain, *self._renamed]))
        self._certain, self._renamed = dict(self._names), []
        for file in self._names.values():
            self._tear(file)

    def end_process(self) -> None:
        """The process is gone, the power is not: everything written is there, though not certain."""
        self._calls_left = -1
        self._open.clear()

    def flip(self, path: Path, offset: int) -> None:
        """One bit of a byte turns."""
        self._names[path].content[offset] ^= 1 << self._rng.randrange(8)

    def _tear(self, file: _File) -> None:
        writes, file.pending = file.pending, []
        for write in reversed(writes):
            _put(file, write.offset, write.old)
        for write in writes:
            kept = self._rng.choice([0, len(write.new), self._rng.randrange(len(write.new) + 1)])
            _put(file, write.offset, write.new[:kept])

    # What the log asks for

    def salt(self) -> int:
        return self._rng.getrandbits(32)

    def make_folder(self, folder: Path) -> None:
        return

    def files(self, folder: Path, suffix: str) -> list[Path]:
        return [path for path in self._names if path.name.endswith(suffix)]

    def read(self, path: Path, most: int = -1) -> bytes:
        content = self._names[path].content
        return bytes(content if most < 0 else content[:most])

    def size(self, path: Path) -> int:
        return len(self._names[path].content)

    def create(self, path: Path) -> int:
        self._count()
        if self.full:
            raise DiskFull(f"cannot create {path}")
        self._name(path, _File())
        return self.open(path)

    def open(self, path: Path) -> int:
        self._next += 1
        self._open[self._next] = self._names[path]
        return self._next

    def allocate(self, file: int, size: int) -> None:
        self._count()
        if self.full:
            raise DiskFull("cannot make room in the log")
        content = self._open[file].content
        content.extend(bytes(size - len(content)))

    def zero(self, file: int, start: int, end: int) -> None:
        self.write(file, [bytes(end - start)], start)

    def write(self, file: int, parts: list[bytes], offset: int) -> None:
        self._count()
        held = self._open[file]
        for part in parts:  # each may be there without the other
            old = bytes(held.content[offset : offset + len(part)])
            if old != part:
                held.pending.append(_Write(offset, old, part))
                held.content[offset : offset + len(part)] = part
            offset += len(part)

    def flush(self, file: int) -> None:
        self._count()
        if self.failing:
            raise FlushFailed("a flush failed: Input/output error")
        self._open[file].pending.clear()

    def flush_folder(self, folder: Path) -> None:
        self._count()
        self._certain, self._renamed = dict(self._names), []

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        file = self._names[source]
        del self._names[source]
        self._name(target, file)

    def delete(self, path: Path) -> None:
        self._count()
        del self._names[path]
        self._renamed.append(dict(self._names))

    def truncate(self, file: int, size: int) -> None:
        self._count()
        held = self._open[file]
        tail = bytes(held.content[size:])
        held.pending.append(_Write(size, tail, bytes(len(tail))))  # the log makes room there again: it reads as zeros
        del held.content[size:]

    def close(self, file: int) -> None:
        self._open.pop(file, None)

    def _name(self, path: Path, file: _File) -> None:
        self._names[path] = file
        self._renamed.append(dict(self._names))

    def _count(self) -> None:
        if self._calls_left == 0:
            raise PowerCut
        self._calls_left -= 1


def _put(file: _File, offset: int, data: bytes) -> None:
    file.content.extend(bytes(max(0, offset + len(data) - len(file.content))))
    file.content[offset : offset + len(data)] = data
