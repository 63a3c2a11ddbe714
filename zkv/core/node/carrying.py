"""What a frozen shard gives to its target: one piece at a time, found anew for each, so that nothing is kept open.

The shard does not change any more, so every replica of it that has applied as much cuts the same.
"""

from zkv import limits
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.merge import CarriedRow, Mark
from zkv.core.shard.pieces import scan
from zkv.core.shard.rows import SPACE_BYTES, Rows, numbered_range
from zkv.core.shard.snapshot_rows import DATA, SESSION

_ROW_OVERHEAD_BYTES = 16


def carried(machine: ShardMachine, rows: Rows, after: Mark) -> tuple[tuple[CarriedRow, ...], bool]:
    """The rows, then the sessions, that follow `after`: at most one chunk. And whether nothing follows them."""
    kind, key = after
    found: list[CarriedRow] = []
    size = 0
    start = machine.info.start if kind < DATA else key + b"\0"
    ranges = machine.pieces.ranges(max(start, machine.info.start), machine.info.end) if kind <= DATA else []
    first, end = numbered_range(SESSION, machine.session_space)
    ranges.append((first + key + b"\0" if kind == SESSION else first, end))
    for stored, value in scan(rows, ranges):
        size += len(stored) + len(value) + _ROW_OVERHEAD_BYTES
        if found and size > limits.SNAPSHOT_CHUNK_BYTES:
            return tuple(found), False
        found.append((stored[:1], stored[SPACE_BYTES:], value))
    return tuple(found), True
