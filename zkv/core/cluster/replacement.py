"""Plans that go on, turn back or end, and those for lost disks (rule 1): decided over one draft of the next command."""

from collections.abc import Callable

from msgspec import structs

from zkv.core.cluster.draft import Draft
from zkv.core.cluster.operators import (
    Cause,
    ReplaceReplica,
    extra_learners,
    found_again,
    has_begun,
    lost_again,
    next_step,
    redirected,
    undone,
)
from zkv.core.cluster.standing import Standing
from zkv.core.raft.membership import find
from zkv.core.raft.messages import Member, Membership
from zkv.core.raft.quorum import majority
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import ReplicaId


def draft_replacements(draft: Draft, standing: Standing) -> None:
    """Carry the plans on, and put one for every lost voter and every learner too many that has none."""
    for plan in draft.operators():
        _carry_on(draft, plan, standing)
    covered = {member for plan in draft.operators() for member in plan.lost}
    for info in draft.shards():
        if info.state != ShardState.ACTIVE:
            continue
        for voter in info.membership.voters:
            if voter not in covered and standing.is_lost(voter):
                _replace(draft, info, voter, standing)
        if info.membership.learners:
            plans = tuple(plan for plan in draft.operators() if plan.shard == info.shard)
            for learner in extra_learners(info, plans):
                _dismiss(draft, info, learner)


def _carry_on(draft: Draft, plan: ReplaceReplica, standing: Standing) -> None:
    """The plan as it must go on now."""
    info = draft.shard(plan.shard)
    if info is None or info.state != ShardState.ACTIVE:
        draft.finish(plan)
        return
    is_moot = not plan.undone and not any(member in info.membership.voters for member in plan.lost)
    if is_moot or next_step(plan, info.membership, wanted=draft.replicas_of(info)).step == "done":
        draft.finish(plan)  # what it may leave as a learner is dismissed below
        return
    if find(info.membership, plan.fresh.replica) is not None:
        plan = structs.replace(plan, joined=True)
    after = _backwards(draft, plan, info, standing) if plan.undone else _forwards(draft, plan, info, standing)
    if after is None:
        draft.finish(plan)
    else:
        draft.put_operator(after)


def _forwards(draft: Draft, plan: ReplaceReplica, info: ShardInfo, standing: Standing) -> ReplaceReplica | None:
    """A plan that goes on, turns back or begins anew; None: it ends."""
    members = info.membership
    plan = _up_to_date(_mindful_of_found(plan, members, standing), standing)
    # Once removed, by an order that was given before the plan came to want it, a replica never comes back (rule 1).
    is_spent = plan.joined and find(members, plan.fresh.replica) is None
    if is_spent or standing.is_lost(plan.fresh):
        return _with_another(draft, plan, info, standing)
    begun = has_begun(plan, members)
    if not begun and not _is_wanted(plan, members, standing):
        return None
    if not plan.cause.heals:
        gone = _gone_beside(draft, plan, members, standing)
        if gone is not None:
            return redirected(plan, *gone) if begun else None
    if standing.is_dead(plan.fresh.node) or (not begun and not standing.receives(plan.fresh.node)):
        return _elsewhere(draft, plan, info, standing, begun=begun)
    if not _is_wanted(plan, members, standing):
        return _called_off(plan, members)
    return plan


def _backwards(draft: Draft, plan: ReplaceReplica, info: ShardInfo, standing: Standing) -> ReplaceReplica | None:
    """A plan that takes back what it did: but if who was to stay is gone by now, what it had brought is needed."""
    target = plan.target
    going = standing.going(target)  # a node that is only to be emptied will do until it is
    is_useful = find(info.membership, target.replica) is not None and (going is None or not going.cause.heals)
    gone = _gone_beside(draft, plan, info.membership, standing)
    if gone is None or not is_useful:
        return plan
    # Beside one that stays it would never catch up: a node holds one replica of a shard.
    others = [voter.node for voter in info.membership.voters if voter not in (target, gone[0])]
    return plan if target.node in others else redirected(plan, *gone)


def _mindful_of_found(plan: ReplaceReplica, members: Membership, standing: Standing) -> ReplaceReplica:
    """The plan where a voter had passed for missing, by a word of its node that came late, and another was begun.

    The found one stays: its node cannot hold two replicas of the shard, and would never let the other catch up.
    """
    if plan.cause != Cause.LOST or plan.fresh in members.voters:
        return plan
    voters = [own for own in plan.lost if own in members.voters]
    found = [own for own in voters if not standing.is_lost(own) and not standing.is_dead(own.node)]
    return found_again(plan, found[-1]) if found and len(found) < len(voters) else plan


def _up_to_date(plan: ReplaceReplica, standing: Standing) -> ReplaceReplica:
    """The plan with the reason that it has by now: a node that was to be emptied may have died in the meantime."""
    going = standing.going(plan.source)
    if going is None or going.cause == plan.cause or plan.cause in (Cause.LOST, Cause.STRAY):
        return plan
    return structs.replace(plan, cause=going.cause, why=going.why)


def _is_wanted(plan: ReplaceReplica, members: Membership, standing: Standing) -> bool:
    """Whether there is still a reason for the plan."""
    match plan.cause:
        case Cause.LOST:  # not where a voter passed for missing, by a word of its node that came late
            return any(standing.going(member) is not None for member in plan.lost if member in members.voters)
        case Cause.DEAD | Cause.DRAIN:
            return standing.going(plan.source) is not None
        case Cause.BALANCE:
            return standing.draft.tuning.balance
        case Cause.STRAY:
            return True


