"""Creating and dropping tables: who asked for what, what goes into the next command, and who is answered when.

A request is judged against the committed map each time that changes, so a repeated one, one that another coordinator
began, and one whose answer was lost all end alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from zkv.core.cluster.commands import CoordinatorState, TableSettings
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.messages import AdminDone, AdminRefused, CreateTable, DropTable
from zkv.core.cluster.partition import Range, initial_ranges
from zkv.core.cluster.pending import Answer, PendingRequests
from zkv.core.cluster.placement import DEFAULT_SHARDS, Load, Placement, place
from zkv.core.cluster.shardmap import NodeInfo, NodeState, Partitioner, TableInfo
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.commands import EFFECT_DONE, EFFECT_NONE, EFFECT_UNKNOWN
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.errors import InvalidRequest
from zkv.ids import NodeId, TableId

ADMIN_WAIT_MS: Final = 10_000  # a request not done by then is answered Timeout; the change itself goes on
ADMIN_REQUESTS_MAX: Final = 1_000  # waiting at once; more: Overloaded
DROPPED_SETTINGS_MAX: Final = 256  # dropped tables whose creation is still recognised when it is repeated


@dataclass(slots=True)
class Waiting:
    """A request that is not answered yet. `seen`: the table that a drop is about, once it was found."""

    request: CreateTable | DropTable
    deadline_ms: int
    seen: TableId | None = None


def requested_ranges(request: CreateTable) -> tuple[Range, ...]:
    """The ranges that the request means. Raises InvalidRequest."""
    shards = request.shards
    if request.partitioner == Partitioner.HASH:
        shards = shards or DEFAULT_SHARDS
    return initial_ranges(request.partitioner, shards, request.splits)


def is_serving(shard_map: ShardMap, table: TableId) -> bool:
    """Whether each shard of the table is in service under a known leader on a node that is up.

    One that is being created is, too, if it waits only for nodes that are down.
    """
    return all(_serves(shard_map, info) for info in shard_map.shards_of(table))


def _serves(shard_map: ShardMap, info: ShardInfo) -> bool:
    leader = info.leading()
    if info.state == ShardState.DROPPING or leader is None or not _is_up(shard_map, leader):
        return False
    return info.state == ShardState.ACTIVE or not all(_is_up(shard_map, voter) for voter in info.membership.voters)


def _is_up(shard_map: ShardMap, member: Member) -> bool:
    node = shard_map.nodes.get(member.node)
    return node is not None and node.state == NodeState.UP


def is_dropping(shard_map: ShardMap, table: TableId) -> bool:
    """Whether the table is on its way out."""
    return any(info.state == ShardState.DROPPING for info in shard_map.shards_of(table))


def loads_of(shards: Sequence[ShardInfo]) -> dict[NodeId, Load]:
    """What each node holds and leads."""
    replicas: dict[NodeId, int] = {}
    leaders: dict[NodeId, int] = {}
    for info in shards:
        leader = info.leading()
        if leader is not None:
            leaders[leader.node] = leaders.get(leader.node, 0) + 1
        for member in info.membership.voters:
            replicas[member.node] = replicas.get(member.node, 0) + 1
    return {node: Load(count, leaders.get(node, 0)) for node, count in replicas.items()}


def draft_table(draft: Draft, request: CreateTable, ranges: tuple[Range, ...], nodes: Sequence[NodeInfo]) -> None:
    """Put a new table and its shards, all of them CREATING, placed over the nodes that are up."""
    table = draft.new_table()
    loads = loads_of(draft.shards())
    draft.add_table(
        TableInfo(table, request.name, request.partitioner, request.replicas, request.nonce),
        _settings_of(table, request),
    )
    by_id = {node.node: node for node in nodes}
    placed = place(Placement(table, request.partitioner, ranges, request.replicas), nodes, loads)
    for (start, end), owners in zip(ranges, placed, strict=True):
        voters = tuple(draft.new_member(by_id[owner]) for owner in owners)
        membership = Membership(1, voters)
        shard, by, new = draft.new_shard(), request.partitioner, ShardState.CREATING
        draft.put_shard(ShardInfo(shard, table, start, end, 1, membership, state=new, partitioner=by))


class TableRequests(PendingRequests[Waiting]):
    """Requests to create and drop tables. Owned by the coordinator, which asks for drafts and answers."""

    def __init__(self, state: CoordinatorState) -> None:
        super().__init__(most=ADMIN_REQUESTS_MAX, what="requests for tables")
        self._state = state

    def take(self, source: bytes, request: CreateTable | DropTable, now_ms: int) -> AdminRefused | None:
        """Keep the request until it can be answered; the refusal if there are too many."""
        return self._keep(source, request.id, Waiting(request, now_ms + ADMIN_WAIT_MS))

    def draft(self, draft: Draft, up: Sequence[NodeInfo]) -> None:
        """Put what the requests ask for and the map does not have yet."""
        for waiting in self._waiting.values():
            if isinstance(waiting.request, DropTable):
                self._draft_drop(draft, waiting)
            elif not draft.has_table(waiting.request.name) and len(up) >= waiting.request.replicas:
                draft_table(draft, waiting.request, requested_ranges(waiting.request), up)

    def _draft_drop(self, draft: Draft, waiting: Waiting) -> None:
        table = self._state.map.table(waiting.request.name)
        if table is None or table.table != waiting.seen:  # not judged yet, or a new table under the old name
            return
        for info in draft.shards():
            if info.table == table.table:
                draft.put_shard(structs.replace(info, state=ShardState.DROPPING))

    def _judge(self, waiting: Waiting, now_ms: int) -> Answer | None:
        if isinstance(waiting.request, CreateTable):
            return self._judge_creation(waiting.request, now_ms >= waiting.deadline_ms)
        return self._judge_drop(waiting, waiting.request, now_ms >= waiting.deadline_ms)

    def _judge_creation(self, request: CreateTable, is_late: bool) -> Answer | None:
        table = self._state.map.table(request.name)
        if table is None:
            return self._judge_new(request, is_late)
        settings = self._state.settings.get(table.table)
        if is_dropping(self._state.map, table.table):
            return AdminRefused(request.id, "Unavailable", f"table {request.name} is being dropped", EFFECT_NONE)
        if settings is None or not _is_same(settings, request):
            return AdminRefused(request.id, "TableExists", f"there is a table {request.name} already", EFFECT_NONE)
        if is_serving(self._state.map, table.table):
            return AdminDone(request.id, self._state.map.version)
        if is_late:
            what = f"table {request.name} is made, but not all of its shards have a leader yet"
            return AdminRefused(request.id, "Timeout", what, EFFECT_UNKNOWN)
        return None

    def _judge_new(self, request: CreateTable, is_late: bool) -> Answer | None:
        if any(own.dropped and _is_same(own, request) for own in self._state.settings.values()):
            what = f"table {request.name} was made by this request and dropped since"
            return AdminRefused(request.id, "NoSuchTable", what, EFFECT_DONE)
        try:
            requested_ranges(request)
        except InvalidRequest as error:
            return AdminRefused(request.id, "InvalidRequest", error.what, EFFECT_NONE)
        up = sum(node.receives for node in self._state.map.nodes.values())
        if up < request.replicas:
            what = f"{request.replicas} replicas need as many nodes, and {up} are up"
            return AdminRefused(request.id, "Unavailable", what, EFFECT_NONE)
        if is_late:
            return AdminRefused(request.id, "Timeout", f"table {request.name} is not made yet", EFFECT_UNKNOWN)
        return None

    def _judge_drop(self, waiting: Waiting, request: DropTable, is_late: bool) -> Answer | None:
        table = self._state.map.table(request.name)
        if waiting.seen is not None and (table is None or table.table != waiting.seen):
            return AdminDone(request.id, self._state.map.version)
        if table is None:
            return AdminRefused(request.id, "NoSuchTable", f"there is no table {request.name!r}", EFFECT_NONE)
        waiting.seen = table.table
        if is_late:
            what = f"table {request.name} is out of use, but not all of its replicas are deleted yet"
            return AdminRefused(request.id, "Timeout", what, EFFECT_DONE)
        return None


def _settings_of(table: TableId, request: CreateTable) -> TableSettings:
    return TableSettings(
        table, request.name, request.nonce, request.partitioner, request.replicas, request.shards, request.splits
    )


def _is_same(settings: TableSettings, request: CreateTable) -> bool:
    """Whether it is the creation that made the table, repeated: same caller, same wish."""
    return structs.replace(settings, dropped=False) == _settings_of(settings.table, request)


def draft_dropped(draft: Draft, state: CoordinatorState, is_gone: Callable[[ShardInfo], bool]) -> None:
    """Take the tables from the map whose shards are all gone, and remember how the last of them were asked for."""
    dropped = [own.table for own in state.settings.values() if own.dropped]
    for table in state.map.tables.values():
        shards = state.map.shards_of(table.table)
        if not is_dropping(state.map, table.table) or not all(map(is_gone, shards)):
            continue
        draft.drop_table(table.table)
        for info in shards:
            draft.drop_shard(info.shard)
        settings = state.settings.get(table.table)
        if settings is not None:
            draft.put_settings(structs.replace(settings, dropped=True))
            dropped.append(table.table)
    for old in sorted(dropped)[: max(0, len(dropped) - DROPPED_SETTINGS_MAX)]:
        draft.forget(old)
