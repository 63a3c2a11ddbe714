"""The state machine of one shard: committed entries in, results and row changes out.

Everything here runs alike on every replica: it depends on the entries and on the rows alone. A write is applied once
(sessions), in the range it was cut for (rule 14), and gets a version from the shard's own counter (rule 15).
"""

from collections.abc import Callable, Iterator

import msgspec

from zkv import limits
from zkv.core.raft.messages import Entry, EntryKind, Membership
from zkv.core.raft.ready import EntryId
from zkv.core.shard import records, split
from zkv.core.shard.commands import (
    EFFECT_NONE,
    EFFECT_UNKNOWN,
    Delete,
    Deleted,
    Evict,
    Failed,
    FailedBecause,
    Increment,
    Incremented,
    Operation,
    Page,
    Put,
    PutIf,
    Reason,
    Refused,
    Result,
    ScanGroup,
    WriteGroup,
)
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.rows import (
    ROW_HEADER_BYTES,
    Changes,
    Row,
    Rows,
    numbered_key,
    numbered_range,
    pack_row,
    row_key,
    row_range,
    session_key,
    unpack_row,
)
from zkv.core.shard.sessions import Session, Sessions
from zkv.ids import ClientId, ReplicaId

Partition = Callable[[bytes], bytes]  # user key -> partition key of the shard's table, or back

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_INTEGER_BYTES_MAX = 20
_BATCH = int(EntryKind.BATCH)
_membership = msgspec.msgpack.Decoder(Membership)
_evict = msgspec.msgpack.Decoder(Evict)


