"""What nodes must be told to do, as it follows from the committed state, and when each order is told again."""

from collections.abc import Collection, Iterator
from typing import Final

from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.liveness import Liveness
from zkv.core.cluster.merges import order_for_merge
from zkv.core.cluster.messages import (
    ChangeMember,
    CreateReplica,
    DismissReplica,
    DropShard,
    MergeShard,
    SplitShard,
    TransferLeader,
)
from zkv.core.cluster.operators import order_for
from zkv.core.cluster.pacing import turns
from zkv.core.cluster.reports import Reports
from zkv.core.cluster.shardmap import NodeState
from zkv.core.cluster.splits import order_for_split, unborn
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ReplicaId, ShardId

REPEAT_MS: Final = 500  # an order whose effect nobody has reported is sent again

Order = CreateReplica | DropShard | ChangeMember | TransferLeader | DismissReplica | SplitShard | MergeShard
_Key = tuple[NodeId, type[Order], ShardId, ReplicaId, int]


class Orders:
    """Orders that are due. An order stands while the state calls for it; nothing is stored of it but when it was sent.

    Each names the folder or the membership version that it was decided on: one that comes late or twice does nothing.
    """

    def __init__(
        self, state: CoordinatorState, reports: Reports, liveness: Liveness, missing: Collection[ReplicaId]
    ) -> None:
        self.gone: set[ReplicaId] = set()  # of shards being dropped: reported deleted
        self._state = state
        self._reports = reports
        self._liveness = liveness
        self._missing = missing  # replicas that their nodes have lost: never created a second time (rule 1)
        self._sent_ms: dict[_Key, int] = {}

    def clear(self) -> None:
        """Nothing was sent and nothing was reported gone."""
        self.gone.clear()
        self._sent_ms.clear()

    def due(self) -> Iterator[tuple[bytes, Order]]:
        """The orders to send now, by routing id."""
        now_ms = self._liveness.now_ms
        before, self._sent_ms = self._sent_ms, {}
        for node, order in self._standing():
            key = _key(node, order)
            sent_ms = before.get(key)
            if sent_ms is not None and now_ms - sent_ms < REPEAT_MS:
                self._sent_ms[key] = sent_ms
                continue
            self._sent_ms[key] = now_ms
            yield self._liveness.sessions[node].source, order

    def is_live(self, member: Member) -> bool:
        """Whether the member's node is there with the folder that the member belongs to."""
        session = self._liveness.sessions.get(member.node)
        return session is not None and session.incarnation == member.incarnation and self._hears(member.node)

    def is_dropped(self, info: ShardInfo) -> bool:
        """Whether no live replica of a shard being dropped is left; one that returns later is dropped as a stray."""
        members = (*info.membership.voters, *info.membership.learners)
        return not any(self._may_exist(member) for member in members)

    def _may_exist(self, member: Member) -> bool:
        """Whether the member's node is believed up on that folder, and has not said that the replica is gone."""
        node = self._state.map.nodes.get(member.node)
        if node is None or node.incarnation != member.incarnation or member.replica in self.gone:
            return False
        return self._liveness.state_of(node) == NodeState.UP

    def _hears(self, node: NodeId) -> bool:
        return self._liveness.is_heard(node)

    def _standing(self) -> Iterator[tuple[NodeId, Order]]:
        for info in self._state.map.shards.values():
            if info.state == ShardState.CREATING:
                yield from self._creations(info)
            elif info.state == ShardState.DROPPING:
                yield from self._drops(info)
        yield from self._changes()
        yield from self._splits()
        yield from self._merges()
        awaited = unborn(self._state.splits.values())
        for node, report in self._reports.strays(self._state.map, ShardId(self._state.counters.shard), awaited):
            if self._hears(node):
                incarnation = self._liveness.sessions[node].incarnation
                yield node, DropShard(incarnation, report.info.shard, report.replica)
        yield from self._dismissals()

    def _creations(self, info: ShardInfo) -> Iterator[tuple[NodeId, Order]]:
        for member in info.membership.voters:
            is_lost = member.replica in self._missing
            if self.is_live(member) and not is_lost and not self._reports.has(member):
                yield member.node, CreateReplica(member.incarnation, member.replica, info)

    def _drops(self, info: ShardInfo) -> Iterator[tuple[NodeId, Order]]:
        for member in (*info.membership.voters, *info.membership.learners):
            if self.is_live(member) and member.replica not in self.gone:
                yield member.node, DropShard(member.incarnation, info.shard, member.replica)

    def _changes(self) -> Iterator[tuple[NodeId, Order]]:
        """The next step of each plan whose turn it is: one change of a shard's members at a time."""
        for plan in turns(self._state):
            info = self._state.map.shards[plan.shard]
            wanted = self._state.map.tables[info.table].replicas
            order, leader = order_for(plan, info, wanted), info.leading()
            if order is not None and leader is not None and self.is_live(leader):
                yield leader.node, order

    def _splits(self) -> Iterator[tuple[NodeId, Order]]:
        """Of shards that are to be split, to who leads them."""
        for plan in self._state.splits.values():
            info = self._state.map.shards.get(plan.shard)
            leader = info.leading() if info is not None else None
            if info is None or leader is None or not self.is_live(leader):
                continue
            order = order_for_split(plan, info, leader)
            if order is not None:
                yield leader.node, order

    def _merges(self) -> Iterator[tuple[NodeId, Order]]:
        """Of shards that are to take a neighbour in, to who leads them."""
        for plan in self._state.merges.values():
            target = self._state.map.shards.get(plan.merge.target)
            order = order_for_merge(plan, target) if target is not None else None
            leader = target.leading() if target is not None else None
            if order is not None and leader is not None and self.is_live(leader):
                yield leader.node, order

    def _dismissals(self) -> Iterator[tuple[NodeId, Order]]:
        """Of replicas that are members no more, to who leads their group: the coordinator's word is none for them."""
        for member, info in self._reports.outcasts(self._state.map):
            leader = info.leading()
            if leader is not None and self.is_live(leader) and self.is_live(member):
                yield leader.node, DismissReplica(info.shard, member)


def _key(node: NodeId, order: Order) -> _Key:
    match order:
        case CreateReplica():
            return node, CreateReplica, order.info.shard, order.replica, order.incarnation
        case DropShard():
            return node, DropShard, order.shard, order.replica, order.incarnation
        case ChangeMember():
            return node, ChangeMember, order.shard, order.member.replica, order.expected
        case TransferLeader():
            return node, TransferLeader, order.shard, order.target, 0
        case DismissReplica():
            return node, DismissReplica, order.shard, order.member.replica, 0
        case SplitShard():
            return node, SplitShard, order.shard, ReplicaId(0), order.split.shard
        case MergeShard():
            return node, MergeShard, order.merge.target, ReplicaId(0), 2 * order.merge.number + order.abandon
