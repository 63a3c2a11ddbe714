"""What each replica of a node is and has done: for people and tests."""

from zkv.core.cluster.messages import ShardSize
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.node.census import Census
from zkv.core.node.host import Host, Hosted
from zkv.core.raft.replica import Role
from zkv.core.shard.machine import ShardMachine


def shard_figures(host: Host[ShardMachine], census: Census) -> dict[str, dict[str, object]]:
    """By the shard's number. Rows and bytes are as last counted; -1: not yet."""
    return {str(shard): _figures(one, census) for shard, one in host.hosted.items()}


def sizes(host: Host[ShardMachine], census: Census) -> tuple[ShardSize, ...]:
    """Of the shards of range tables that are led here, as far as they were counted since their range last changed."""
    found: list[ShardSize] = []
    for shard, hosted in host.hosted.items():
        info, counted = hosted.machine.info if hosted.machine is not None else None, census.middle.get(shard)
        if info is None or counted is None or hosted.replica.role is not Role.LEADER:
            continue
        version, middle = counted
        if info.partitioner == Partitioner.RANGE and version == info.range_version:
            found.append(ShardSize(shard, version, middle, census.bytes[shard]))
    return tuple(found)


def _figures(hosted: Hosted[ShardMachine], census: Census) -> dict[str, object]:
    replica, machine = hosted.replica, hosted.machine
    return {
        "replica": replica.id,
        "role": replica.role.name.lower(),
        "asleep": replica.asleep,
        "term": replica.term,
        "applied": replica.applied,
        "committed": replica.committed,
        "rows": census.counted.get(hosted.shard, -1),
        "bytes": census.bytes.get(hosted.shard, -1),
        "full": replica.full_members(),
        "sessions": len(machine.sessions) if machine else 0,
    }
