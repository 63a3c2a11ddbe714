"""What the replicas of two shards say to one another while one is merged into the other (rule 23).

Nothing of it decides: each is answered by what entries have made of the shard that answers, and may be lost, late or
said twice.
"""

from zkv.core.message import Message
from zkv.core.shard.merge import CarriedRow, Mark, Merge
from zkv.ids import ShardId


class MergeAsk(Message, tag=75, frozen=True, gc=False):
    """Leader of the target to the source: freeze for this, and give me what follows `after`."""

    merge: Merge
    after: Mark


class MergeRows(Message, tag=76, frozen=True, gc=False):
    """Leader of the source, frozen for that merge, to who asked: its rows and then sessions that follow `after`."""

    target: ShardId
    number: int
    after: Mark
    rows: tuple[CarriedRow, ...]
    last: bool
    counter: int
    floor: bytes


class MergeUnfit(Message, tag=77, frozen=True, gc=False):
    """Leader of the source to who asked: it is not frozen for that merge, and is not to be."""

    target: ShardId
    number: int
    why: str


class FateAsk(Message, tag=78, frozen=True, gc=False):
    """Frozen replica of `source` to those of the target: what has become of that merge? `target_version`: see Merge."""

    target: ShardId
    source: ShardId
    number: int
    target_version: int


class Fate(Message, tag=79, frozen=True, gc=False):
    """Replica of the target to who asked: the merge is settled, as its own log says."""

    source: ShardId
    number: int
    committed: bool


MergeMessage = MergeAsk | MergeRows | MergeUnfit | FateAsk | Fate
