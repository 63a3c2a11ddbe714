"""The shard map as its holders use it: indexed, changed by deltas, asked per operation.

A delta applies only to the version right before its own (rule 24). News from a refusal may run ahead of the deltas
for one shard; nothing ever turns a shard back to an older report.
"""

from bisect import bisect_right
from collections.abc import Iterable

from msgspec import structs

from zkv.core.cluster.shardmap import MapDelta, MapSnapshot, NodeInfo, NodeState, TableInfo
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId, ShardId, TableId

Order = tuple[int, int, int]


class MapGap(Exception):
    """A delta that does not follow the map's version, or speaks of another coordinators' group."""


def report_order(info: ShardInfo) -> Order:
    """What orders two reports of one shard: (range version, membership version, term) (rule 24)."""
    return (info.range_version, info.membership.version, info.term)


def is_newer(info: ShardInfo, held: ShardInfo) -> bool:
    """Whether `info` tells more than `held`: a later epoch or term, or the leader of a term that had none."""
    order, old = report_order(info), report_order(held)
    return order > old or (order == old and not held.leader and bool(info.leader))


class _Table:
    """A table's shards by their starts, in range order."""

    __slots__ = ("shards", "starts")

    def __init__(self, shards: Iterable[ShardInfo]) -> None:
        self.shards = sorted(shards, key=lambda info: info.start)
        self.starts = [info.start for info in self.shards]


class ShardMap:
    """The map at one version, plus what was learnt out of band.

    Invariants: `version` rises by one with each delta; per shard (range version, membership version, term) never
    falls. Deltas with the same ranges replace a shard in place; others rebuild the table's index.
    """

    def __init__(self, snapshot: MapSnapshot) -> None:
        self.incarnation = snapshot.incarnation
        self.version = snapshot.version
        self.cluster = snapshot.cluster
        self.coordinators = snapshot.coordinators
        self.publishers = snapshot.publishers
        self.tables: dict[TableId, TableInfo] = {info.table: info for info in snapshot.tables}
        self.named: dict[str, TableInfo] = {info.name: info for info in snapshot.tables}
        self.nodes: dict[NodeId, NodeInfo] = {info.node: info for info in snapshot.nodes}
        self.shards: dict[ShardId, ShardInfo] = {info.shard: info for info in snapshot.shards}
        self.tuning = snapshot.tuning
        self._index: dict[TableId, _Table] = {}
        self._reindex({info.table for info in snapshot.shards})

    def table(self, name: str) -> TableInfo | None:
        """The table of that name, or None."""
        return self.named.get(name)

    def locate(self, table: TableId, partition_key: bytes) -> ShardInfo | None:
        """The shard that owns the partition key, or None where the map shows none (no table, or a hole)."""
        index = self._index.get(table)
        if index is None:
            return None
        position = bisect_right(index.starts, partition_key) - 1
        if position < 0:
            return None
        info = index.shards[position]
        end = info.end
        return info if not end or partition_key < end else None

    def shards_of(self, table: TableId) -> tuple[ShardInfo, ...]:
        """The table's shards in range order."""
        index = self._index.get(table)
        return tuple(index.shards) if index is not None else ()

    def snapshot(self) -> MapSnapshot:
        """The whole map as it stands, each kind in the order of its ids."""
        return MapSnapshot(
            incarnation=self.incarnation,
            version=self.version,
            cluster=self.cluster,
            coordinators=self.coordinators,
            publishers=self.publishers,
            tables=tuple(self.tables[key] for key in sorted(self.tables)),
            nodes=tuple(self.nodes[key] for key in sorted(self.nodes)),
            shards=tuple(self.shards[key] for key in sorted(self.shards)),
            tuning=self.tuning,
        )

    def apply(self, delta: MapDelta) -> None:
        """Go to the delta's version. Raises MapGap, and changes nothing, unless it follows this map's version."""
        if delta.incarnation != self.incarnation:
            raise MapGap(f"a delta of group {delta.incarnation} for a map of group {self.incarnation}")
        if delta.version != self.version + 1:
            raise MapGap(f"a delta to version {delta.version} for a map at {self.version}")
        self.version = delta.version
        self.tuning = delta.tuning or self.tuning
        self._apply_tables(delta)
        for node in delta.nodes:
            self.nodes[node.node] = node
        for gone in delta.dropped_nodes:
            self.nodes.pop(gone, None)
        self._apply_shards(delta)

    def learn(self, info: ShardInfo) -> bool:
        """Adopt one shard's news from a refusal; True if it was news. An older report changes nothing (rule 24).

        A shard that the map does not hold is not adopted: a later delta brings it, or it is dropped already.
        """
        held = self.shards.get(info.shard)
        if held is None or held.table != info.table or not is_newer(info, held):
            return False
        self._place(info)
        return True

    def _apply_tables(self, delta: MapDelta) -> None:
        for table in delta.tables:
            self.tables[table.table] = table
            self.named[table.name] = table
        for gone in delta.dropped_tables:
            dropped = self.tables.pop(gone, None)
            # The name may have been given to a newer table in the meantime.
            if dropped is not None and self.named.get(dropped.name) == dropped:
                del self.named[dropped.name]

    def _apply_shards(self, delta: MapDelta) -> None:
        stale: set[TableId] = set()
        for info in delta.shards:
            held = self.shards.get(info.shard)
            if held is None or info.table in stale:
                self.shards[info.shard] = info if held is None else kept(info, held)
                stale.add(info.table)
            else:
                self._place(kept(info, held))
        for gone in delta.dropped_shards:
            dropped = self.shards.pop(gone, None)
            if dropped is not None:
                stale.add(dropped.table)
        self._reindex(stale)

    def _place(self, info: ShardInfo) -> None:
        """Put `info` where its shard is already; the table's order is redone only if the start moved."""
        held = self.shards[info.shard]
        self.shards[info.shard] = info
        index = self._index[info.table]
        if held.start != info.start:
            self._reindex({info.table})
            return
        # Two shards may share a start for a moment (news of a split), so the position is found by identity.
        position = bisect_right(index.starts, info.start) - 1
        while index.shards[position].shard != info.shard:
            position -= 1
        index.shards[position] = info

    def _reindex(self, tables: set[TableId]) -> None:
        if not tables:
            return
        members: dict[TableId, list[ShardInfo]] = {table: [] for table in tables}
        for info in self.shards.values():
            if info.table in members:
                members[info.table].append(info)
        for table, shards in members.items():
            if shards:
                self._index[table] = _Table(shards)
            else:
                self._index.pop(table, None)


def kept(published: ShardInfo, held: ShardInfo) -> ShardInfo:
    """What a map keeps of the two: the published shard, unless news from a refusal ran ahead of it.

    The state is always the published one.
    """
    if not is_newer(held, published):
        return published
    return structs.replace(held, state=published.state)


def is_live(shard_map: ShardMap, member: Member) -> bool:
    """Whether the member's node is up, with the folder that the member belongs to."""
    node = shard_map.nodes.get(member.node)
    return node is not None and node.state == NodeState.UP and node.incarnation == member.incarnation
