"""The engine in memory, for tests and the simulator: it can crash, and then holds some of what was not flushed."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from zkv.core.shard.rows import Changes

_INSORT_MAX = 16  # more new keys than this: one sort, which is linear for rows that are nearly in order


class MemoryEngine:
    """Rows in a dict with its keys in order. Fits `zkv.storage.engine.Engine`.

    Each `apply` or `drop` since the last flush is kept with what it replaced, so that a crash can take it back.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._undo: list[Changes] = []
        self._calls = 0  # of `apply` and `drop`, ever

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        rows = self._rows
        keys = self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, end)]
        if reverse:
            keys.reverse()
        return _give([(key, rows[key]) for key in keys])

    def apply(self, changes: Changes) -> None:
        self._calls += 1
        self._undo.append({key: self._rows.get(key) for key in changes})
        self._set(changes)

    def drop(self, start: bytes, end: bytes) -> None:
        keys = self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, end)]
        self.apply(dict.fromkeys(keys))

    def flush(self) -> None:
        self._undo.clear()

    @property
    def mark(self) -> int:
        """This moment, for `flush_to`."""
        return self._calls

    def flush_to(self, mark: int) -> None:
        """A flush that began at `mark` has ended: what came after it is not covered."""
        del self._undo[: max(0, mark - self._calls + len(self._undo))]

    def size_bytes(self) -> int:
        return sum(len(key) + len(value) for key, value in self._rows.items())

    def close(self) -> None:
        return

    @property
    def unflushed(self) -> int:
        """How many calls of `apply` and `drop` a crash may take back."""
        return len(self._undo)

    def crash(self, survivors: int) -> None:
        """Lose what was not flushed but for the first `survivors` calls of `apply` and `drop`: whole ones, in order."""
        assert 0 <= survivors <= len(self._undo)
        while len(self._undo) > survivors:
            self._set(self._undo.pop())
        self._undo.clear()

    def _set(self, changes: Changes) -> None:
        rows = self._rows
        gone = [key for key, value in changes.items() if value is None and rows.pop(key, None) is not None]
        added = [key for key, value in changes.items() if value is not None and key not in rows]
        rows.update((key, value) for key, value in changes.items() if value is not None)
        if len(gone) > _INSORT_MAX:
            self._keys = sorted(rows)
            return
        for key in gone:
            del self._keys[bisect_left(self._keys, key)]
        if len(added) > _INSORT_MAX:
            self._keys += added
            self._keys.sort()
            return
        for key in added:
            insort(self._keys, key)


def _give(rows: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    yield from rows
