"""Plans that split a shard in two: under which ids, at which versions, how far (rules 22, 24).

The coordinator gives out the new shard's ids and orders; the shard decides, and its replicas report the new range. A
plan names the versions of range and members that it was made for, so an order that comes late or twice does nothing.
It gets other ids only once the members have changed, for then the old ones can never be used any more. A plan that is
not wanted any more has the shard renew its members' version for the same reason: only the shard can say that the entry
has not been there before, and after that it never takes effect.

The plan stays until each replica of the new shard has been heard of: one that has not come into being yet is not lost.
"""

from collections.abc import Collection, Iterable

from zkv.core.cluster.messages import ChangeMember, SplitShard
from zkv.core.message import Message
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.core.shard.split import Split
from zkv.ids import ShardId


class SplitPlan(Message, frozen=True, gc=False):
    """Split `shard` as the entry says.

    `shown`: the map has both halves; not all replicas of the new one are known. `abandon`: it is to come to nothing.
    """

    id: int
    shard: ShardId
    split: Split
    why: str
    shown: bool = False
    abandon: bool = False


def told_of_split(plan: SplitPlan) -> str:
    """The plan in words, for the log."""
    if plan.shown:
        return f"shard {plan.shard} is split, and {plan.split.shard} begins at {plan.split.at!r}"
    if plan.abandon:
        return f"the split of shard {plan.shard} at {plan.split.at!r} is not wanted any more"
    return f"shard {plan.shard} is to be split at {plan.split.at!r}, where {plan.split.shard} is to begin: {plan.why}"


def order_for_split(plan: SplitPlan, info: ShardInfo, leader: Member) -> SplitShard | ChangeMember | None:
    """The order to the shard's leader; None: there is nothing to do, or it must be planned anew first."""
    if plan.shown or is_void(plan, info) or info.state != ShardState.ACTIVE:
        return None
    if plan.abandon:
        return ChangeMember(plan.shard, plan.split.member_version, "renew", leader)
    return SplitShard(plan.shard, plan.split)


def unborn(plans: Iterable[SplitPlan]) -> Collection[ShardId]:
    """The shards that are about to come into being, or whose replicas may be."""
    return {plan.split.shard for plan in plans}


def is_void(plan: SplitPlan, info: ShardInfo) -> bool:
    """Whether the shard has changed since, its members or (a merge came to nothing) the version of its range.

    The entry can never take effect any more then: whoever reports that has applied everything before it, and had the
    split been there, its range would show it.
    """
    held, wanted = info, plan.split
    return held.membership.version > wanted.member_version or held.range_version > wanted.range_version
