"""The coordinator's figures, for people and tests: what `StatusRequest` is answered with."""

from collections.abc import Iterable, Mapping

from msgspec import structs

from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.liveness import Liveness
from zkv.core.cluster.mapstate import ShardMap, is_live
from zkv.core.cluster.operators import OperatorRow, listed, listed_merge, listed_split, listed_state
from zkv.core.cluster.pacing import turns
from zkv.core.cluster.placement import Load
from zkv.core.cluster.reports import Reports
from zkv.core.cluster.shardmap import NodeInfo
from zkv.core.cluster.tables import loads_of
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ShardId

Figure = int | float | str | bool | None | Mapping[str, "Figure"] | Iterable["Figure"]


def live_voters(shard_map: ShardMap, info: ShardInfo) -> int:
    """How many of the shard's voters are on nodes that are up with the folder that the voter belongs to."""
    return sum(is_live(shard_map, voter) for voter in info.membership.voters)


def below_replica_count(shard_map: ShardMap) -> list[ShardId]:
    """The shards with fewer live voters than their table wants."""
    return [
        shard
        for shard, info in sorted(shard_map.shards.items())
        if info.state != ShardState.DROPPING and live_voters(shard_map, info) < shard_map.tables[info.table].replicas
    ]


def operator_rows(state: CoordinatorState, reports: Reports) -> list[OperatorRow]:
    """All that is under way: replacements, creations, drops, and replicas that do not know yet that they are gone."""
    running = {plan.id for plan in turns(state)}
    rows = [
        listed(plan, state.map.shards.get(plan.shard), waits=plan.id not in running)
        for _, plan in sorted(state.operators.items())
    ]
    rows += [
        listed_split(plan, state.map.shards.get(plan.split.shard), reports.has)
        for _, plan in sorted(state.splits.items())
    ]
    rows += [listed_merge(plan) for _, plan in sorted(state.merges.items())]
    for member, info in reports.outcasts(state.map):
        why = f"replica {member.replica} is no member any more"
        rows.append(OperatorRow("delete-replica", info.shard, "delete", member.node, why))
    for _, info in sorted(state.map.shards.items()):
        waited = next((voter.node for voter in info.membership.voters if not reports.has(voter)), None)
        row = listed_state(info, waited)
        if row is not None:
            rows.append(row)
    return rows


def figures(
    state: CoordinatorState, reports: Reports, liveness: Liveness, *, leading: bool, received: Mapping[str, int]
) -> dict[str, Figure]:
    """Everything by name; `messages` counts what was received, by type, since the start of the process."""
    shard_map = state.map
    loads = loads_of(list(shard_map.shards.values()))
    return {
        "role": "coordinator",
        "leading": leading,
        "cluster": shard_map.cluster,
        "incarnation": shard_map.incarnation,
        "map_version": shard_map.version,
        "tables": len(shard_map.tables),
        "tables_made": state.counters.table - 1,
        "nodes": [_node(info, loads, liveness) for _, info in sorted(shard_map.nodes.items())],
        "shards": {str(shard): _shard(info, reports) for shard, info in sorted(shard_map.shards.items())},
        "below_replicas": list(below_replica_count(shard_map)),
        "operators": [row._asdict() for row in operator_rows(state, reports)],
        "tuning": structs.asdict(shard_map.tuning) | state.bounds._asdict(),
        "messages": dict(received),
        "map_requests": received.get("MapRequest", 0),
    }


def _node(info: NodeInfo, loads: Mapping[NodeId, Load], liveness: Liveness) -> dict[str, Figure]:
    load = loads.get(info.node, Load())
    return {
        "node": info.node,
        "state": info.state.name.lower(),
        "duty": info.duty.name.lower(),
        "address": info.address,
        "zone": info.zone,
        "weight": info.weight,
        "incarnation": info.incarnation,
        "heard_ms_ago": _heard_ago(info.node, liveness),
        "replicas": load.replicas,
        "leaders": load.leaders,
    }


def _heard_ago(node: NodeId, liveness: Liveness) -> int | None:
    session = liveness.sessions.get(node)
    return liveness.now_ms - session.heard_ms if session is not None else None


def _shard(info: ShardInfo, reports: Reports) -> dict[str, Figure]:
    report = reports.leading.get(info.shard)
    leader = info.leading()
    return {
        "table": info.table,
        "state": info.state.name.lower(),
        "leader": leader.node if leader is not None else None,
        "rows": report.rows if report is not None else -1,
        "bytes": report.bytes if report is not None else -1,
        "applied": report.applied if report is not None else -1,
    }
