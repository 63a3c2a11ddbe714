"""What a client asks of one shard, and what the shard answers.

A group is all that one client asks of one shard in one turn. Its `id` is the client's, given back in the answer. A
write group of n operations takes the n sequence numbers from `first` on (rule 12). Keys are user keys; the
shard computes partition keys itself and checks its range again when it applies (rule 14).
"""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from zkv import limits
from zkv.core.message import Message
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.rows import ROW_HEADER_BYTES
from zkv.ids import ClientId, ShardId

Key = Annotated[bytes, Meta(min_length=1, max_length=limits.KEY_BYTES_MAX)]
Value = Annotated[bytes, Meta(max_length=limits.VALUE_BYTES_MAX)]
Bound = Annotated[bytes, Meta(max_length=limits.KEY_BYTES_MAX + 16)]
StoredRow = Annotated[bytes, Meta(min_length=ROW_HEADER_BYTES)]
Session = Annotated[bytes, Meta(min_length=16, max_length=16)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Signed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

ALL = 0  # of WriteGroup.copies: every voter
MAJORITY = -1


class Put(Message, tag=1, frozen=True, gc=False):
    """Store `value` under `key`. Result: the new version."""

    key: Key
    value: Value


class PutIf(Message, tag=2, frozen=True, gc=False):
    """Put only if the row's version is `version` (0: only if there is no row). Result: the new version, or Failed."""

    key: Key
    value: Value
    version: Count


class Delete(Message, tag=3, frozen=True, gc=False):
    """Remove the row; `version` -1: whatever it is. Result: Deleted, or Failed."""

    key: Key
    version: Annotated[int, Meta(ge=-1, le=2**63 - 1)] = -1


class Increment(Message, tag=4, frozen=True, gc=False):
    """Add `by` to the decimal integer stored under `key` (no row counts as 0). Result: Incremented, or Failed."""

    key: Key
    by: Signed


Operation = Put | PutIf | Delete | Increment


class Deleted(Message, tag=1, frozen=True, gc=False):
    """`existed`: whether there was a row. `version`: the deletion's own number."""

    existed: bool
    version: int


class Incremented(Message, tag=2, frozen=True, gc=False):
    """The value after the addition, and the row's new version."""

    value: int
    version: int


class FailedBecause(IntEnum):
    """Why a condition did not hold."""

    VERSION = 1  # another version, or a row where none was wanted, or none where one was
    NOT_AN_INTEGER = 2
    OVERFLOW = 3  # the sum does not fit 64 bits


class Failed(Message, tag=3, frozen=True, gc=False):
    """The operation changed nothing. A remembered result like any other (rule 12). `version` 0: there is no row."""

    because: FailedBecause
    version: int


Result = int | Deleted | Incremented | Failed  # an int is the new version of a put


class WriteGroup(Message, tag=1, frozen=True, gc=False):
    """Writes of one client to one shard, in order.

    `range_version`: of the shard, as the client knows it; an older one is refused, never misapplied.
    `lowest`: the smallest sequence number of this client that still waits for its answer.
    `budget_ms`: time left, not a clock reading, for two machines' clocks disagree.
    `copies`: how many replicas must hold it on disk before the answer: MAJORITY, ALL, or a count. A count below
    the majority answers before the commit and without versions (rule 18).
    `retry`: some operation in it may have been sent before, so that a refusal's effect is unknown.
    """

    id: Count
    shard: ShardId
    range_version: Count
    budget_ms: Annotated[int, Meta(ge=0, le=limits.DEADLINE_MS_MAX)]
    client: Session
    first: Annotated[int, Meta(ge=1, lt=2**62)]
    lowest: Annotated[int, Meta(ge=1, lt=2**62)]
    copies: Annotated[int, Meta(ge=-1, le=limits.REPLICAS_MAX)]
    retry: bool
    operations: Annotated[tuple[Operation, ...], Meta(min_length=1, max_length=limits.BATCH_OPERATIONS_MAX)]

    @property
    def count(self) -> int:
        """How many operations it is."""
        return len(self.operations)


def level_fault(group: WriteGroup, voters: int) -> str:
    """Why the group cannot be had at its level, or ""."""
    if group.copies in (MAJORITY, ALL):
        return ""
    if group.copies > voters:
        return f"w={group.copies} of a shard with {voters} replicas"
    if group.copies <= voters // 2 and not all(
        isinstance(operation, Put) or (isinstance(operation, Delete) and operation.version == -1)
        for operation in group.operations
    ):
        return "w below the majority is for unconditional put and delete only"
    return ""


