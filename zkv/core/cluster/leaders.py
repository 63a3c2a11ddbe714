"""Spreading leaders over the nodes, slowly: one hand-over at a time, only while all is calm.

Those of hash tables go by number. Those of range tables go by requests (`evenness`), unless the balance is off.
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from zkv.core.cluster.evenness import Wish
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.messages import TransferLeader
from zkv.core.cluster.shardmap import NodeInfo, Partitioner
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ShardId

CALM_MS: Final = 10_000  # since a node came, went or returned
TRANSFER_EVERY_MS: Final = 1_000
RETRY_MS: Final = 30_000  # a shard whose hand-over was ordered is left alone for as long, whatever came of it


@dataclass(slots=True)
class LeaderBalance:
    """Decides the next hand-over. `enabled` False turns it off.

    A node gives a leader away only while it leads more than one above its fair share (by weight), and only to one
    that is at least two behind it, so that nothing is ever handed back and forth.
    """

    enabled: bool = True
    _calm_from_ms: int = 0
    _next_ms: int = 0
    _tried_ms: dict[ShardId, int] = field(default_factory=dict)

    def disturbed(self, now_ms: int) -> None:
        """A node came, went or returned: wait before anything is judged."""
        self._calm_from_ms = now_ms + CALM_MS

    def is_due(self, now_ms: int) -> bool:
        """Whether `next_order` may have anything to say."""
        return self.enabled and now_ms >= self._calm_from_ms and now_ms >= self._next_ms

    def next_order(
        self,
        shard_map: ShardMap,
        now_ms: int,
        busy: Collection[ShardId] = (),
        wishes: "deque[Wish] | None" = None,
    ) -> tuple[NodeId, TransferLeader] | None:
        """The order to send now, and the node of the present leader; None for none.

        `busy`: not of these shards; `wishes`: hand-overs of range tables, which are taken from there.
        """
        if not self.is_due(now_ms):
            return None
        self._next_ms = now_ms + TRANSFER_EVERY_MS
        self._tried_ms = {shard: at for shard, at in self._tried_ms.items() if now_ms - at < RETRY_MS}
        return self._by_number(shard_map, now_ms, busy) or _wished(shard_map, busy, wishes or deque())

    def _by_number(
        self, shard_map: ShardMap, now_ms: int, busy: Collection[ShardId]
    ) -> tuple[NodeId, TransferLeader] | None:
        excess = excess_of(shard_map)
        if excess is None:
            return None
        for info in _counted(shard_map):
            is_due = info.shard not in self._tried_ms and info.shard not in busy
            target = _better_leader(shard_map, info, excess) if is_due else None
            leader = info.leading()
            if target is not None and leader is not None:
                self._tried_ms[info.shard] = now_ms
                return leader.node, TransferLeader(info.shard, target.replica)
        return None


def excess_of(shard_map: ShardMap) -> dict[NodeId, float] | None:
    """How many more shards each node leads than its fair share; None while some shard in service has no leader."""
    active = [info for info in _counted(shard_map) if info.state == ShardState.ACTIVE]
    counts: dict[NodeId, float] = {
        member.node: 0 for info in active for member in info.membership.voters if _may_lead(shard_map, member.node)
    }
    for info in active:
        leader = info.leading()
        if leader is None or leader.node not in counts:
            return None
        counts[leader.node] += 1
    weight = sum(shard_map.nodes[node].weight for node in counts)
    return {node: count - len(active) * shard_map.nodes[node].weight / weight for node, count in counts.items()}


def _counted(shard_map: ShardMap) -> Iterable[ShardInfo]:
    """The shards whose leaders go by number."""
    if not shard_map.tuning.balance:
        return shard_map.shards.values()
    hashed = {table.table for table in shard_map.tables.values() if table.partitioner == Partitioner.HASH}
    return [info for info in shard_map.shards.values() if info.table in hashed]


def _wished(
    shard_map: ShardMap, busy: Collection[ShardId], wishes: "deque[Wish]"
) -> tuple[NodeId, TransferLeader] | None:
    """The first of the wishes that still holds; it and those before it are taken out."""
    while wishes:
        wish = wishes.popleft()
        info = shard_map.shards.get(wish.shard)
        if info is None or info.state != ShardState.ACTIVE or wish.shard in busy:
            continue
        leader, voters = info.leading(), info.membership.voters
        target = next((voter for voter in voters if voter.node == wish.target), None)
        is_whole = all(_may_lead(shard_map, voter.node) for voter in voters)
        if leader is not None and leader.node == wish.source and target is not None and is_whole:
            return leader.node, TransferLeader(wish.shard, target.replica)
    return None


def _better_leader(shard_map: ShardMap, info: ShardInfo, excess: dict[NodeId, float]) -> Member | None:
    """The voter that should lead instead, if the present leader's node leads too many and the whole group is up."""
    leader = info.leading()
    voters = info.membership.voters
    if leader is None or info.state != ShardState.ACTIVE or not all(_may_lead(shard_map, own.node) for own in voters):
        return None
    if excess[leader.node] <= 1 or excess[leader.node] < max(excess.values()):
        return None
    target = min(voters, key=lambda own: (excess[own.node], own.node))
    return target if excess[leader.node] - excess[target.node] >= 2 else None


def _may_lead(shard_map: ShardMap, node: NodeId) -> bool:
    info: NodeInfo | None = shard_map.nodes.get(node)
    return info is not None and info.receives
