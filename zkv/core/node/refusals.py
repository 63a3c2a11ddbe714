"""What a node refuses before anything has happened: it does not lead the shard, or the shard has changed."""

import msgspec

from zkv.core.node.host import Hosted
from zkv.core.shard.commands import EFFECT_NONE, Group, Reason, Refused
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.machine import FROZEN, FROZEN_MS, ShardMachine
from zkv.ids import NodeId

NOBODY_YET_MS = 50  # a client's pause when a shard has no leader
_PARTING_MS = 5


def described(hosted: Hosted[ShardMachine], machine: ShardMachine) -> ShardInfo:
    """The shard as its replica here knows it."""
    replica = hosted.replica
    return msgspec.structs.replace(machine.info, leader=replica.leader, term=replica.settled_term)


def unserved(group: Group, hosted: Hosted[ShardMachine], machine: ShardMachine) -> Refused | None:
    """Why the shard, as it is, serves no such request: it is frozen, or the client knows another range. None: it does.

    To be asked again before a read that has waited is answered.
    """
    if machine.merging.state.frozen is not None:
        return Refused(group.id, Reason.UNAVAILABLE, EFFECT_NONE, FROZEN, retry_ms=FROZEN_MS)
    if group.range_version != machine.info.range_version:
        news = described(hosted, machine)
        return Refused(group.id, Reason.STALE_RANGE, EFFECT_NONE, "the shard's range has changed", news=news)
    return None


def parting(group: Group) -> Refused:
    """It would be answered before its commit, and stand behind an entry that makes it refused (rule 18)."""
    return Refused(
        group.id, Reason.UNAVAILABLE, EFFECT_NONE, "the shard is being split or merged", retry_ms=_PARTING_MS
    )


def elsewhere(group: Group, leader: NodeId, me: NodeId, news: ShardInfo | None) -> Refused:
    """This node does not lead the shard, as far as it knows who does."""
    if news is None:
        return Refused(group.id, Reason.NO_SHARD, EFFECT_NONE, "no such shard is known here")
    if not leader or leader == me:
        detail = "the shard has no leader now"
        return Refused(group.id, Reason.UNAVAILABLE, EFFECT_NONE, detail, retry_ms=NOBODY_YET_MS, news=news)
    return Refused(group.id, Reason.NOT_LEADER, EFFECT_NONE, "another node leads the shard", news=news)