class ReadGroup(Message, tag=2, frozen=True, gc=False):
    """Keys to read. `any_replica`: the reader accepts a stale answer and is told how stale at most."""

    id: Count
    shard: ShardId
    range_version: Count
    budget_ms: Annotated[int, Meta(ge=0, le=limits.DEADLINE_MS_MAX)]
    any_replica: bool
    keys: Annotated[tuple[Key, ...], Meta(min_length=1, max_length=limits.BATCH_OPERATIONS_MAX)]

    @property
    def count(self) -> int:
        """How many operations it is."""
        return len(self.keys)


class ScanGroup(Message, tag=3, frozen=True, gc=False):
    """One page of the shard's rows in partition-key order, within its range.

    start <= partition key < end (`end` b"": no end); `reverse` goes down from `end`. `prefix` keeps only user keys that
    begin with it (on hash tables the scan cannot skip, on range tables the caller narrows start and end as well).
    At most `limit` rows and limits.SCAN_PAGE_BYTES_MAX bytes come back.
    """

    id: Count
    shard: ShardId
    range_version: Count
    budget_ms: Annotated[int, Meta(ge=0, le=limits.DEADLINE_MS_MAX)]
    any_replica: bool
    start: Bound
    end: Bound
    prefix: Annotated[bytes, Meta(max_length=limits.KEY_BYTES_MAX)]
    limit: Annotated[int, Meta(ge=1, le=limits.SCAN_PAGE_ROWS_MAX)]
    reverse: bool

    @property
    def count(self) -> int:
        """How many operations it is."""
        return 1


Group = WriteGroup | ReadGroup | ScanGroup


class Written(Message, tag=1, frozen=True, gc=False):
    """The group's results, in order. `committed` False: w below majority, the results' versions are 0.

    `holders`: the replicas known to hold it on disk when the answer was made.
    """

    id: int
    results: tuple[Result, ...]
    committed: bool
    holders: tuple[int, ...]


class Values(Message, tag=2, frozen=True, gc=False):
    """The rows asked for, in order, as they are stored (`rows.unpack_row`); None where there is none.

    `stale_ms` -1: linearizable.
    """

    id: int
    rows: tuple[StoredRow | None, ...]
    stale_ms: int = -1


class Page(Message, tag=3, frozen=True, gc=False):
    """Rows in the order of the scan. `more`: go on after the last row (or from `resume`, a partition key, if no row
    matched in the bytes that were looked at); `resume` is where the next page starts, exclusive when reverse."""

    id: int
    rows: tuple[tuple[bytes, int, bytes], ...]  # user key, version, value
    more: bool
    resume: bytes
    stale_ms: int = -1


class Reason(IntEnum):
    """Why a group was refused; the number is the wire format."""

    NOT_LEADER = 1  # ask `news.leader`; effect none
    STALE_RANGE = 2  # the range has changed: `news` is the shard as the node knows it; effect none
    NO_SHARD = 3  # this node holds no such shard; effect none
    OVERLOADED = 4  # before the append; effect none; wait retry_ms
    DISK_FULL = 5  # before the append; effect none
    UNAVAILABLE = 6  # no leader known, or leadership lost; effect as said
    TIMEOUT = 7  # the budget ran out here; effect as said
    SESSION_EXPIRED = 8  # the client was born at or before `floor` and is not remembered (rule 13)
    WINDOW = 9  # below the client's own `lowest`, or beyond the window
    LEVEL_NOT_REACHED = 10  # w=all: committed, but not every voter has it; effect done
    TOO_LARGE = 11  # effect none
    BAD_REQUEST = 12  # effect none
    WRONG_CLUSTER = 13  # the node is of another cluster; effect none


EFFECT_NONE, EFFECT_DONE, EFFECT_UNKNOWN = 0, 1, 2


class Refused(Message, tag=4, frozen=True, gc=False):
    """The group was not done. `effect` speaks of this attempt only: a retry may have taken effect earlier."""

    id: int
    reason: Reason
    effect: int
    detail: str
    retry_ms: int = 0
    news: ShardInfo | None = None
    floor: bytes = b""  # of SESSION_EXPIRED: a new id must be born after it


Answer = Written | Values | Page | Refused


class Evict(Message, frozen=True, gc=False):
    """Entry: forget these sessions; the shard's floor rises to the newest birth among them (rule 13)."""

    clients: tuple[ClientId, ...]
