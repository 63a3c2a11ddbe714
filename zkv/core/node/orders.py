"""What the coordinator orders a node to do with its replicas; the shard decides (rule 24).

Each function does what the order says, where it still fits, and returns a line for the log, or "".
"""

from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Dismissed
from zkv.core.node.host import Host
from zkv.core.node.registration import Registration
from zkv.core.raft.membership import find
from zkv.core.raft.replica import Role
from zkv.core.shard.machine import ShardMachine

ShardHost = Host[ShardMachine]


def create(host: ShardHost, order: m.CreateReplica) -> str:
    """Hold a replica of a new shard (rule 1: valid once)."""
    created = host.create(order.replica, order.info)
    return f"shard {order.info.shard}: replica {order.replica} created" if created else ""


def drop(host: ShardHost, registration: Registration, order: m.DropShard) -> str:
    """Delete a replica whose table is dropped, or say that it is gone."""
    hosted = host.replica(order.replica)
    if hosted is None:
        host.drop_draft(order.replica)
        if host.settled(order.replica):
            registration.dropped(order.shard, order.replica)
        return ""
    host.destroy(hosted)
    return f"shard {order.shard}: replica {order.replica} dropped with its table"


def change_member(host: ShardHost, order: m.ChangeMember) -> str:
    """As the leader: one step of membership, if the group can take it."""
    hosted = host.hosted.get(order.shard)
    if hosted is None or hosted.replica.role is not Role.LEADER:
        return ""
    refusal = host.touch(hosted).propose_membership(order.action, order.member, order.expected, order.kept)
    what = f"shard {order.shard}: {order.action} replica {order.member.replica} on {order.member.node}"
    return f"{what}: {refusal}" if refusal else what


def transfer(host: ShardHost, order: m.TransferLeader) -> str:
    """As the leader: hand over."""
    hosted = host.hosted.get(order.shard)
    if hosted is not None:
        host.touch(hosted).transfer(order.target)
    return ""


def dismiss(host: ShardHost, order: m.DismissReplica) -> str:
    """As the leader: tell a replica that it is no member any more, if that is so by what this one has applied."""
    hosted, member = host.hosted.get(order.shard), order.member
    if hosted is None or hosted.replica.role is not Role.LEADER:
        return ""
    members = hosted.replica.membership
    if find(members, member.replica) is not None:
        return ""
    host.send(member, Dismissed(order.shard, hosted.replica.id, member.replica, members.version))
    return f"shard {order.shard}: tells replica {member.replica} on {member.node} that it is no member any more"


def dismissed(host: ShardHost, registration: Registration, word: Dismissed) -> str:
    """This node's replica is no member any more, by its own group's word: delete it (rule 22), or say that it is gone.

    A replica id is never given twice, so that word holds for ever; one about members older than those that this
    replica knows cannot be of its group.
    """
    hosted = host.replica(word.target)
    if hosted is None:
        host.drop_draft(word.target)
        if host.settled(word.target):
            registration.dropped(word.shard, word.target)
        return ""
    members = hosted.replica.membership
    if hosted.shard != word.shard or hosted.frozen or members.version > word.version:
        return ""
    if members.version == word.version and find(members, word.target) is not None:
        return ""
    host.destroy(hosted)
    return f"shard {word.shard}: replica {word.target} is no member any more, and is deleted"
