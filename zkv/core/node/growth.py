"""By how much a write makes its shard larger, or smaller: reckoned for a sample of them, as it costs a read."""

from zkv.core.shard.commands import Delete, Increment, Operation, Put, PutIf
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.rows import ROW_HEADER_BYTES, VERSION_BYTES


def growth(machine: ShardMachine, operation: Operation) -> int:
    """Bytes of keys and values that the shard has more if that is applied next; 0 where it comes to nothing.

    The row is looked up as of the last finished turn: what is on its way to it does not count.
    """
    found = machine.read((operation.key,))
    if found is None:
        return 0
    (stored,) = found
    key_bytes = len(machine.partition(operation.key))
    held = key_bytes + len(stored) if stored is not None else 0
    version = int.from_bytes(stored[:VERSION_BYTES], "big") if stored is not None else 0
    match operation:
        case Put():
            return key_bytes + ROW_HEADER_BYTES + len(operation.value) - held
        case PutIf():
            fits = operation.version == version
            return key_bytes + ROW_HEADER_BYTES + len(operation.value) - held if fits else 0
        case Delete():
            return -held if operation.version in (-1, version) else 0
        case Increment():
            return 0 if held else key_bytes + ROW_HEADER_BYTES + 1
