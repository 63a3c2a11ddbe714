"""Step-by-step plans that change a shard's members: in the replicated state, resumable, listed.

A plan stores what it is for, never how far it is: the next step follows from the shard's membership in the map, so a
coordinator that took over at any moment goes on at the right place. Each step is an order guarded by the membership
version it was decided on; the shard's leader refuses it if that has changed (rule 24).
"""

from typing import Literal, NamedTuple

from zkv.core.cluster.messages import ChangeMember
from zkv.core.message import Message
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ShardId

Step = Literal["learn", "promote", "remove", "done"]


class ReplaceReplica(Message, frozen=True, gc=False):
    """Replace lost replicas of one shard by a fresh one under a new id (rule 1).

    `lost` are never asked for anything again: the replica whose disk is gone, and any `fresh` one of this plan that was
    lost in its turn. The fresh one learns, is promoted once it has caught up, and only then the lost ones go: the
    group passes through one voter more, never through one fewer (rule 11).
    """

    id: int
    shard: ShardId
    lost: tuple[Member, ...]
    fresh: Member
    why: str


class NextStep(NamedTuple):
    """What a plan needs now. `member` is who it is about."""

    step: Step
    member: Member


def next_step(plan: ReplaceReplica, membership: Membership) -> NextStep:
    """The plan's next step, given the shard's members as last reported."""
    for learner in membership.learners:
        if learner in plan.lost:  # it counts for nothing, so it may go first
            return NextStep("remove", learner)
    if plan.fresh in membership.learners:
        return NextStep("promote", plan.fresh)
    if plan.fresh not in membership.voters:
        return NextStep("learn", plan.fresh)
    for voter in membership.voters:
        if voter in plan.lost:
            return NextStep("remove", voter)
    return NextStep("done", plan.fresh)


def order_for(plan: ReplaceReplica, info: ShardInfo) -> ChangeMember | None:
    """The order to the shard's leader that does the plan's next step; None when it is done."""
    step, member = next_step(plan, info.membership)
    if step == "done":
        return None
    return ChangeMember(info.shard, info.membership.version, step, member)


def lost_again(plan: ReplaceReplica, fresh: Member) -> ReplaceReplica:
    """The plan after its fresh replica was lost, too: it goes on with another one."""
    return ReplaceReplica(plan.id, plan.shard, (*plan.lost, plan.fresh), fresh, plan.why)


class OperatorRow(NamedTuple):
    """One line of the list of what is under way. `step` is what happens next, `on` the node that it is about."""

    kind: str
    shard: ShardId
    step: str
    on: NodeId | None
    why: str


def listed(plan: ReplaceReplica, info: ShardInfo | None) -> OperatorRow:
    """The plan as a line, with what it waits for."""
    if info is None:
        return OperatorRow("replace-replica", plan.shard, "done", plan.fresh.node, plan.why)
    step = next_step(plan, info.membership).step
    return OperatorRow("replace-replica", plan.shard, step, plan.fresh.node, plan.why)


def listed_state(info: ShardInfo, waiting_for: NodeId | None) -> OperatorRow | None:
    """A shard that is being created or dropped as a line; None for one in service.

    These plans need no record of their own: the shard's state in the map is the plan.
    """
    if info.state == ShardState.CREATING:
        return OperatorRow("create-shard", info.shard, "create", waiting_for, "its table is new")
    if info.state == ShardState.DROPPING:
        return OperatorRow("drop-shard", info.shard, "drop", waiting_for, "its table is dropped")
    return None
