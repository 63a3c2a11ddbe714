"""Short ways to make the map's pieces, with plain numbers for ids."""

from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import MapDelta, MapSnapshot, NodeInfo, NodeState, Partitioner, TableInfo
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ReplicaId, ShardId, TableId

GROUP = 77  # the incarnation of the coordinators' group


def member(replica: int, node: str = "", incarnation: int = 0) -> Member:
    return Member(ReplicaId(replica), NodeId(node or f"n{replica}"), incarnation or 100 + replica)


def membership(version: int = 1, voters: tuple[int, ...] = (1, 2, 3), learners: tuple[int, ...] = ()) -> Membership:
    return Membership(version, tuple(map(member, voters)), tuple(map(member, learners)))


def shard(
    number: int,
    start: bytes = b"",
    end: bytes = b"",
    *,
    table: int = 1,
    ranges: int = 1,
    members: Membership | None = None,
    leader: int = 0,
    term: int = 0,
    state: ShardState = ShardState.ACTIVE,
) -> ShardInfo:
    return ShardInfo(
        ShardId(number), TableId(table), start, end, ranges, members or membership(), ReplicaId(leader), term, state
    )


def table(number: int, name: str = "", partitioner: Partitioner = Partitioner.RANGE, replicas: int = 3) -> TableInfo:
    return TableInfo(TableId(number), name or f"t{number}", partitioner, replicas)


def node(name: str, *, weight: float = 1.0, zone: str = "", state: NodeState = NodeState.UP) -> NodeInfo:
    return NodeInfo(NodeId(name), f"{name}:1", 1000, state, zone, weight)


def snapshot(
    version: int = 0,
    *,
    group: int = GROUP,
    tables: tuple[TableInfo, ...] = (),
    nodes: tuple[NodeInfo, ...] = (),
    shards: tuple[ShardInfo, ...] = (),
) -> MapSnapshot:
    return MapSnapshot(group, version, 5, ("c:1",), ("c:2",), tables, nodes, shards)


def shard_map(*shards: ShardInfo, version: int = 1) -> ShardMap:
    return ShardMap(snapshot(version, tables=(table(1),), shards=shards))


def delta(version: int, *, group: int = GROUP, shards: tuple[ShardInfo, ...] = ()) -> MapDelta:
    return MapDelta(group, version, shards=shards)
