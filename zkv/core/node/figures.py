"""What each replica of a node is and has done: for people and tests."""

from zkv.core.cluster.messages import ShardSize
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.node.asked import Asked
from zkv.core.node.census import Census
from zkv.core.node.host import Host, Hosted
from zkv.core.node.rates import Rates
from zkv.core.node.spread import Spread
from zkv.core.raft.replica import Role
from zkv.core.shard.machine import ShardMachine
from zkv.ids import ShardId

_NOTHING = Spread()


def shard_figures(host: Host[ShardMachine], census: Census) -> dict[str, dict[str, object]]:
    """By the shard's number. Rows are as last counted, bytes as far as is known; -1: not yet."""
    return {str(shard): _figures(one, census) for shard, one in host.hosted.items()}


class Sizes:
    """Of the shards of range tables that are led here: bytes, as far as is known, requests a second, where they lie."""

    def __init__(self, host: Host[ShardMachine], census: Census, asked: Asked) -> None:
        self._host = host
        self._census = census
        self._asked = asked
        self.rates = Rates()

    def __call__(self) -> tuple[ShardSize, ...]:
        """What is known now. What was counted before the range last changed is not."""
        led: dict[ShardId, int] = {}
        for shard, hosted in self._host.hosted.items():
            info = hosted.machine.info if hosted.machine is not None else None
            if info is not None and info.partitioner == Partitioner.RANGE and hosted.replica.role is Role.LEADER:
                led[shard] = info.range_version
        self.rates.look(self._asked.counts, led, self._host.now_ms)
        self._asked.samples.look(led)
        found: list[ShardSize] = []
        for shard, range_version in led.items():
            version, spread = self._census.spreads.get(shard, (-1, _NOTHING))
            requests = self.rates.of(shard)
            asked = (requests, *self._asked.samples.of(shard))
            if version == range_version:
                found.append(ShardSize(shard, version, spread.middle(), self._census.bytes_of(shard), *asked))
            elif requests >= 0:
                found.append(ShardSize(shard, range_version, b"", -1, *asked))
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
        "bytes": census.bytes_of(hosted.shard),
        "full": replica.full_members(),
        "sessions": len(machine.sessions) if machine else 0,
    }
