"""The state machine of one shard: committed entries in, results and row changes out.

Everything here runs alike on every replica: it depends on the entries and on the rows alone. A write is applied once
(sessions), in the range it was cut for (rule 14), and gets a version from the shard's own counter (rule 15).
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from zkv import limits
from zkv.core.raft.messages import Entry, EntryKind, Membership
from zkv.core.raft.ready import EntryId
from zkv.core.shard import merge, records, split
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
from zkv.core.shard.merging import Absorbed, Merging
from zkv.core.shard.pieces import Pieces, scan
from zkv.core.shard.rows import (
    ROW_HEADER_BYTES,
    SPACE_BYTES,
    Changes,
    Row,
    Rows,
    numbered_key,
    numbered_range,
    pack_row,
    session_key,
    unpack_row,
)
from zkv.core.shard.sessions import Session, Sessions
from zkv.ids import ClientId, ReplicaId

Partition = Callable[[bytes], bytes]  # user key -> partition key of the shard's table, or back

FROZEN = "the shard is being merged with its neighbour"  # what is asked of it meanwhile
FROZEN_MS = 20  # a client's pause then

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
        self.pieces = Pieces(descriptor.space, descriptor.more)
        self.session_space = descriptor.sessions or descriptor.space
        self.applied = EntryId(state.index, state.term)
        self.counter = state.counter
        self.partition = partition
        self.user = user
        self.sessions = Sessions(state.floor, _stored_sessions(self.session_space, rows))
        self.merging = Merging(descriptor.merging, lambda space: _stored_sessions(space, rows))
        self._rows = rows
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
                if self.merging.state.frozen is None:  # nothing of what is being carried changes
                    self._forget(self.sessions.evict(_evict.decode(entry.payload).clients), changes)
            case EntryKind.SPLIT:
                self._part(split.decode_split(entry.payload))
            case EntryKind.FREEZE | EntryKind.ABSORB | EntryKind.MERGE:
                self._merge(entry, changes)
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

    def after_merge_entry(self, new_space: Callable[[], int]) -> list[tuple[bytes, bytes]]:
        """An entry of a merge was applied last: give it the space that it wants. Returns what is to be deleted."""
        self._described = self.merging.give_space(new_space) or self._described
        drops, self.merging.drops = self.merging.drops, []
        return drops

    def read(self, keys: tuple[bytes, ...]) -> list[bytes | None] | None:
        """The stored rows under these user keys, as of the last finished turn; None: some key is outside the range."""
        partition, end = self.partition, self.info.end
        partition_keys = [partition(key) for key in keys]
        if min(partition_keys) < self.info.start or (end and max(partition_keys) >= end):
            return None
        get, row_key = self._rows.get, self.pieces.row_key
        return [get(row_key(key)) for key in partition_keys]

    def scan(self, group: ScanGroup) -> Page:
        """One page, as of the last finished turn, within the shard's own range."""
        start = max(self.info.start, group.start)
        end = min(filter(None, (self.info.end, group.end)), default=b"")
        ranges = self.pieces.ranges(start, end)
        user = self.user
        rows: list[tuple[bytes, int, bytes]] = []
        looked_at, resume = 0, b""
        more = False
        for key, stored in scan(self._rows, ranges, reverse=group.reverse):
            if len(rows) == group.limit or looked_at > limits.SCAN_PAGE_BYTES_MAX:
                more = True
                break
            partition_key = key[SPACE_BYTES:]
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

    def row_ranges(self) -> list[tuple[bytes, bytes]]:
        """[start, end) of the engine keys of this shard's rows, in order: one of each space that they are in."""
        return self.pieces.ranges(self.info.start, self.info.end)

    def merge_state(self) -> merge.MergeState:
        """Its part in merges."""
        return self.merging.state

    def held_ranges(self) -> list[tuple[bytes, bytes]]:
        """All of the engine that is this replica's alone: rows, sessions, and what a merge has brought so far."""
        return records.held_ranges(self._descriptor())

    def counters(self) -> tuple[int, bytes]:
        """The version counter and the session floor, for a snapshot."""
        return self.counter, self.sessions.floor

    def evictable(self) -> tuple[ClientId, ...]:
        """The sessions that a leader should propose to evict now, a tenth at a time; mostly none."""
        count = len(self.sessions) if self.merging.state.frozen is None else 0
        if count <= limits.SESSIONS_PER_SHARD_MAX and (
            count < 64 or self.sessions.size_bytes() <= limits.SESSION_BYTES_PER_SHARD_MAX
        ):
            return ()
        return self.sessions.eldest(max(1, count // 10))

    def _descriptor(self) -> records.Descriptor:
        space, more = self.pieces.space, self.pieces.more
        apart = self.session_space if self.session_space != space else 0
        return records.Descriptor(self.info, space, apart, more, self.merging.state)

    def _part(self, wanted: split.Split) -> None:
        """Keep what is left of the key. A split that does not fit any more does nothing, here as everywhere."""
        if split.wrong_with(self.info, wanted) or self.merging.state.is_busy:
            return
        right = split.right_of(self.info, wanted)
        here = split.beside(self.info, wanted, self.replica)
        self.pieces, theirs = self.pieces.parted(wanted.at)
        self._parted = split.Parted(right, here, theirs, self.counter, self.sessions.floor, self.sessions.records())
        self.info = split.left_of(self.info, wanted)
        self._described = True

    def _merge(self, entry: Entry, changes: Changes) -> None:
        """A step of a merge, as the source or as the target (rule 23)."""
        self._described = True
        absorbed: Absorbed | None = None
        if entry.kind == EntryKind.FREEZE:
            self.info = self.merging.freeze(self.info, merge.decode_freeze(entry.payload))
        elif entry.kind == EntryKind.ABSORB:
            self.merging.absorb(self.info, merge.decode_absorb(entry.payload), changes)
        else:
            self.info, absorbed = self.merging.settle(self.info, merge.decode_verdict(entry.payload))
        if absorbed is None:
            return
        self.pieces = self.pieces.joined(absorbed.at, absorbed.space)
        self.counter = max(self.counter, absorbed.counter)
        changed, gone = self.sessions.unite(absorbed.sessions, absorbed.floor)
        self._dirty.update((client, self.sessions.get(client)) for client in changed)
        self._forget(gone, changes)

    def _forget(self, clients: Iterable[ClientId], changes: Changes) -> None:
        for client in clients:
            self._dirty.pop(client, None)
            changes[session_key(self.session_space, client)] = None

    def _apply_group(self, group: WriteGroup, changes: Changes) -> list[Result] | Refused:
        if self.merging.state.frozen is not None:
            return Refused(group.id, Reason.UNAVAILABLE, EFFECT_NONE, FROZEN, retry_ms=FROZEN_MS)
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
        row_key, partition = self.pieces.row_key, self.partition
        results: list[Result] = []
        for operation in operations:
            if type(operation) is Put:
                self.counter = version = self.counter + 1
                changes[row_key(partition(operation.key))] = pack_row(version, operation.value)
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
        key = self.pieces.row_key(self.partition(operation.key))
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
