"""How many rows each shard here has: counted in the node's idle moments, a slice at a time; in smaller ones under load.

The hot path keeps no count, because knowing whether a put adds a row costs a read per put on every replica. So a count
is as of the moment when it began, and a shard that is written all the time is counted again only now and then. Of those
that are led here, a sample of the writes says how much there is since (`growth`), and which half of a split has it.
Without that, a shard that is filled at full speed would be split too late: counting it is slower than filling it.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

from zkv.core.node.host import Host, Hosted
from zkv.core.node.spread import Spread
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.pieces import scan
from zkv.core.shard.rows import Rows
from zkv.ids import ShardId

_SLICE_ROWS = 2_000
_BUSY_ROWS = 250  # 0.3 ms
_AGAIN_MS = 5_000
_LATE_MS = 60_000
_RUN_BYTES = 4 * 1024  # rows that lie together count as one
_PREFIX_BYTES = 9  # of an engine's key: kind and space


class Census:
    """Rows by shard as of the last count of each, and where the bytes of their keys and values lie."""

    def __init__(self, rows: Rows) -> None:
        self.counted: dict[ShardId, int] = {}
        self.spreads: dict[ShardId, tuple[int, Spread]] = {}  # range version; what was counted, and what came since
        self._rows = rows
        self._as_of: dict[ShardId, tuple[int, int, int]] = {}  # version counter, space and range at the last count
        self._began_ms: dict[ShardId, int] = {}
        self._running: tuple[ShardId, Iterator[tuple[bytes, bytes]]] | None = None
        self._so_far = 0
        self._spread = Spread()
        self._since = Spread()  # what came since the running count began, which does not see it

    def go_on(self, hosted: Mapping[ShardId, Hosted[ShardMachine]], now_ms: int, *, busy: bool) -> bool:
        """Count one slice, a small one while `busy`, if anything is to be counted. Whether there is more to do now."""
        if self._running is None and not self._begin(hosted, now_ms):
            return False
        assert self._running is not None
        shard, rows = self._running
        most = _BUSY_ROWS if busy else _SLICE_ROWS
        seen = list(islice(rows, most))
        self._add(seen)
        if len(seen) < most:
            self.counted[shard] = self._so_far
            self._spread.join(self._since)
            self.spreads[shard] = (self._as_of[shard][2], self._spread)
            self._running = None
        return True

    def bytes_of(self, shard: ShardId) -> int:
        """Of its rows' keys and values, as far as is known; -1: not at all."""
        held = self.spreads.get(shard)
        return max(held[1].bytes, 0) if held is not None else -1

    def grown(self, shard: ShardId, key: bytes, size: int) -> None:
        """By a sample: so many bytes more lie at that partition key, or fewer."""
        if self._running is not None and self._running[0] == shard:
            self._since.add(key, size)
        if shard in self.spreads:
            self.spreads[shard][1].add(key, size)

    def follow(self, host: Host[ShardMachine]) -> None:
        """After a turn: shards were split, or are gone from here."""
        for shard, right in host.parted:
            self._part(shard, right)
        for shard, _ in host.destroyed:
            if shard not in host.hosted:
                self._forget(shard)

    def give_up_late(self, now_ms: int) -> None:
        """Let go of a count that load has kept from ending: its iterator pins what the engine would throw away."""
        if self._running is not None and now_ms - self._began_ms[self._running[0]] > _LATE_MS:
            self._as_of.pop(self._running[0], None)
            self._running = None

    def _begin(self, hosted: Mapping[ShardId, Hosted[ShardMachine]], now_ms: int) -> bool:
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
            self._so_far, self._spread, self._since = 0, Spread(), Spread()
            return True
        return False

    def _part(self, shard: ShardId, right: ShardInfo) -> None:
        """What is known of one is known of both. They are counted again all the same."""
        if self._running is not None and self._running[0] == shard:
            self._running = None
        version, spread = self.spreads.pop(shard, (0, Spread()))
        if version + 1 == right.range_version:
            left, rest = spread.parted(right.start)
            self.spreads[shard] = (right.range_version, left)
            self.spreads[right.shard] = (right.range_version, rest)

    def _forget(self, shard: ShardId) -> None:
        if self._running is not None and self._running[0] == shard:
            self._running = None
        for known in (self.counted, self.spreads, self._as_of, self._began_ms):
            known.pop(shard, None)

    def _add(self, rows: list[tuple[bytes, bytes]]) -> None:
        self._so_far += len(rows)
        first, size = b"", 0
        for key, value in rows:
            if not size:
                first = key
            size += len(key) + len(value) - _PREFIX_BYTES
            if size >= _RUN_BYTES:
                self._spread.add(first[_PREFIX_BYTES:], size)
                size = 0
        if size:
            self._spread.add(first[_PREFIX_BYTES:], size)
