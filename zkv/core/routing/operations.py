"""What a caller can ask, checked against the limits before anything is sent, and the shape of what comes back.

Pure constructors: each returns a `Request`, which any shell hands to its router. A key or value may be given as bytes
or as str (UTF-8). Every constructor raises InvalidRequest or TooLarge and has no other effect.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar, cast

from zkv import limits
from zkv.core.shard.commands import (
    ALL,
    MAJORITY,
    Delete,
    Deleted,
    Failed,
    FailedBecause,
    Increment,
    Incremented,
    Operation,
    Put,
    PutIf,
)
from zkv.core.shard.rows import ROW_HEADER_BYTES, unpack_row
from zkv.errors import ConditionFailed, InvalidRequest, TooLarge, ZkvError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)  # a request of int may stand where one of object is asked for
Bytes = bytes | str  # what callers give: str is encoded as UTF-8
Level = str | int

WRITE, READ, SCAN = 1, 2, 3
LINEARIZABLE, ANY_REPLICA = 0, 1  # a read's level; a write's is its number of copies

OPERATION_BYTES: Final = 24  # what an operation takes in a frame beside its key and value, at most
_WHY: Final = {
    FailedBecause.VERSION: "the entry's version is {0}, not the one asked for",
    FailedBecause.NOT_AN_INTEGER: "the value (version {0}) is not a decimal integer",
    FailedBecause.OVERFLOW: "the sum does not fit 64 bits (version {0})",
}


class Proof(NamedTuple):
    """Who answered a group, and what it said of the copies."""

    shard: int
    node: str
    holders: tuple[int, ...] = ()
    committed: bool = True
    stale_ms: int = -1


class Receipt(NamedTuple, Generic[T]):
    """A result with where it comes from.

    `version` 0: answered before the commit (w below majority), or there is no row. `holders`: the replicas known to
    have it on disk. `stale_ms` -1: linearizable; else the answer's age at most.
    """

    result: T
    version: int
    shard: int
    node: str
    holders: tuple[int, ...]
    committed: bool
    stale_ms: int


class Entry(NamedTuple):
    """A value, its version, and who gave it."""

    value: bytes
    version: int
    receipt: Receipt[bytes]


Shape = Callable[[object, Proof], object]  # one operation's result on the wire -> what the caller gets, or a ZkvError


class Request(Generic[T_co]):
    """One call. `token` is its owner's name for it, `deadline_ms` when it ends; both are set when it is submitted."""

    __slots__ = ("deadline_ms", "token")

    def __init__(self) -> None:
        self.token: object = None
        self.deadline_ms = 0


class KeyRequest(Request[T_co]):
    """A call on keys: operations (or keys, or one Window of a scan) of one kind, level and table.

    `single`: the result is the only item's; otherwise it is a dict by key. `left` counts what is not finished.
    """

    __slots__ = ("items", "kind", "left", "level", "results", "shape", "single", "size", "submitted_ms", "table")

    def __init__(
        self,
        kind: int,
        table: str,
        level: int,
        items: tuple[object, ...],
        shape: Shape,
        size: int,
        *,
        single: bool = True,
    ) -> None:
        self.token = None
        self.deadline_ms = 0
        self.kind = kind
        self.table = table
        self.level = level
        self.items = items
        self.shape = shape
        self.size = size
        self.single = single
        self.left = len(items)
        self.submitted_ms = 0
        self.results: dict[bytes, object] = {}


def put(
    key: Bytes,
    value: Bytes,
    *,
    table: str = "default",
    if_version: int | None = None,
    if_absent: bool = False,
    w: Level = "majority",
) -> KeyRequest[int]:
    """Store `value`; the result is the new version. A condition that does not hold: ConditionFailed."""
    if type(key) is not bytes or not 0 < len(key) <= limits.KEY_BYTES_MAX:
        key = key_bytes(key)
    if type(value) is not bytes or len(value) > limits.VALUE_BYTES_MAX:
        value = value_bytes(value)
    size = len(key) + len(value) + OPERATION_BYTES
    if if_version is None and not if_absent:
        return KeyRequest(WRITE, table, copies_of(w), (Put(key, value),), _version, size)
    if if_absent and if_version not in (None, 0):
        raise InvalidRequest("if_absent and if_version exclude each other")
    operation = PutIf(key, value, 0 if if_absent else _expected(if_version, least=0))
    return KeyRequest(WRITE, table, copies_of(w), (operation,), _version, size)


