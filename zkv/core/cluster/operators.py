"""Step-by-step plans that change a shard's members: in the replicated state, resumable, listed.

A plan stores what it is for, never how far it is: the next step follows from the shard's members in the map, so a
coordinator that took over at any moment goes on at the right place. Each step is an order guarded by the membership
version it was decided on; the shard's leader refuses it if that has changed (rule 24). What a plan leaves behind (the
data of a replica that was removed, a learner that came too late) is no part of it: see `reports.outcasts` and `strays`.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Literal, NamedTuple

from msgspec import structs

from zkv.core.cluster.merges import MergePlan
from zkv.core.cluster.messages import ChangeMember, TransferLeader
from zkv.core.cluster.splits import SplitPlan
from zkv.core.message import Message
from zkv.core.raft.membership import find
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ShardId

Step = Literal["learn", "promote", "transfer", "remove", "done"]


class Cause(IntEnum):
    """Why a plan was made; the number is the wire format. The lower one goes first."""

    LOST = 0  # the replica's disk is gone (rule 1)
    DEAD = 1  # its node is silent for longer than the grace period, or removed for good
    DRAIN = 2  # its node is to hold nothing
    BALANCE = 3  # another node is to hold more
    STRAY = 4  # a learner that no plan wants: an order that came after its plan had ended

    @property
    def heals(self) -> bool:
        """Whether the replica that goes is of no use any more."""
        return self in (Cause.LOST, Cause.DEAD)


class ReplaceReplica(Message, frozen=True, gc=False):
    """Replace replicas of one shard by a fresh one under a new id (rule 1).

    The fresh one learns, is promoted once it has caught up, and only then the old ones go: the group passes through
    one voter more, never through one fewer (rule 11). `lost` are those that go: the replica that is replaced, and any
    `fresh` one of this plan that was lost in its turn. `joined`: the fresh one was seen as a member; once it is none
    any more it is never asked for again. `undone`: the plan runs backwards: `lost` came too much, `fresh` stays.
    """

    id: int
    shard: ShardId
    lost: tuple[Member, ...]
    fresh: Member
    why: str
    cause: Cause = Cause.LOST
    joined: bool = False
    undone: bool = False

    @property
    def source(self) -> Member:
        """The replica that the plan was made to replace."""
        return self.fresh if self.undone else self.lost[0]

    @property
    def target(self) -> Member:
        """The replica that the plan was made to bring."""
        return self.lost[-1] if self.undone else self.fresh


class NextStep(NamedTuple):
    """What a plan needs now. `member` is who it is about."""

    step: Step
    member: Member


def next_step(plan: ReplaceReplica, membership: Membership, leader: int = 0, wanted: int = 0) -> NextStep:
    """The plan's next step, given the shard's members and leader as last reported.

    No voter goes while there are no more than `wanted`, whatever the plan says: a removal that was ordered before the
    plan came to its present mind may have taken another. Such a plan is done, and what is still wanted is planned anew.
    """
    if plan.undone and plan.fresh not in membership.voters:
        return NextStep("done", plan.fresh)  # what was to stay has gone before the plan was turned back
    for learner in membership.learners:
        if learner in plan.lost:  # it counts for nothing, so it may go first
            return NextStep("remove", learner)
    if plan.fresh in membership.learners:
        return NextStep("promote", plan.fresh)
    if plan.fresh not in membership.voters:
        return NextStep("learn", plan.fresh)
    for voter in membership.voters:
        if voter in plan.lost and len(membership.voters) > wanted:
            return NextStep("transfer" if voter.replica == leader else "remove", voter)
    return NextStep("done", plan.fresh)


def has_begun(plan: ReplaceReplica, membership: Membership) -> bool:
    """Whether the plan has changed the shard's members, or has nothing more to do."""
    return next_step(plan, membership).step != "learn"


def order_for(plan: ReplaceReplica, info: ShardInfo, wanted: int = 0) -> ChangeMember | TransferLeader | None:
    """The order to the shard's leader that does the plan's next step; None when it is done. `wanted`: see `next_step`.

    A replica that is of use is removed only while all that stay are live and have caught up.
    """
    step, member = next_step(plan, info.membership, info.leader, wanted)
    if step == "done":
        return None
    if step == "transfer":
        return TransferLeader(info.shard, plan.fresh.replica)
    is_of_use = step == "remove" and (plan.undone or not plan.cause.heals)
    kept = len(info.membership.voters) - 1 if is_of_use and member in info.membership.voters else 0
    return ChangeMember(info.shard, info.membership.version, step, member, kept)


