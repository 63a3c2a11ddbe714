"""Which keys the load uses: every few seconds new ones, so that no key's history is too long to be checked.

A generation has registers, counters and one set in each of two tables, a hash table and a range table. Every process
reckons the generation by the clock that all share.
"""

from typing import NamedTuple

from zkv.sim.workload import name_of

HASH, RANGE = "hash", "range"
GENERATION_S = 5.0
REGISTERS, COUNTERS = 6, 3
SPLITS = (b"r0", b"r3", b"s")  # of the range table: counters, registers, registers, sets
PARTINGS = (b"c1", b"r1", b"r4")  # where a shard of the range table may split in a run, to merge again
SHARDS = 4  # of each of the two tables


class Keys(NamedTuple):
    """The keys of one generation in one table."""

    table: str
    registers: tuple[bytes, ...]
    counters: tuple[bytes, ...]
    set_prefix: bytes

    def named(self, key: bytes) -> bytes:
        """The key under a name that no other table's key has: as a history holds it."""
        return name_of(self.table, key)


def keys_of(table: str, generation: int) -> Keys:
    """The keys of a generation; the first is 0."""
    tag = b"-%06d" % generation
    registers = tuple(b"r%d" % number + tag for number in range(REGISTERS))
    counters = tuple(b"c%d" % number + tag for number in range(COUNTERS))
    return Keys(table, registers, counters, b"s" + tag + b"/")


def generation_at(now_ns: int, began_ns: int) -> int:
    """The generation whose turn it is."""
    return max(0, now_ns - began_ns) // int(GENERATION_S * 1e9)


def parse_name(name: str) -> tuple[str, bytes]:
    """The inverse of `name_of`, from the text of a history."""
    table, _, key = name.partition("/")
    return table, key.encode("latin-1")
