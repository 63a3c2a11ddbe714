"""Giving the leads of a node's shards away: before a clean stop, and where its disk is full (rule 6)."""

from zkv import limits
from zkv.core.node.host import Host
from zkv.core.raft.replica import Role
from zkv.core.shard.machine import ShardMachine
from zkv.ids import ShardId


class Leaving:
    """Which leads were offered to others already. Once is enough: where all stop, they would go to and fro."""

    def __init__(self, host: Host[ShardMachine]) -> None:
        self._host = host
        self._handed_over: set[ShardId] = set()
        self._handed_over_ms = 0

    def disk_is(self, *, full: bool, was_full: bool) -> None:
        """Followers say so to their leaders, and get no entries that a majority can hold without them.

        Each shard is handed over once until there is room: where all are full, leadership does not go round.
        """
        if full or was_full:
            for hosted in self._host.hosted.values():
                hosted.replica.full = full
        if full:
            self.hand_over()
        elif was_full:
            self._handed_over.clear()

    def hand_over(self) -> bool:
        """Ask another voter to lead each shard that is led here.

        True when none is left, or nobody takes the rest: a handover is given up after an election timeout.
        """
        leading = [one for one in self._host.hosted.values() if one.replica.role is Role.LEADER]
        for hosted in leading:
            if hosted.shard in self._handed_over:
                continue
            self._handed_over.add(hosted.shard)
            self._handed_over_ms = self._host.now_ms
            replica = self._host.touch(hosted)
            behind_first = sorted(replica.progress(), key=lambda peer: peer[1])
            for target, _ in reversed(behind_first):
                if target != replica.id and replica.transfer(target):
                    break
        return not leading or self._host.now_ms - self._handed_over_ms > limits.ELECTION_MS_MIN