def lost_again(plan: ReplaceReplica, fresh: Member) -> ReplaceReplica:
    """The plan after its fresh replica was lost, too: it goes on with another one."""
    return structs.replace(plan, lost=(*plan.lost, plan.fresh), fresh=fresh, joined=False)


def found_again(plan: ReplaceReplica, found: Member) -> ReplaceReplica:
    """The plan after one of those that had passed for lost turned out to be there: it is what the plan was to bring."""
    return structs.replace(plan, lost=tuple(own for own in plan.lost if own != found), fresh=found, joined=True)


def undone(plan: ReplaceReplica, membership: Membership) -> ReplaceReplica | None:
    """The plan turned back: what it has brought goes again. None: it cannot be, for what it replaces is gone."""
    if plan.undone:
        return plan
    staying = next((member for member in plan.lost if member in membership.voters), None)
    if staying is None:
        return None
    extra = (*(member for member in plan.lost if member != staying), plan.fresh)
    return structs.replace(plan, lost=extra, fresh=staying, joined=True, undone=True)


def redirected(plan: ReplaceReplica, gone: Member, cause: Cause, why: str) -> ReplaceReplica:
    """The plan of a replica under way, to replace another voter that has gone in the meantime."""
    return structs.replace(plan, lost=(gone,), fresh=plan.target, cause=cause, why=why, undone=False)


def extra_learners(info: ShardInfo, plans: tuple[ReplaceReplica, ...]) -> tuple[Member, ...]:
    """The learners that none of the shard's plans names."""
    named = {member for plan in plans for member in (*plan.lost, plan.fresh)}
    return tuple(member for member in info.membership.learners if member not in named)


def told_of_plan(plan: ReplaceReplica) -> str:
    """The plan in words, for the log."""
    if plan.undone:
        what = f"replica {plan.target.replica} on {plan.target.node} is to go again"
        return f"shard {plan.shard}: {what}, and {plan.fresh.replica} to stay: {plan.why}"
    where = f"replica {plan.fresh.replica} on {plan.fresh.node}"
    return f"shard {plan.shard}: {where} is to replace {plan.lost[-1].replica}: {plan.why}"


class OperatorRow(NamedTuple):
    """One line of the list of what is under way.

    `step` is what happens next, `on` the node that it is about, `source` the node that gives the replica up.
    `id` is what `zkv operators cancel` takes; 0: it cannot be cancelled.
    """

    kind: str
    shard: ShardId
    step: str
    on: NodeId | None
    why: str
    id: int = 0
    source: NodeId | None = None


def listed(plan: ReplaceReplica, info: ShardInfo | None, *, waits: bool = False) -> OperatorRow:
    """The plan as a line. `waits`: its turn has not come."""
    step: str = "done"
    if info is not None:
        step = next_step(plan, info.membership, info.leader).step
        if find(info.membership, plan.fresh.replica) is None and waits:
            step = "wait"
    kind = "undo-replace" if plan.undone else "replace-replica"
    return OperatorRow(kind, plan.shard, step, plan.target.node, plan.why, plan.id, plan.source.node)


def listed_split(plan: SplitPlan, child: ShardInfo | None, is_known: Callable[[Member], bool]) -> OperatorRow:
    """A split as a line: before the map shows it, and then until each replica of the new shard is known."""
    if not plan.shown or child is None:
        return OperatorRow("split-shard", plan.shard, "abandon" if plan.abandon else "split", None, plan.why, plan.id)
    waited = next((voter.node for voter in child.membership.voters if not is_known(voter)), None)
    return OperatorRow("split-shard", plan.shard, "settle", waited, plan.why)


def listed_merge(plan: MergePlan) -> OperatorRow:
    """A merge as a line."""
    step = "abandon" if plan.abandon else "merge"
    return OperatorRow("merge-shard", plan.merge.target, step, None, plan.why, plan.id)


def listed_state(info: ShardInfo, waiting_for: NodeId | None) -> OperatorRow | None:
    """A shard that is being created or dropped as a line; None for one in service.

    These plans need no record of their own: the shard's state in the map is the plan.
    """
    if info.state == ShardState.CREATING:
        return OperatorRow("create-shard", info.shard, "create", waiting_for, "its table is new")
    if info.state == ShardState.DROPPING:
        return OperatorRow("drop-shard", info.shard, "drop", waiting_for, "its table is dropped")
    return None
