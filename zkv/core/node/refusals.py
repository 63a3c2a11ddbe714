"""What a node refuses before anything has happened: it does not lead the shard, or the shard has changed."""

from zkv.core.shard.commands import EFFECT_NONE, Group, Reason, Refused
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId

NOBODY_YET_MS = 50  # a client's pause when a shard has no leader
_PARTING_MS = 5


def stale_range(group: Group, news: ShardInfo) -> Refused:
    """The client knows another range."""
    return Refused(group.id, Reason.STALE_RANGE, EFFECT_NONE, "the shard's range has changed", news=news)


def parting(group: Group) -> Refused:
    """It would be answered before its commit, and stand behind a split that refuses it (rule 18)."""
    return Refused(group.id, Reason.UNAVAILABLE, EFFECT_NONE, "the shard is being split", retry_ms=_PARTING_MS)


def elsewhere(group: Group, leader: NodeId, me: NodeId, news: ShardInfo | None) -> Refused:
    """This node does not lead the shard, as far as it knows who does."""
    if news is None:
        return Refused(group.id, Reason.NO_SHARD, EFFECT_NONE, "no such shard is known here")
    if not leader or leader == me:
        detail = "the shard has no leader now"
        return Refused(group.id, Reason.UNAVAILABLE, EFFECT_NONE, detail, retry_ms=NOBODY_YET_MS, news=news)
    return Refused(group.id, Reason.NOT_LEADER, EFFECT_NONE, "another node leads the shard", news=news)
