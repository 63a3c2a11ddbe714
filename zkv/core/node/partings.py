"""Splits that this node was ordered to begin, as the leader: each waits until every voter has all there is on disk.

So whoever is cut off, stopped or killed from then on lacks the split itself and what follows, nothing before it: that
much of the log is kept for it, and with the split it gets its replica of the new shard. While one waits, for a few
milliseconds, what clients write to the shard waits, too.
"""

from collections.abc import Callable
from typing import Final

from zkv.core.cluster.messages import SplitShard
from zkv.core.cluster.versions import SPLITS_SINCE
from zkv.core.node.host import Host, Hosted
from zkv.core.raft.messages import EntryKind
from zkv.core.raft.replica import Role
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.split import encode, wrong_with
from zkv.ids import NodeId, ReplicaId, ShardId

LEVEL_MS: Final = 250  # longer, and writes go on without the split; the order comes again


class Partings:
    """Orders to split, by shard. `protocol_of`: the version that another node has stated (rule 16)."""

    def __init__(self, host: Host[ShardMachine], protocol_of: Callable[[NodeId], int]) -> None:
        self.waiting: dict[ShardId, tuple[SplitShard, int]] = {}  # the order, and until when
        self._woken: set[ShardId] = set()  # of these: nobody has answered for a while, as they slept
        self._host = host
        self._protocol_of = protocol_of
        self._fresh: list[SplitShard] = []

    def ordered(self, order: SplitShard) -> None:
        """The coordinator wants this. What was taken in the same turn goes before it."""
        self._fresh.append(order)

    def propose(self) -> list[str]:
        """Last thing before the host's turn: begin what can begin. Lines for the log."""
        events: list[str] = []
        if not self.waiting and not self._fresh:
            return events
        for shard, (order, until_ms) in list(self.waiting.items()):
            said = self._try(order, late=self._host.now_ms >= until_ms)
            if said:
                events.append(said)
                del self.waiting[shard]
                self._woken.discard(shard)
        for order in self._fresh:
            hosted = self._host.hosted.get(order.shard)
            if hosted is None or hosted.replica.role is not Role.LEADER:
                continue
            if hosted.replica.asleep:
                self._woken.add(order.shard)
            self._host.touch(hosted).stir()
            self.waiting.setdefault(order.shard, (order, self._host.now_ms + LEVEL_MS))
        self._fresh.clear()
        return events

    def _try(self, order: SplitShard, *, late: bool) -> str:
        """What came of it; "" if it has to wait."""
        hosted = self._host.hosted.get(order.shard)
        what = f"shard {order.shard}: split into it and {order.split.shard}"
        refusal = self._refusal(hosted, order)
        if refusal or hosted is None:
            return "" if order.shard in self._woken and not late else f"{what}: {refusal}"
        replica = self._host.touch(hosted)
        if replica.is_level:
            replica.propose(EntryKind.SPLIT, encode(order.split))
            return what
        return f"{what}: its replicas are too busy" if late else ""

    def _refusal(self, hosted: Hosted[ShardMachine] | None, order: SplitShard) -> str:
        if hosted is None or hosted.machine is None:
            return "it is not here"
        self._host.touch(hosted).stir()  # it is not to fall asleep meanwhile
        info = hosted.machine.info
        if hosted.machine.merging.state.is_busy:
            return "it takes part in a merge"
        unfit = wrong_with(info, order.split) or self._not_understood(info, hosted.replica.id)
        return unfit or self._host.touch(hosted).objection_to_split() or ""

    def _not_understood(self, info: ShardInfo, own: ReplicaId) -> str:
        for voter in info.membership.voters:
            if voter.replica != own and self._protocol_of(voter.node) < SPLITS_SINCE:
                return f"{voter.node} has not stated that it knows splits"
        return ""
