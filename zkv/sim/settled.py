"""Whether a cluster that was changed has come to rest, everything where it belongs: judged at the end of a run."""

from collections.abc import Iterator

from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import NodeDuty
from zkv.core.node.contracts import gaps
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.rows import numbered_range
from zkv.ids import NodeId
from zkv.sim.cluster import Cluster
from zkv.sim.processes import SimNode


def not_settled(cluster: Cluster) -> list[str]:
    """Everything that is not where it belongs."""
    state = cluster.coordinator.core.state
    found = [f"operator {plan.id} of shard {plan.shard} is not done" for plan in state.operators.values()]
    found += [f"the split of shard {plan.shard} is not done" for plan in state.splits.values()]
    found += [f"the merge into shard {plan.merge.target} is not settled" for plan in state.merges.values()]
    for info in state.map.shards.values():
        found += _amiss(state.map, info)
    for node in state.map.nodes.values():
        if node.duty == NodeDuty.REMOVED:
            found.append(f"{node.node} was removed, and is in the map")
        elif node.duty == NodeDuty.DRAINING and _holds(state.map, node.node) and _could_be_empty(state.map):
            found.append(f"{node.node} was drained, and is a member of something")
    for process in cluster.alive():
        found += _left_over(process, state.map)
    return found


def _amiss(shard_map: ShardMap, info: ShardInfo) -> Iterator[str]:
    wanted = shard_map.tables[info.table].replicas
    homes = {voter.node for voter in info.membership.voters}
    if len(homes) != wanted or len(info.membership.voters) != wanted or info.membership.learners:
        yield f"shard {info.shard} has members {info.membership}, and {wanted} are wanted"


def _holds(shard_map: ShardMap, node: NodeId) -> bool:
    return any(voter.node == node for info in shard_map.shards.values() for voter in info.membership.voters)


def _could_be_empty(shard_map: ShardMap) -> bool:
    most = max(table.replicas for table in shard_map.tables.values())
    return sum(node.receives for node in shard_map.nodes.values()) >= most


def _left_over(process: SimNode, shard_map: ShardMap) -> Iterator[str]:
    """Replicas here that are members of nothing, and rows of none of the replicas."""
    for hosted in process.node.host.hosted.values():
        info = shard_map.shards.get(hosted.shard)
        voters = info.membership.voters if info is not None else ()
        if all(voter.replica != hosted.replica.id for voter in voters):
            yield f"{process.name} still has replica {hosted.replica.id} of shard {hosted.shard}, which is no member"
    machines = [hosted.machine for hosted in process.node.host.hosted.values() if hosted.machine is not None]
    named = [held for machine in machines for held in machine.held_ranges()]
    for _, draft in process.node.host.drafts.items():  # for some minutes more, a snapshot may go on with it
        named += [numbered_range(kind, draft.space) for kind in (b"r", b"s")]
    for start, end in gaps(named, b"r", b"t"):
        for key, _ in process.store.engine.scan(start, end):
            yield f"{process.name} still has row {key!r}, which is in no replica's range"
            return
