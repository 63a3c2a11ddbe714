"""Whether a cluster is whole: every node up, every shard with all its replicas, none far behind."""

import zkv
from zkv.core.cluster.figures import below_replica_count
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import NodeState
from zkv.core.shard.descriptor import ShardInfo, ShardState


def why_not_whole(client: zkv.Client, *, lag_max: int = 0) -> str:
    """A sentence about the first thing that is amiss, or "".

    `lag_max`: how many log entries the replicas of one shard may be apart; under load they are never all level.
    Raises ZkvError where nobody answers.
    """
    shard_map = ShardMap(client.shard_map())
    down = [name for name, node in shard_map.nodes.items() if node.state is not NodeState.UP]
    if down:
        return f"{', '.join(sorted(down))} is down"
    below = below_replica_count(shard_map)
    if below:
        return f"shards {below} are below their replica count"
    figures = client.status()
    for shard in shard_map.shards.values():
        if shard.state is not ShardState.ACTIVE:
            return f"shard {shard.shard} is {shard.state.name.lower()}"
        amiss = _amiss(shard, figures, lag_max)
        if amiss:
            return f"shard {shard.shard}: {amiss}"
    return ""


def _amiss(shard: ShardInfo, figures: dict[str, dict[str, object] | None], lag_max: int) -> str:
    if shard.leading() is None:
        return "no leader"
    if shard.membership.learners:
        return f"{shard.membership.learners[0].node} is still learning"
    reached: list[int] = []
    for member in shard.membership.voters:
        shards = (figures.get(member.node) or {}).get("shards")
        held = shards.get(str(shard.shard)) if isinstance(shards, dict) else None
        if held is None or held["replica"] != member.replica:
            return f"{member.node} does not show its replica"
        reached.append(held["applied"])
    apart = max(reached) - min(reached)
    return f"its replicas are {apart} entries apart" if apart > lag_max else ""
