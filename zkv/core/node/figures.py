"""What each replica of a node is and has done: for people and tests."""

from zkv.core.node.census import Census
from zkv.core.node.host import Host, Hosted
from zkv.core.shard.machine import ShardMachine


def shard_figures(host: Host[ShardMachine], census: Census) -> dict[str, dict[str, object]]:
    """By the shard's number. Rows and bytes are as last counted; -1: not yet."""
    return {str(shard): _figures(one, census) for shard, one in host.hosted.items()}


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
