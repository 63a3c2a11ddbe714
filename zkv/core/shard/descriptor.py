"""What a shard is: a range of one table's partition keys, an epoch, and replicas."""

from enum import IntEnum

from zkv.core.message import Message
from zkv.core.raft.messages import Member, Membership
from zkv.ids import NodeId, ReplicaId, ShardId, TableId


class ShardState(IntEnum):
    """Where a shard is in its life; the number is the wire format."""

    CREATING = 0  # orders to create its replicas are out, valid once (rule 1); it serves once it has a leader
    ACTIVE = 1
    DROPPING = 2  # its table is gone; replicas delete themselves and report it


class ShardInfo(Message, frozen=True, gc=False):
    """One shard as the map shows it.

    The range is start <= partition key < end; an `end` of b"" means no end. `range_version` and
    `membership.version` are the shard's epoch: both only rise. `leader` is 0 while none is known; (`range_version`,
    `membership.version`, `term`) orders reports (rule 24).
    """

    shard: ShardId
    table: TableId
    start: bytes
    end: bytes
    range_version: int
    membership: Membership
    leader: ReplicaId = ReplicaId(0)
    term: int = 0
    state: ShardState = ShardState.ACTIVE
    partitioner: int = 0  # of its table (`core.cluster.shardmap.Partitioner`), so that a map can be rebuilt from shards

    def owns(self, partition_key: bytes) -> bool:
        """Whether the partition key lies in this shard's range."""
        return self.start <= partition_key and (not self.end or partition_key < self.end)

    def leading(self) -> Member | None:
        """The voter that leads, as far as is known."""
        for member in self.membership.voters:
            if member.replica == self.leader:
                return member
        return None


def leader_of(info: ShardInfo | None) -> NodeId:
    """The node that the shard's leader lives on; "" if that is not known."""
    leading = info.leading() if info is not None else None
    return leading.node if leading is not None else NodeId("")