class ShardMachine:
    """One shard's state as of `applied`. Owned by one host, which writes `changes` and calls `finish` once a turn.

    Reads see the engine as of the last finished turn; conditions see what the running turn has changed, too.
    """

    def __init__(
        self, replica: ReplicaId, descriptor: records.Descriptor, rows: Rows, partition: Partition, user: Partition
    ) -> None:
        self._applied_key = numbered_key(b"a", replica)
        applied = rows.get(self._applied_key)
        state = records.decode_applied(applied) if applied else records.Applied(0, 0, 0, b"\0" * 6)
        self.replica = replica
        self.info: ShardInfo = descriptor.info
        self.space = descriptor.space
        self.session_space = descriptor.sessions or descriptor.space
        self.applied = EntryId(state.index, state.term)
        self.counter = state.counter
        self.partition = partition
        self.user = user
        self.sessions = Sessions(state.floor, _stored_sessions(self.session_space, rows))
        self._rows = rows
        self._prefix = row_key(self.space, b"")
        self._dirty: dict[ClientId, Session] = {}
        self._described = False
        self._parted: split.Parted | None = None

    def apply(
        self, entry: Entry, changes: Changes, groups: tuple[WriteGroup, ...] | None
    ) -> list[list[Result] | Refused]:
        """Apply one entry, the one after `applied`. Returns, for a BATCH, what each group came to, in order.

        `groups`: the decoded payload where the caller still has it.
        """
        assert entry.index == self.applied.index + 1, f"entry {entry.index} after {self.applied}"
        outcomes: list[list[Result] | Refused] = []
        if entry.kind == _BATCH:
            for group in records.decode_batch(entry.payload) if groups is None else groups:
                outcomes.append(self._apply_group(group, changes))
            self.applied = EntryId(entry.index, entry.term)
            return outcomes
        match EntryKind(entry.kind):
            case EntryKind.MEMBERSHIP:
                self.info = msgspec.structs.replace(self.info, membership=_membership.decode(entry.payload))
                self._described = True
            case EntryKind.EVICT:
                for client in self.sessions.evict(_evict.decode(entry.payload).clients):
                    self._dirty.pop(client, None)
                    changes[session_key(self.session_space, client)] = None
            case EntryKind.SPLIT:
                self._part(split.decode_split(entry.payload))
            case EntryKind.NOOP:
                pass
            case _:
                raise AssertionError(f"an entry of kind {entry.kind} cannot be in a shard's log")
        self.applied = EntryId(entry.index, entry.term)
        return outcomes

    def finish(self, changes: Changes) -> None:
        """Add what must be written together with the rows of this turn."""
        for client, session in self._dirty.items():
            changes[session_key(self.session_space, client)] = records.encode(session.record())
        self._dirty.clear()
        if self._described:
            changes[numbered_key(b"d", self.replica)] = records.encode(self._descriptor())
            self._described = False
        index, term = self.applied
        changes[self._applied_key] = records.encode(records.Applied(index, term, self.counter, self.sessions.floor))

    def take_parted(self) -> split.Parted | None:
        """What the last entry has cut off, once: whoever hosts this replica brings it into being."""
        parted, self._parted = self._parted, None
        return parted

    def read(self, keys: tuple[bytes, ...]) -> list[bytes | None] | None:
        """The stored rows under these user keys, as of the last finished turn; None: some key is outside the range."""
        partition, prefix = self.partition, self._prefix
        row_keys = [prefix + partition(key) for key in keys]
        first, after = self.row_range()
        if min(row_keys) < first or max(row_keys) >= after:
            return None
        get = self._rows.get
        return [get(row_key) for row_key in row_keys]

    def scan(self, group: ScanGroup) -> Page:
        """One page, as of the last finished turn, within the shard's own range."""
        first, after = self.row_range()
        first = max(first, self._prefix + group.start)
        after = min(after, self._prefix + group.end) if group.end else after
        skip, user = len(self._prefix), self.user
        rows: list[tuple[bytes, int, bytes]] = []
        looked_at, resume = 0, b""
        more = False
        for key, stored in self._rows.scan(first, after, reverse=group.reverse):
            if len(rows) == group.limit or looked_at > limits.SCAN_PAGE_BYTES_MAX:
                more = True
                break
            partition_key = key[skip:]
            looked_at += len(key) + len(stored)
            resume = partition_key if group.reverse else partition_key + b"\0"
            user_key = user(partition_key)
            if user_key.startswith(group.prefix):
                rows.append((user_key, int.from_bytes(stored[:8], "big"), stored[ROW_HEADER_BYTES:]))
        return Page(group.id, tuple(rows), more, resume)

    def measure(self, operations: tuple[Operation, ...]) -> int:
        """The bytes of keys and values, or -1 if some key is outside the shard's range."""
        start, end, partition = self.info.start, self.info.end, self.partition
        size = 0
        for operation in operations:
            key = partition(operation.key)
            if key < start or (end and key >= end):
                return -1
            size += len(key)
            if type(operation) is Put or type(operation) is PutIf:
                size += len(operation.value)
        return size

    def row_range(self) -> tuple[bytes, bytes]:
        """[start, end) of the engine keys of this shard's rows."""
        return row_range(self.space, self.info.start, self.info.end)

    def counters(self) -> tuple[int, bytes]:
        """The version counter and the session floor, for a snapshot."""
        return self.counter, self.sessions.floor

    def evictable(self) -> tuple[ClientId, ...]:
        """The sessions that a leader should propose to evict now, a tenth at a time; mostly none."""
        count = len(self.sessions)
        if count <= limits.SESSIONS_PER_SHARD_MAX and (
            count < 64 or self.sessions.size_bytes() <= limits.SESSION_BYTES_PER_SHARD_MAX
        ):
            return ()
        return self.sessions.eldest(max(1, count // 10))

    def _descriptor(self) -> records.Descriptor:
        apart = self.session_space if self.session_space != self.space else 0
        return records.Descriptor(self.info, self.space, apart)

    def _part(self, wanted: split.Split) -> None:
        """Keep what is left of the key. A split that does not fit any more does nothing, here as everywhere."""
        if split.wrong_with(self.info, wanted):
            return
        right = split.right_of(self.info, wanted)
        here = split.beside(self.info, wanted, self.replica)
        self._parted = split.Parted(right, here, self.space, self.counter, self.sessions.floor, self.sessions.records())
        self.info = split.left_of(self.info, wanted)
        self._described = True

    def _apply_group(self, group: WriteGroup, changes: Changes) -> list[Result] | Refused:
        if group.range_version != self.info.range_version:
            return Refused(group.id, Reason.STALE_RANGE, EFFECT_NONE, "the shard's range has changed", news=self.info)
        client = ClientId(group.client)
        session = self.sessions.find(client)
        if session is None:
            effect = EFFECT_UNKNOWN if group.retry else EFFECT_NONE
            detail = "the client's id was forgotten"
            return Refused(group.id, Reason.SESSION_EXPIRED, effect, detail, floor=self.sessions.floor)
        if group.first < session.lowest or group.first + len(group.operations) > group.lowest + limits.WINDOW_SEQUENCES:
            effect = EFFECT_UNKNOWN if group.retry else EFFECT_NONE
            return Refused(group.id, Reason.WINDOW, effect, "outside the window of numbers that are remembered")
        session.forget_below(group.lowest)
        self._dirty[client] = session
        if group.first > session.highest:
            results = self._apply_all(group.operations, changes)
            session.remember(group.first, tuple(results))
            return results
        return self._apply_again(group, session, changes)

    def _apply_all(self, operations: tuple[Operation, ...], changes: Changes) -> list[Result]:
        """Operations that nobody has applied before; a put needs nothing but its key's place."""
        prefix, partition = self._prefix, self.partition
        results: list[Result] = []
        for operation in operations:
            if type(operation) is Put:
                self.counter = version = self.counter + 1
                changes[prefix + partition(operation.key)] = pack_row(version, operation.value)
                results.append(version)
            else:
                results.append(self._apply_operation(operation, changes))
        return results

    def _apply_again(self, group: WriteGroup, session: Session, changes: Changes) -> list[Result]:
        """A group of which some operations may have been applied: each is applied, or remembered, on its own."""
        results: list[Result] = []
        for sequence, operation in enumerate(group.operations, group.first):
            result = session.result(sequence)
            if result is None:
                result = self._apply_operation(operation, changes)
                session.remember(sequence, (result,))
            results.append(result)
        return results

    def _apply_operation(self, operation: Operation, changes: Changes) -> Result:
        self.counter = version = self.counter + 1
        key = self._prefix + self.partition(operation.key)
        if type(operation) is Put:
            changes[key] = pack_row(version, operation.value)
            return version
        stored = changes[key] if key in changes else self._rows.get(key)
        found = int.from_bytes(stored[:8], "big") if stored else 0
        if isinstance(operation, Increment):
            return self._increment(operation, key, stored, changes)
        if isinstance(operation, Delete):
            if operation.version not in (-1, found):
                return Failed(FailedBecause.VERSION, found)
            if stored:
                changes[key] = None
            return Deleted(stored is not None, version)
        assert not isinstance(operation, Put)
        if operation.version != found:
            return Failed(FailedBecause.VERSION, found)
        changes[key] = pack_row(version, operation.value)
        return version

    def _increment(self, operation: Increment, key: bytes, stored: bytes | None, changes: Changes) -> Result:
        row = unpack_row(stored) if stored else Row(0, b"0")
        number = _parse_integer(row.value)
        if number is None:
            return Failed(FailedBecause.NOT_AN_INTEGER, row.version)
        total = number + operation.by
        if not _INT64_MIN <= total <= _INT64_MAX:
            return Failed(FailedBecause.OVERFLOW, row.version)
        changes[key] = pack_row(self.counter, b"%d" % total)
        return Incremented(total, self.counter)


def _parse_integer(value: bytes) -> int | None:
    """A decimal integer of 64 bits as `increment` stores it; None for all else (no spaces, signs or leading zeros)."""
    digits = value[1:] if value[:1] == b"-" else value
    if not digits.isdigit() or len(value) > _INTEGER_BYTES_MAX or (digits[:1] == b"0" and value != b"0"):
        return None
    number = int(value)
    return number if _INT64_MIN <= number <= _INT64_MAX else None


def _stored_sessions(space: int, rows: Rows) -> Iterator[tuple[ClientId, records.SessionRecord]]:
    start, end = numbered_range(b"s", space)
    for key, value in rows.scan(start, end):
        yield ClientId(key[len(start) :]), records.decode_session(value)