def delete(
    key: Bytes, *, table: str = "default", if_version: int | None = None, w: Level = "majority"
) -> KeyRequest[bool]:
    """Remove the row; the result says whether there was one."""
    key = key_bytes(key)
    operation = Delete(key) if if_version is None else Delete(key, _expected(if_version, least=1))
    return KeyRequest(WRITE, table, copies_of(w), (operation,), _existed, len(key) + OPERATION_BYTES)


def increment(key: Bytes, by: int = 1, *, table: str = "default", w: Level = "majority") -> KeyRequest[int]:
    """Add `by` to the decimal integer under the key (no row counts as 0); the result is the sum."""
    key = key_bytes(key)
    if type(by) is not int or not -(2**63) <= by < 2**63:
        raise InvalidRequest(f"an increment is an integer of 64 bits, not {by!r}")
    return KeyRequest(WRITE, table, copies_of(w), (Increment(key, by),), _sum, len(key) + OPERATION_BYTES)


def get(key: Bytes, *, table: str = "default", r: str = "linearizable") -> KeyRequest[bytes | None]:
    """The value, or None."""
    if type(key) is not bytes or not 0 < len(key) <= limits.KEY_BYTES_MAX:
        key = key_bytes(key)
    level = LINEARIZABLE if r == "linearizable" else read_level(r)
    return KeyRequest(READ, table, level, (key,), _value, len(key) + OPERATION_BYTES)


def get_entry(key: Bytes, *, table: str = "default", r: str = "linearizable") -> KeyRequest[Entry | None]:
    """The value with its version and receipt, or None."""
    key = key_bytes(key)
    return KeyRequest(READ, table, read_level(r), (key,), _entry, len(key) + OPERATION_BYTES)


def mput(
    rows: Mapping[bytes, Bytes] | Mapping[str, Bytes], *, table: str = "default", w: Level = "majority"
) -> KeyRequest[dict[bytes, int]]:
    """Store every row, each on its own (not atomic); the result is key -> version."""
    operations = tuple([Put(key_bytes(key), value_bytes(value)) for key, value in rows.items()])
    size = sum([len(put.key) + len(put.value) for put in operations])
    if len(set(map(type, rows))) > 1 and len({put.key for put in operations}) != len(operations):
        raise InvalidRequest("a batch names a key twice, as bytes and as str")
    return _batch(WRITE, table, copies_of(w), operations, _version, size)


def mdelete(keys: Iterable[Bytes], *, table: str = "default", w: Level = "majority") -> KeyRequest[dict[bytes, bool]]:
    """Remove every row, each on its own (not atomic); the result is key -> whether there was one."""
    operations = tuple([Delete(key) for key in dict.fromkeys([key_bytes(key) for key in keys])])
    return _batch(WRITE, table, copies_of(w), operations, _existed, sum([len(one.key) for one in operations]))


def mget(
    keys: Iterable[Bytes], *, table: str = "default", r: str = "linearizable"
) -> KeyRequest[dict[bytes, bytes | None]]:
    """Read every key, each on its own; the result is key -> value or None."""
    wanted = tuple(dict.fromkeys([key_bytes(key) for key in keys]))
    return _batch(READ, table, read_level(r), wanted, _value, sum(map(len, wanted)))


def with_receipt(request: KeyRequest[T]) -> KeyRequest[Receipt[T]]:
    """The same request of one key; its result is a Receipt. Raises InvalidRequest for a batch."""
    if not request.single or request.kind == SCAN:
        raise InvalidRequest("a receipt is for a request of one key")
    inner = request.shape

    def shape(raw: object, proof: Proof) -> object:
        result = inner(raw, proof)
        if isinstance(result, ZkvError):
            return result
        return Receipt(result, _version_in(raw), *proof)

    return KeyRequest[Receipt[T]](request.kind, request.table, request.level, request.items, shape, request.size)


def key_of(item: object) -> bytes:
    """The user key of an item of a request that is no scan."""
    return item if type(item) is bytes else cast(Operation, item).key


def keys_of(kind: int, items: tuple[object, ...]) -> Iterable[bytes]:
    """The user keys of all items of a request that is no scan."""
    if kind == READ:
        return cast(tuple[bytes, ...], items)
    return [operation.key for operation in cast(tuple[Operation, ...], items)]


def is_unconditional(item: object) -> bool:
    """Whether a write may be answered before its commit (rule 18)."""
    return isinstance(item, Put) or (isinstance(item, Delete) and item.version == -1)


