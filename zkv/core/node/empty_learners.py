"""Learners that wait for their first snapshot: who is spoken to by no leader any more was not meant to be.

The order that made one may have come after the plan behind it had ended, or its removal was never heard. Nobody else
knows of it, for it has no state to report, and it would keep the place of the next learner of its shard.
"""

from collections.abc import Iterable
from typing import Final, Generic

from zkv.core.node.host import Host, Hosted
from zkv.core.node.residents import M
from zkv.ids import ReplicaId

SILENT_MS: Final = 5_000  # a group without a leader elects one far sooner


class EmptyLearners(Generic[M]):
    """Since when each of a node's empty learners has heard no leader."""

    def __init__(self, host: Host[M]) -> None:
        self._host = host
        self._silent_since: dict[ReplicaId, int] = {}

    def look(self, now_ms: int, receiving: Iterable[ReplicaId]) -> list[str]:
        """Let those go that nobody has spoken to for SILENT_MS. `receiving`: replicas whose snapshot is on its way."""
        empty = [one for one in self._host.hosted.values() if one.machine is None and not one.frozen]
        if not empty:
            self._silent_since.clear()
            return []
        busy = set(receiving)
        since: dict[ReplicaId, int] = {}
        for one in empty:
            is_heard = one.replica.hears_leader or one.replica.id in busy
            since[one.replica.id] = now_ms if is_heard else self._silent_since.get(one.replica.id, now_ms)
        self._silent_since = since
        return [self._let_go(one) for one in empty if now_ms - since[one.replica.id] >= SILENT_MS]

    def _let_go(self, hosted: Hosted[M]) -> str:
        self._host.forget_empty(hosted)
        return f"shard {hosted.shard}: learner {hosted.replica.id} is let go: no leader speaks to it"
