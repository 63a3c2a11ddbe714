"""Which replicas must move, and where to: the ring's answer to nodes that come, go and change (pure).

Every table is placed by the ring, from what its shards' replicas are on already: nodes that leave lose all, the rest
moves only as far as it takes to be within the bounds of fair shares (`ring.Ring.reassign`). What is under way counts
as done, so that a plan is never made twice.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from zkv.core.cluster.draft import Draft
from zkv.core.cluster.operators import Cause, ReplaceReplica, has_begun
from zkv.core.cluster.placement import ring_of, shard_token
from zkv.core.cluster.ring import Ring, token_of
from zkv.core.cluster.shardmap import NodeInfo, Partitioner, TableInfo
from zkv.core.cluster.standing import Going, Standing, zone_of_node
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ShardId


class Move(NamedTuple):
    """One replica that is to be elsewhere. `target` None: there is nowhere to put it, as things stand."""

    shard: ShardId
    source: Member
    target: NodeId | None
    cause: Cause
    why: str


class Holding(NamedTuple):
    """One shard as it will be once its plans are done."""

    info: ShardInfo
    members: tuple[Member, ...]
    is_free: bool  # nothing is under way


def wanted_moves(draft: Draft, standing: Standing, *, even: bool) -> list[Move]:
    """All moves that the nodes call for, most urgent first. `even`: nodes that hold too little are to get more."""
    plans: dict[ShardId, list[ReplaceReplica]] = {}
    for plan in draft.operators():
        info = draft.shard(plan.shard)
        if info is not None and not is_idle(plan, info):
            plans.setdefault(plan.shard, []).append(plan)
    tables: dict[int, list[Holding]] = {}
    for info in sorted(draft.shards(), key=lambda own: own.start):
        if info.state != ShardState.DROPPING:
            tables.setdefault(info.table, []).append(_holding(info, plans.get(info.shard, [])))
    moves: list[Move] = []
    for table in draft.tables():
        moves += _moves_of(table, tables.get(table.table, []), standing, even=even)
    return sorted(moves, key=lambda move: (move.cause, move.shard))


def is_idle(plan: ReplaceReplica, info: ShardInfo) -> bool:
    """Whether the plan is a mere wish: to even out, and nothing of it has been done."""
    return plan.cause == Cause.BALANCE and not plan.undone and not has_begun(plan, info.membership)


def _holding(info: ShardInfo, plans: Sequence[ReplaceReplica]) -> Holding:
    members = list(info.membership.voters)
    for plan in plans:
        members = [member for member in members if member not in plan.lost]
        if plan.fresh not in members:
            members.append(plan.fresh)
    return Holding(info, tuple(members), is_free=not plans and info.state == ShardState.ACTIVE)


def _moves_of(table: TableInfo, holdings: list[Holding], standing: Standing, *, even: bool) -> list[Move]:
    staying = tuple(sorted((node for node in standing.draft.nodes() if standing.stays(node)), key=lambda own: own.node))
    if not staying or not holdings:
        return []
    zones = {node.node: zone_of_node(node) for node in standing.draft.nodes()}
    going = [{member: gone for member in own.members if (gone := standing.going(member))} for own in holdings]
    kept = [_kept(own, gone, standing) for own, gone in zip(holdings, going, strict=True)]
    if even and len({zones[node.node] for node in staying}) >= table.replicas:
        kept = [_apart(nodes, zones) if own.is_free else nodes for own, nodes in zip(holdings, kept, strict=True)]
    is_hashed = table.partitioner == Partitioner.HASH
    is_apart = all(len(nodes) == len(own.members) for own, nodes in zip(holdings, kept, strict=True))
    if not is_hashed and is_apart and not any(going):
        return []  # shares of range tables are evened out by bytes and requests: see `evening`
    tokens = [_token(table, own.info) for own in holdings]
    wanted = _ring(staying).reassign(tokens, kept, table.replicas, even=even and is_hashed)
    moves: list[Move] = []
    for own, leaving, nodes in zip(holdings, going, wanted, strict=True):
        moves += _moves_in(own, leaving, tuple(map(NodeId, nodes)), standing) if own.is_free else []
    return moves


def _kept(holding: Holding, going: Mapping[Member, Going], standing: Standing) -> tuple[NodeId, ...]:
    """The nodes that the shard stays on; the heir of one that leaves stands in for it."""
    nodes: list[NodeId] = [member.node for member in holding.members if member not in going]
    for member, gone in going.items():
        node = standing.draft.node(member.node)
        heir = node.heir if node is not None and gone.cause != Cause.LOST else NodeId("")
        if heir and standing.receives(heir) and heir not in nodes:
            nodes.append(heir)
    return tuple(nodes)


def _apart(nodes: tuple[NodeId, ...], zones: Mapping[NodeId, str]) -> tuple[NodeId, ...]:
    """The first node of each zone: the others are to go to zones of their own."""
    first: dict[str, NodeId] = {}
    for node in nodes:
        first.setdefault(zones[node], node)
    return tuple(first.values())


def _moves_in(
    holding: Holding, going: Mapping[Member, Going], wanted: tuple[NodeId, ...], standing: Standing
) -> list[Move]:
    """The replicas of the shard that are not where they are wanted, the most urgent first; they move one by one."""
    held = {member.node for member in holding.members}
    targets = [node for node in wanted if node not in held]
    leaving = [member for member in holding.members if member in going or member.node not in wanted]
    leaving.sort(key=lambda member: going[member].cause if member in going else Cause.BALANCE)
    moves: list[Move] = []
    for source in leaving:
        node = standing.draft.node(source.node)
        heir = node.heir if node is not None else NodeId("")
        target = heir if heir in targets else next(iter(targets), None)
        cause, why = going.get(source) or Going(Cause.BALANCE, f"{target} is to hold its share")
        if target is not None:
            targets.remove(target)
        if target is not None or cause != Cause.BALANCE:
            moves.append(Move(holding.info.shard, source, target, cause, why))
    return moves


def is_possible(move: Move, info: ShardInfo, standing: Standing) -> bool:
    """Whether the move may begin now: its target is there, and where nothing heals by it all of its group is, too."""
    if move.target is None or not standing.receives(move.target):
        return False
    return move.cause.heals or all(standing.is_up(voter.node) for voter in info.membership.voters)


def _token(table: TableInfo, info: ShardInfo) -> int:
    """Where the shard lies on the ring; a range table's shards are few, and lie where chance puts them."""
    if table.partitioner == Partitioner.HASH:
        return shard_token(table.table, info.start)
    return token_of(b"shard %d" % info.shard)


@lru_cache(maxsize=8)
def _ring(nodes: tuple[NodeInfo, ...]) -> Ring:
    return ring_of(nodes)
