"""How many rows each shard here has: counted in the node's idle moments, a slice at a time.

The hot path keeps no count, because knowing whether a put adds a row costs a read per put on every replica. So a count
is as of the moment when it began, and a shard that is written all the time is counted again only now and then.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

from zkv.core.node.host import Hosted
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.rows import Rows
from zkv.ids import ShardId

_SLICE_ROWS = 2_000
_AGAIN_MS = 5_000
_PREFIX_BYTES = 9  # of an engine's key: kind and space


class Census:
    """Rows by shard, and the bytes of their keys and values, as of the last count of each."""

    def __init__(self, rows: Rows) -> None:
        self.counted: dict[ShardId, int] = {}
        self.bytes: dict[ShardId, int] = {}
        self._rows = rows
        self._as_of: dict[ShardId, tuple[int, int, int]] = {}  # version counter, space and range at the last count
        self._began_ms: dict[ShardId, int] = {}
        self._running: tuple[ShardId, Iterator[tuple[bytes, bytes]]] | None = None
        self._so_far = self._bytes_so_far = 0

    def go_on(self, hosted: Mapping[ShardId, Hosted[ShardMachine]], now_ms: int) -> bool:
        """Count one slice, if anything is to be counted. Returns whether there is more to do now."""
        if self._running is None and not self._begin(hosted, now_ms):
            return False
        assert self._running is not None
        shard, rows = self._running
        sizes = [len(key) + len(value) - _PREFIX_BYTES for key, value in islice(rows, _SLICE_ROWS)]
        self._so_far += len(sizes)
        self._bytes_so_far += sum(sizes)
        if len(sizes) < _SLICE_ROWS:
            self.counted[shard] = self._so_far
            self.bytes[shard] = self._bytes_so_far
            self._running = None
        return True

    def give_up_late(self, now_ms: int) -> None:
        """Let go of a count that load has kept from ending: its iterator pins what the engine would throw away."""
        if self._running is not None and now_ms - self._began_ms[self._running[0]] > _AGAIN_MS:
            self._as_of.pop(self._running[0], None)
            self._running = None

    def _begin(self, hosted: Mapping[ShardId, Hosted[ShardMachine]], now_ms: int) -> bool:
        for gone in [shard for shard in self._as_of if shard not in hosted]:
            del self._as_of[gone]
            self.counted.pop(gone, None)
            self.bytes.pop(gone, None)
        for shard, one in hosted.items():
            machine = one.machine
            if machine is None:
                continue
            as_of = (machine.counter, machine.space, machine.info.range_version)
            if self._as_of.get(shard) == as_of:
                continue
            if now_ms - self._began_ms.get(shard, -_AGAIN_MS) < _AGAIN_MS:
                continue
            self._as_of[shard] = as_of
            self._began_ms[shard] = now_ms
            self._running = (shard, self._rows.scan(*machine.row_range()))
            self._so_far = self._bytes_so_far = 0
            return True
        return False