def key_bytes(key: Bytes) -> bytes:
    """A key as bytes. Raises InvalidRequest, or TooLarge above limits.KEY_BYTES_MAX."""
    key = plain_bytes(key, "key")
    if not key:
        raise InvalidRequest("a key has at least one byte")
    if len(key) > limits.KEY_BYTES_MAX:
        raise TooLarge(f"the key has {len(key)} bytes; {limits.KEY_BYTES_MAX} is the most")
    return key


def value_bytes(value: Bytes) -> bytes:
    """A value as bytes. Raises InvalidRequest, or TooLarge above limits.VALUE_BYTES_MAX."""
    value = plain_bytes(value, "value")
    if len(value) > limits.VALUE_BYTES_MAX:
        raise TooLarge(f"the value has {len(value)} bytes; {limits.VALUE_BYTES_MAX} is the most")
    return value


def plain_bytes(given: Bytes, what: str) -> bytes:
    """bytes or str (UTF-8) as bytes; raises InvalidRequest for all else."""
    if type(given) is bytes:
        return given
    if isinstance(given, str):
        try:
            return given.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"the {what} is no text that UTF-8 can hold: {error.reason}") from error
    if isinstance(given, bytes):
        return bytes(given)
    raise InvalidRequest(f"a {what} is bytes or str, not {type(given).__name__}")


def copies_of(w: Level) -> int:
    """How many replicas must hold a write: MAJORITY, ALL, or a count. Raises InvalidRequest."""
    if w == "majority":
        return MAJORITY
    if w == "all":
        return ALL
    count = int(w) if isinstance(w, str) and w.isascii() and w.isdigit() else w
    if type(count) is int and 1 <= count <= limits.REPLICAS_MAX:
        return count
    raise InvalidRequest(f'w is "majority", "all" or a count from 1 to {limits.REPLICAS_MAX}, not {w!r}')


def read_level(r: str) -> int:
    """LINEARIZABLE or ANY_REPLICA. Raises InvalidRequest."""
    if r == "linearizable":
        return LINEARIZABLE
    if r == "any":
        return ANY_REPLICA
    raise InvalidRequest(f'r is "linearizable" or "any", not {r!r}')


def _batch(
    kind: int, table: str, level: int, items: tuple[object, ...], shape: Shape, size: int
) -> KeyRequest[dict[bytes, T]]:
    if len(items) > limits.BATCH_OPERATIONS_MAX:
        raise TooLarge(f"the batch has {len(items)} operations; {limits.BATCH_OPERATIONS_MAX} is the most")
    if size > limits.BATCH_BYTES_MAX:
        raise TooLarge(f"the batch has {size} bytes; {limits.BATCH_BYTES_MAX} is the most")
    return KeyRequest(kind, table, level, items, shape, size + OPERATION_BYTES * len(items), single=False)


def _expected(version: int | None, *, least: int) -> int:
    if type(version) is not int or not least <= version < 2**63:
        raise InvalidRequest(f"if_version is a version, an integer of at least {least}, not {version!r}")
    return version


def _version(raw: object, proof: Proof) -> object:
    return raw if type(raw) is int else _failed(raw)


def _existed(raw: object, proof: Proof) -> object:
    if type(raw) is Deleted:
        return raw.existed
    # Before the commit (w below majority) nobody knows whether there was a row; the answer's result is then a 0.
    return False if type(raw) is int else _failed(raw)


def _sum(raw: object, proof: Proof) -> object:
    return raw.value if type(raw) is Incremented else _failed(raw)


def _value(raw: object, proof: Proof) -> object:
    return raw[ROW_HEADER_BYTES:] if type(raw) is bytes else None


def _entry(raw: object, proof: Proof) -> object:
    if type(raw) is not bytes:
        return None
    version, value = unpack_row(raw)
    return Entry(value, version, Receipt(value, version, *proof))


def _failed(raw: object) -> ZkvError:
    assert isinstance(raw, Failed), f"the answer to a write is {raw!r}"
    held = raw.version or None
    if raw.because == FailedBecause.VERSION and held is None:
        return ConditionFailed("there is no entry under the key", version=None)
    return ConditionFailed(_WHY[raw.because].format(held), version=held)


def _version_in(raw: object) -> int:
    if type(raw) is int:
        return raw
    if type(raw) is bytes:
        return unpack_row(raw).version
    return raw.version if isinstance(raw, Deleted | Incremented) else 0
