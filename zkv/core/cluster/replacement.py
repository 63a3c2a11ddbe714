"""Replicas that are lost, and what replaces them (rule 1): decided over one draft of the next command."""

from collections.abc import Collection

from msgspec import structs

from zkv.core.cluster.draft import Draft
from zkv.core.cluster.operators import ReplaceReplica, lost_again, next_step
from zkv.core.cluster.shardmap import NodeState
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import ReplicaId


def is_lost(draft: Draft, member: Member, missing: Collection[ReplicaId]) -> bool:
    """Whether the member's disk is gone: its node has another folder now, or came back without the replica."""
    node = draft.node(member.node)
    return member.replica in missing or (node is not None and node.incarnation != member.incarnation)


def draft_replacements(draft: Draft, missing: Collection[ReplicaId]) -> None:
    """Put a plan for every lost voter that has none, and end the plans that are done."""
    for plan in draft.operators():
        _carry_on(draft, plan, missing)
    covered = {member for plan in draft.operators() for member in plan.lost}
    for info in draft.shards():
        if info.state != ShardState.ACTIVE:
            continue
        for voter in info.membership.voters:
            if voter not in covered and is_lost(draft, voter, missing):
                _replace(draft, info, voter)


def _carry_on(draft: Draft, plan: ReplaceReplica, missing: Collection[ReplicaId]) -> None:
    info = draft.shard(plan.shard)
    if info is None or info.state != ShardState.ACTIVE:
        draft.finish(plan)
        return
    node = draft.node(plan.fresh.node)
    if node is not None and is_lost(draft, plan.fresh, missing):
        draft.put_operator(lost_again(plan, draft.new_member(node)))
    elif next_step(plan, info.membership).step == "done":
        draft.finish(plan)


def _replace(draft: Draft, info: ShardInfo, voter: Member) -> None:
    node = draft.node(voter.node)
    if node is None:
        return
    same_folder = node.incarnation == voter.incarnation
    why = "the node came back without it" if same_folder else "the node came back with another folder"
    draft.put_operator(ReplaceReplica(draft.new_operator(), info.shard, (voter,), draft.new_member(node), why))


def draft_recreation(draft: Draft, info: ShardInfo, missing: Collection[ReplicaId]) -> None:
    """Begin a CREATING shard anew, under a new id with new replicas, if a member of it was lost or its node is down.

    Nobody has used the shard, so nothing is lost with it; what was created of it is deleted when it is reported. A
    shard whose node is down waits for it if there is no other node.
    """
    up = {node.node: node for node in draft.nodes() if node.state == NodeState.UP}
    voters = info.membership.voters
    if not any(is_lost(draft, voter, missing) or voter.node not in up for voter in voters):
        return
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
