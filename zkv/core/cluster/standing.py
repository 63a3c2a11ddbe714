"""Whose replicas stay, whose must go and who may be given some: the nodes as one decision sees them."""

from collections.abc import Collection
from typing import NamedTuple

from zkv.core.cluster.draft import Draft
from zkv.core.cluster.operators import Cause
from zkv.core.cluster.ring import RingNode, zone_of
from zkv.core.cluster.shardmap import NodeDuty, NodeInfo, NodeState
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId, ReplicaId


class Going(NamedTuple):
    """Why a replica cannot stay where it is."""

    cause: Cause
    why: str


class Standing:
    """The nodes of one draft.

    `missing`: replicas whose node came back without them; `dead`: nodes silent for longer than the grace period.
    """

    def __init__(self, draft: Draft, missing: Collection[ReplicaId], dead: Collection[NodeId]) -> None:
        self.draft = draft
        self.missing = missing
        self._dead = dead

    def is_lost(self, member: Member) -> bool:
        """Whether the member's disk is gone: its node has another folder now, or came back without the replica."""
        node = self.draft.node(member.node)
        return member.replica in self.missing or (node is not None and node.incarnation != member.incarnation)

    def is_gone(self, member: Member) -> bool:
        """Whether the member never comes back: its node has another folder now, or is removed for good.

        Unlike `is_lost` this needs no word of what the node holds: a Register that came late says too little of it.
        """
        node = self.draft.node(member.node)
        return node is None or node.duty == NodeDuty.REMOVED or node.incarnation != member.incarnation

    def is_dead(self, node: NodeId) -> bool:
        """Whether nobody waits for the node any more."""
        info = self.draft.node(node)
        return info is None or info.duty == NodeDuty.REMOVED or self._is_given_up(info)

    def is_up(self, node: NodeId) -> bool:
        """Whether the node is there, whatever it is there for."""
        info = self.draft.node(node)
        return info is not None and info.state == NodeState.UP

    def stays(self, info: NodeInfo) -> bool:
        """Whether the node keeps what it has."""
        return info.duty == NodeDuty.SERVING and not self._is_given_up(info)

    def _is_given_up(self, info: NodeInfo) -> bool:
        """Whether the grace period is over; who has returned since it was looked at is back."""
        return info.node in self._dead and info.state == NodeState.DOWN

    def receives(self, node: NodeId) -> bool:
        """Whether the node may be given replicas now."""
        info = self.draft.node(node)
        return info is not None and info.receives

    def going(self, member: Member) -> Going | None:
        """Why the member cannot stay where it is; None if it can."""
        node = self.draft.node(member.node)
        if self.is_lost(member):
            return Going(Cause.LOST, "its disk is lost")
        if node is None or node.duty == NodeDuty.REMOVED:
            return Going(Cause.DEAD, f"{member.node} is removed")
        if self._is_given_up(node):
            return Going(Cause.DEAD, f"{member.node} is gone for longer than {self.draft.tuning.grace_ms / 1000:g} s")
        if node.duty == NodeDuty.DRAINING:
            return Going(
                Cause.DRAIN, f"{node.node} is replaced by {node.heir}" if node.heir else f"{node.node} is drained"
            )
        return None

    def spare_home(self, info: ShardInfo, taken: Collection[NodeId]) -> NodeInfo | None:
        """The node for one more replica of the shard, beside its own and `taken`; other zones and less load first."""
        members = (*info.membership.voters, *info.membership.learners)
        used = {member.node for member in members} | set(taken)
        zones = {zone_of_node(node) for name in used if (node := self.draft.node(name)) is not None}
        loads = replicas_by_node(self.draft)
        free = [node for node in self.draft.nodes() if node.receives and node.node not in used]
        return min(
            free,
            key=lambda node: (zone_of_node(node) in zones, loads.get(node.node, 0) / node.weight, node.node),
            default=None,
        )


def zone_of_node(node: NodeInfo) -> str:
    """The node's failure domain, one of its own if it names none."""
    return zone_of(RingNode(node.node, node.weight, node.zone))


def replicas_by_node(draft: Draft) -> dict[NodeId, int]:
    """How many replicas each node has, or is to have."""
    loads: dict[NodeId, int] = {}
    homes = [member.node for info in draft.shards() for member in info.membership.voters]
    homes += [plan.fresh.node for plan in draft.operators() if not plan.joined]
    for home in homes:
        loads[home] = loads.get(home, 0) + 1
    return loads
