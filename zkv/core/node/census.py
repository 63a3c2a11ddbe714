"""How many rows each shard here has: counted in the node's idle moments, a slice at a time; in smaller ones under load.

The hot path keeps no count, because knowing whether a put adds a row costs a read per put on every replica. So a count
is as of the moment when it began, and a shard that is written all the time is counted again only now and then.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

from zkv.core.node.host import Hosted
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.pieces import scan
from zkv.core.shard.rows import Rows
from zkv.ids import ShardId

_SLICE_ROWS = 2_000
_BUSY_ROWS = 250  # 0.3 ms
_AGAIN_MS = 5_000
_LATE_MS = 60_000
_MARK_BYTES = 4 * 1024
_MARKS_MAX = 64
_PREFIX_BYTES = 9  # of an engine's key: kind and space


class _Marks:
    """Keys at even distances in bytes, some dozens however many rows there are: where half of the bytes lie."""

    def __init__(self) -> None:
        self.bytes = 0
        self._step = _MARK_BYTES
        self._marks: list[tuple[int, bytes]] = []  # bytes before the key

    def add(self, key: bytes, size: int) -> None:
        """The next row."""
        if not self._marks or self.bytes - self._marks[-1][0] >= self._step:
            self._marks.append((self.bytes, key))
            if len(self._marks) > _MARKS_MAX:
                del self._marks[1::2]
                self._step *= 2
        self.bytes += size

    def middle(self) -> bytes:
        """The mark next to the middle; b"" where there is no row."""
        return min(self._marks, key=lambda mark: abs(2 * mark[0] - self.bytes), default=(0, b""))[1]


class Census:
    """Rows by shard, and the bytes of their keys and values, as of the last count of each."""

    def __init__(self, rows: Rows) -> None:
        self.counted: dict[ShardId, int] = {}
        self.bytes: dict[ShardId, int] = {}
        self.middle: dict[ShardId, tuple[int, bytes]] = {}  # of the bytes: range version, and a key of the engine
        self._rows = rows
        self._as_of: dict[ShardId, tuple[int, int, int]] = {}  # version counter, space and range at the last count
        self._began_ms: dict[ShardId, int] = {}
        self._running: tuple[ShardId, Iterator[tuple[bytes, bytes]]] | None = None
        self._so_far = 0
        self._marks = _Marks()

    def go_on(self, hosted: Mapping[ShardId, Hosted[ShardMachine]], now_ms: int, *, busy: bool) -> bool:
        """Count one slice, a small one while `busy`, if anything is to be counted. Whether there is more to do now."""
        if self._running is None and not self._begin(hosted, now_ms):
            return False
        assert self._running is not None
        shard, rows = self._running
        most = _BUSY_ROWS if busy else _SLICE_ROWS
        seen = list(islice(rows, most))
        for key, value in seen:
            self._marks.add(key, len(key) + len(value) - _PREFIX_BYTES)
        self._so_far += len(seen)
        if len(seen) < most:
            self.counted[shard] = self._so_far
            self.bytes[shard] = self._marks.bytes
            self.middle[shard] = (self._as_of[shard][2], self._marks.middle()[_PREFIX_BYTES:])
            self._running = None
        return True

    def give_up_late(self, now_ms: int) -> None:
        """Let go of a count that load has kept from ending: its iterator pins what the engine would throw away."""
        if self._running is not None and now_ms - self._began_ms[self._running[0]] > _LATE_MS:
            self._as_of.pop(self._running[0], None)
            self._running = None

    def _begin(self, hosted: Mapping[ShardId, Hosted[ShardMachine]], now_ms: int) -> bool:
        for gone in [shard for shard in self._as_of if shard not in hosted]:
            del self._as_of[gone]
            self.counted.pop(gone, None)
            self.bytes.pop(gone, None)
            self.middle.pop(gone, None)
        for shard, one in hosted.items():
            machine = one.machine
            if machine is None:
                continue
            as_of = (machine.counter, machine.pieces.space, machine.info.range_version)
            if self._as_of.get(shard) == as_of:
                continue
            if now_ms - self._began_ms.get(shard, -_AGAIN_MS) < _AGAIN_MS:
                continue
            self._as_of[shard] = as_of
            self._began_ms[shard] = now_ms
            self._running = (shard, scan(self._rows, machine.row_ranges()))
            self._so_far, self._marks = 0, _Marks()
            return True
        return False
