"""What a replica's records mean, read from the first to the last (rules 2, 3, 5, 21)."""

from dataclasses import dataclass, field

from zkv.core.raft.messages import Entry, HardState, LogBatch, LogItem
from zkv.ids import ReplicaId
from zkv.storage.faults import Damaged


@dataclass(slots=True)
class RecoveredReplica:
    """What the log holds of one replica. `entries` follow `start` without a gap; `commit` lies within them.

    Entries after `commit` are stored, but were not known to be committed: they must not be applied (rule 3).
    """

    start: tuple[int, int] = (0, 0)  # index and term before the first entry
    hard_state: HardState = field(default_factory=lambda: HardState(0, ReplicaId(0)))
    entries: list[Entry] = field(default_factory=list)
    commit: int = 0

    @property
    def last_index(self) -> int:
        """Index of the last entry, or of `start` where there is none."""
        return self.start[0] + len(self.entries)


class Replay:
    """Applies batches in the order in which they were written. Keeps nothing of the disk: the simulator uses it too."""

    def __init__(self) -> None:
        self.replicas: dict[ReplicaId, RecoveredReplica] = {}

    def apply(self, batch: LogBatch) -> None:
        """Take one batch. Raises Damaged where it cannot follow what came before."""
        for item in batch.items:
            if item.gone:
                self.replicas.pop(item.replica, None)
            else:
                _apply(self.replicas.setdefault(item.replica, RecoveredReplica()), item)

    def check(self) -> None:
        """After the last batch. Raises Damaged where a commit mark names an entry that is not there."""
        for replica, held in self.replicas.items():
            if held.commit > held.last_index:
                raise Damaged(
                    f"the log knows entry {held.commit} of replica {replica} as committed and ends at {held.last_index}"
                )


def _apply(held: RecoveredReplica, item: LogItem) -> None:
    if item.start is not None:
        # Term and vote outlive a snapshot: a vote forgotten is a vote given twice.
        held.start, held.entries, held.commit = item.start, [], item.start[0]
    if item.hard_state is not None:
        held.hard_state = item.hard_state
    if item.entries:
        _append(held, item)
    held.commit = max(held.commit, item.commit)


def _append(held: RecoveredReplica, item: LogItem) -> None:
    first = item.entries[0].index
    kept = first - held.start[0] - 1
    if not 0 <= kept <= len(held.entries):
        raise Damaged(
            f"the log has entry {first} of replica {item.replica} after {held.start[0]}..{held.last_index}: "
            "entries are missing"
        )
    del held.entries[kept:]  # the whole suffix, not only the entries that have a successor (rule 2)
    held.entries += item.entries
    if item.entries[-1].index != held.last_index:
        raise Damaged(f"the log has a batch of replica {item.replica} from entry {first} with a gap inside")
