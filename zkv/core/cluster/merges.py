"""Plans that merge a shard into its left neighbour: for which versions, how far (rules 23, 24).

The coordinator orders the leader of the target, whose log decides; a plan ends when that shard reports a later version
of its range: with the source's range in it, or as it was, and then the merge has come to nothing. A plan that is not
wanted any more is ordered to come to nothing: only the target can say that it has, so that no late order begins it.
"""

from collections.abc import Iterable

from zkv.core.cluster.messages import MergeShard
from zkv.core.message import Message
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.core.shard.merge import Merge
from zkv.ids import ShardId


class MergePlan(Message, frozen=True, gc=False):
    """Merge as the entry says; its number is the plan's. `abandon`: it is to come to nothing."""

    merge: Merge
    why: str
    abandon: bool = False

    @property
    def id(self) -> int:
        """Its number among all plans."""
        return self.merge.number


def told_of_merge(plan: MergePlan) -> str:
    """The plan in words, for the log."""
    merge = plan.merge
    if plan.abandon:
        return f"the merge of shard {merge.source} into shard {merge.target} is not wanted any more"
    return f"shard {merge.source}, from {merge.at!r} on, is to be merged into shard {merge.target}: {plan.why}"


def order_for_merge(plan: MergePlan, target: ShardInfo) -> MergeShard | None:
    """The order to the target's leader; None: what became of it is known."""
    if target.state != ShardState.ACTIVE or target.range_version > plan.merge.target_version:
        return None
    return MergeShard(plan.merge, plan.abandon)


def merging(plans: Iterable[MergePlan]) -> set[ShardId]:
    """The shards that a merge is about: nothing else is to change them."""
    return {shard for plan in plans for shard in (plan.merge.target, plan.merge.source)}
