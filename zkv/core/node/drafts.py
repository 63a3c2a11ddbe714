"""What snapshots on their way to this node have filled so far: a durable record for each replica, beside the rows.

The record names a space before anything is in it, and goes in the batch that makes the space the replica's own
(`Residents.install`). So a crash at any point leaves rows that a record names, or rows that nothing names, which the
next start deletes.
"""

from collections.abc import ItemsView
from dataclasses import dataclass

from zkv import limits
from zkv.core.shard import records
from zkv.core.shard.rows import Changes, Rows, numbered_key
from zkv.ids import ReplicaId, ShardId

_KIND = b"i"


@dataclass(slots=True)
class Kept:
    """One draft. `used_ms`: when a stream last wrote to it or compared it."""

    shard: ShardId
    space: int
    used_ms: int


class Drafts:
    """The drafts of one host, by replica. Who ends one deletes its rows, or has made them the replica's."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._kept: dict[ReplicaId, Kept] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._kept)

    def load(self, now_ms: int) -> None:
        """Take up what the engine holds."""
        for key, value in self._rows.scan(_KIND, b"j"):
            draft = records.decode_draft(value)
            self._kept[ReplicaId(int.from_bytes(key[1:], "big"))] = Kept(draft.shard, draft.space, now_ms)

    def items(self) -> ItemsView[ReplicaId, Kept]:
        """All of them."""
        return self._kept.items()

    def space_of(self, replica: ReplicaId) -> int | None:
        """The space of the replica's draft, if it has one."""
        kept = self._kept.get(replica)
        return None if kept is None else kept.space

    def has(self, replica: ReplicaId, space: int) -> bool:
        """Whether that is the space of the replica's draft."""
        return self.space_of(replica) == space

    def begin(self, replica: ReplicaId, shard: ShardId, space: int, now_ms: int, changes: Changes) -> None:
        """From now on a snapshot fills that space; it is empty yet."""
        assert replica not in self._kept
        self._kept[replica] = Kept(shard, space, now_ms)
        changes[numbered_key(_KIND, replica)] = records.encode(records.Draft(shard, space))

    def used(self, replica: ReplicaId, now_ms: int) -> None:
        """A stream has gone on with it."""
        self._kept[replica].used_ms = now_ms

    def end(self, replica: ReplicaId, changes: Changes) -> int | None:
        """It is a draft no longer. Returns its space; None: there was none."""
        kept = self._kept.pop(replica, None)
        if kept is None:
            return None
        changes[numbered_key(_KIND, replica)] = None
        return kept.space

    def before(self, replica: ReplicaId, shard: ShardId) -> list[ReplicaId]:
        """Replicas of that shard that were to be here before this one, which is there in their place."""
        return [one for one, kept in self._kept.items() if kept.shard == shard and one < replica]

    def expired(self, now_ms: int) -> list[ReplicaId]:
        """Those that no stream has gone on with for DRAFT_KEPT_MS."""
        return [one for one, kept in self._kept.items() if now_ms - kept.used_ms >= limits.DRAFT_KEPT_MS]
