"""Which plans may take a step now: one for each shard, and so many at once for each node."""

from collections import Counter

from zkv import limits
from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.mapstate import is_live
from zkv.core.cluster.merges import merging
from zkv.core.cluster.operators import Cause, ReplaceReplica, has_begun, next_step
from zkv.core.cluster.shardmap import Tuning
from zkv.ids import NodeId, ShardId


def turns(state: CoordinatorState) -> list[ReplaceReplica]:
    """The plans whose turn it is. What has begun goes on; what heals begins first, and is paced less."""
    first: dict[ShardId, ReplaceReplica] = {}
    for plan in sorted(state.operators.values(), key=_urgency):
        info = state.map.shards.get(plan.shard)
        if info is not None and next_step(plan, info.membership).step != "done":
            first.setdefault(plan.shard, plan)
    held = _settling(state)
    free = [plan for plan in first.values() if plan.shard not in held or plan.cause.heals or plan.cause == Cause.STRAY]
    begun = [plan for plan in free if has_begun(plan, state.map.shards[plan.shard].membership)]
    loads: Counter[NodeId] = Counter()
    for plan in begun:
        loads.update(_ends(plan))
    running = {plan.id for plan in begun}
    wanted = _to_be_reshaped(state)
    for plan in sorted(free, key=lambda plan: (plan.cause, plan.id)):
        if plan.shard in wanted and not plan.cause.heals:
            continue
        if plan.id not in running and all(loads[node] < _most(plan, state.map.tuning) for node in _ends(plan)):
            running.add(plan.id)
            loads.update(_ends(plan))
    return [plan for plan in first.values() if plan.id in running]


def _settling(state: CoordinatorState) -> set[ShardId]:
    """Shards that a split has made of one, some replica of which may be still to come into being.

    Until it has, no replica of use is given up: who leaves before it has applied the split has no part in the new one.
    """
    return {shard for plan in state.splits.values() if plan.shown for shard in (plan.shard, plan.split.shard)}


def _to_be_reshaped(state: CoordinatorState) -> set[ShardId]:
    """Shards whose members are to be at rest, to be split or merged: no move begins while all of them are there."""
    planned = {plan.shard for plan in state.splits.values() if not plan.shown} | merging(state.merges.values())
    shards = {shard: state.map.shards.get(shard) for shard in planned}
    return {
        shard
        for shard, info in shards.items()
        if info is not None and all(is_live(state.map, voter) for voter in info.membership.voters)
    }


def _urgency(plan: ReplaceReplica) -> tuple[bool, bool, int]:
    """Among a shard's plans: a learner too many may be where another is wanted, so it goes first; then what heals."""
    return (plan.cause != Cause.STRAY, not plan.cause.heals, plan.id)


def _ends(plan: ReplaceReplica) -> tuple[NodeId, ...]:
    """The nodes that have work with it: a replica that is gone gives nobody any."""
    return (plan.target.node,) if plan.cause.heals else (plan.target.node, plan.source.node)


def _most(plan: ReplaceReplica, tuning: Tuning) -> int:
    return max(limits.HEALS_PER_NODE_MAX, tuning.moves_per_node) if plan.cause.heals else tuning.moves_per_node
