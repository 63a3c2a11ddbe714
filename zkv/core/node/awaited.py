"""What a crash can leave of a split: the log knows the new replica, and the engine knows nothing of the split yet.

The replica's birth is logged together with the mark that the split is committed. So the split is applied anew before
anything else happens to the shard that was split, and the new replica goes on with what the log has of it. That may
have been split, too.
"""

from collections.abc import Container, Iterable, Mapping

from zkv.core.node.contracts import RecoveredReplica
from zkv.core.raft.messages import Entry, EntryKind
from zkv.core.shard.split import decode_split
from zkv.ids import ReplicaId, ShardId

Awaited = dict[ShardId, tuple[ReplicaId, RecoveredReplica]]


def awaited(
    suffixes: Iterable[tuple[Iterable[Entry], int]],
    recovered: Mapping[ReplicaId, RecoveredReplica],
    hosted: Container[ShardId],
) -> Awaited:
    """Those that applying these entries anew, each suffix up to its commit index, brings into being again."""
    found: Awaited = {}
    to_look_at = list(suffixes)
    while to_look_at:
        entries, commit = to_look_at.pop()
        for entry in entries:
            if entry.kind != EntryKind.SPLIT or entry.index > commit:
                continue
            split = decode_split(entry.payload)
            own = next((voter.replica for voter in split.members.voters if voter.replica in recovered), None)
            if own is not None and split.shard not in hosted:
                found[split.shard] = (own, recovered[own])
                to_look_at.append((recovered[own].entries, recovered[own].commit))
    return found