def _gone_beside(
    draft: Draft, plan: ReplaceReplica, members: Membership, standing: Standing
) -> tuple[Member, Cause, str] | None:
    """A voter that is gone for good, and that neither this plan nor another is about."""
    others = (own for own in draft.operators() if own.shard == plan.shard and own.id != plan.id and not own.undone)
    covered = {member for own in others for member in own.lost}
    for voter in members.voters:
        if voter in plan.lost or voter == plan.target or voter in covered:
            continue
        going = standing.going(voter)
        if going is not None and going.cause.heals:
            return voter, going.cause, going.why
    return None


def _called_off(plan: ReplaceReplica, members: Membership) -> ReplaceReplica | None:
    """A plan under way whose reason is gone. A node that came back too late finds what was built in its stead."""
    if plan.cause == Cause.BALANCE or (plan.cause == Cause.DEAD and plan.fresh in members.voters):
        return plan
    return undone(plan, members) or plan


def _with_another(draft: Draft, plan: ReplaceReplica, info: ShardInfo, standing: Standing) -> ReplaceReplica | None:
    """The fresh replica is lost: another one, on the same node if it is there, or back to what there was."""
    if not plan.cause.heals:
        return undone(plan, info.membership) or plan
    node = draft.node(plan.fresh.node)
    if node is not None and standing.stays(node):
        return lost_again(plan, draft.new_member(node))
    return _elsewhere(draft, plan, info, standing, begun=True)


def _elsewhere(
    draft: Draft, plan: ReplaceReplica, info: ShardInfo, standing: Standing, *, begun: bool
) -> ReplaceReplica | None:
    """The fresh replica's node is gone, or must not be given anything: another home, or back to what there was."""
    if not begun:
        # A node that came back empty and went away again gets its replica if it returns within the grace period.
        node = draft.node(plan.fresh.node)
        return plan if plan.cause.heals and node is not None and standing.stays(node) else None
    if not plan.cause.heals:
        return undone(plan, info.membership) or plan
    home = standing.spare_home(info, [])
    return lost_again(plan, draft.new_member(home)) if home is not None else plan


def _replace(draft: Draft, info: ShardInfo, voter: Member, standing: Standing) -> None:
    """Replace a voter whose disk is lost on its own node, if that is to hold anything. (Else see `moves`.)"""
    node = draft.node(voter.node)
    if node is None or not standing.stays(node):
        return
    same_folder = node.incarnation == voter.incarnation
    why = "the node came back without it" if same_folder else "the node came back with another folder"
    draft.put_operator(ReplaceReplica(draft.new_operator(), info.shard, (voter,), draft.new_member(node), why))


def _dismiss(draft: Draft, info: ShardInfo, learner: Member) -> None:
    why = "the plan that it belonged to has ended"
    staying = info.membership.voters[0]
    plan = ReplaceReplica(draft.new_operator(), info.shard, (learner,), staying, why, Cause.STRAY)
    draft.put_operator(structs.replace(plan, joined=True, undone=True))


def draft_creation(draft: Draft, info: ShardInfo, standing: Standing, has_reported: Callable[[Member], bool]) -> None:
    """Carry on a CREATING shard: ACTIVE once every voter is there, or a majority is and the others are given up.

    Its group serves from its first election on, so it may hold acknowledged writes while the map still says CREATING.
    Silence is therefore no reason to begin it anew, only the loss of a majority's disks is (promise 1). Nor is it a
    reason to call it ACTIVE soon: until then a voter whose node was away can still be created, later only replaced, and
    for that a majority of the others must be left.
    """
    voters = info.membership.voters
    gone = [voter for voter in voters if standing.is_gone(voter)]
    if len(voters) - len(gone) < majority(len(voters)):
        _begin_anew(draft, info, standing)
        return
    here = [voter for voter in voters if voter not in gone and has_reported(voter)]
    away = [voter for voter in voters if standing.is_lost(voter) or standing.is_dead(voter.node)]
    if len(here) >= majority(len(voters)) and all(voter in here or voter in away for voter in voters):
        draft.put_shard(structs.replace(info, state=ShardState.ACTIVE))


def _begin_anew(draft: Draft, info: ShardInfo, standing: Standing) -> None:
    """Put another shard in its place, under a new id with new replicas, as soon as there are nodes enough.

    What is left of the old one is deleted when it is reported.
    """
    up = {node.node: node for node in draft.nodes() if node.receives}
    voters = info.membership.voters
    taken = {voter.node for voter in voters}
    spare = iter(sorted(node for node in up if node not in taken))
    homes = [voter.node if voter.node in up else next(spare, None) for voter in voters]
    nodes = [up[home] for home in homes if home is not None]
    if len(nodes) < len(voters):
        return
    members = tuple(draft.new_member(node) for node in nodes)
    draft.drop_shard(info.shard)
    anew = structs.replace(info, shard=draft.new_shard(), membership=Membership(1, members))
    # The new group counts its terms from the start: what the old one had reached would outrank its leaders (rule 24).
    draft.put_shard(structs.replace(anew, leader=ReplicaId(0), term=0))
