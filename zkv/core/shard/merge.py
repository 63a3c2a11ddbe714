"""A merge: a small shard becomes part of its left neighbour, decided in the log of that one, the target (rule 23).

The target's log says that it begins (Begin); the source's, that it is frozen (Freeze): from then on it serves nothing,
and nothing of it changes. Its rows and sessions go through the target's log in pieces (Carried), seen by nobody, until
one entry of the target says what became of it (Verdict): its range is wider by the source's, or all that came is
dropped. The source acts on that word alone: its replicas delete themselves, or it serves again (Thaw).

Whatever does not fit the shard as it is when the entry is applied does nothing, here as everywhere. Each outcome gives
the target's range another version, so an order or an entry that comes late finds that its time is over.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from zkv.core.message import Message
from zkv.core.raft.messages import Membership
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import ShardId

Mark = tuple[bytes, bytes]  # kind and key of the last row that came, in the order in which they come
CarriedRow = tuple[bytes, bytes, bytes]  # kind (DATA or SESSION), key within it, value

NOTHING: Mark = (b"", b"")
MERGED_KEPT = 64  # outcomes that a target remembers; of older ones it says nothing any more


class Merge(Message, frozen=True, gc=False):
    """What is to be merged: the same in the logs of both.

    `number`: the coordinator's, never used twice, and rising. `at`: where the target ends and the source begins; `end`:
    where the source ends. The versions are those of the ranges, and of the source's members, as they must be when the
    entries are applied. `members`: of the source. `bytes_max`: a source that has more is not merged. `map_version`: of
    the map that it was decided on, which had both.
    """

    number: int
    target: ShardId
    source: ShardId
    at: bytes
    end: bytes
    target_version: int
    source_version: int
    member_version: int
    members: Membership
    bytes_max: Annotated[int, Meta(ge=0)]
    map_version: int


class Freeze(Message, tag=1, frozen=True, gc=False):
    """Entry of the source: it serves nothing from now on."""

    merge: Merge


class Thaw(Message, tag=2, frozen=True, gc=False):
    """Entry of the source: the target has abandoned that merge."""

    number: int


class Begin(Message, tag=1, frozen=True, gc=False):
    """Entry of the target: it asks for what the source has."""

    merge: Merge


class Carried(Message, tag=2, frozen=True, gc=False):
    """Entry of the target: what follows `after` of the source's rows and then sessions. `last`: that was all.

    `counter`, `floor`: of the source (rules 13, 15).
    """

    number: int
    after: Mark
    rows: tuple[CarriedRow, ...]
    last: bool
    counter: int
    floor: bytes


class Verdict(Message, frozen=True, gc=False):
    """Entry of the target: what has become of the merge. `target_version`: of its range so far."""

    number: int
    target_version: int
    committed: bool


class Absorbing(Message, frozen=True, gc=False):
    """What of the source has come so far. `space`: where it is, of this node alone; 0: none is given yet."""

    merge: Merge
    space: int = 0
    reached: Mark = NOTHING
    size: int = 0
    complete: bool = False
    counter: int = 0
    floor: bytes = b""


class MergeState(Message, frozen=True, gc=False):
    """A shard's part in merges. `frozen`: as a source; `absorbing`: as a target; `merged`: the numbers of those that
    were committed here, the last MERGED_KEPT."""

    frozen: Merge | None = None
    absorbing: Absorbing | None = None
    merged: tuple[int, ...] = ()

    @property
    def is_busy(self) -> bool:
        """Whether it takes part in a merge that is not settled."""
        return self.frozen is not None or self.absorbing is not None


encode = msgspec.msgpack.Encoder().encode
_freeze: msgspec.msgpack.Decoder[Freeze | Thaw] = msgspec.msgpack.Decoder(Freeze | Thaw)
_absorb: msgspec.msgpack.Decoder[Begin | Carried] = msgspec.msgpack.Decoder(Begin | Carried)
_verdict = msgspec.msgpack.Decoder(Verdict)


def decode_freeze(payload: bytes) -> Freeze | Thaw:
    """The payload of a FREEZE entry. Raises ValueError for anything else."""
    return _freeze.decode(payload)


def decode_absorb(payload: bytes) -> Begin | Carried:
    """The payload of an ABSORB entry. Raises ValueError for anything else."""
    return _absorb.decode(payload)


def decode_verdict(payload: bytes) -> Verdict:
    """The payload of a MERGE entry. Raises ValueError for anything else."""
    return _verdict.decode(payload)


def wrong_with_target(info: ShardInfo, state: MergeState, merge: Merge) -> str:
    """Why the shard, as it is, cannot take the source in; "" if it can."""
    if state.is_busy:
        return "it takes part in a merge already"
    if info.range_version != merge.target_version:
        return f"its range is at version {info.range_version}, not {merge.target_version}"
    if info.end != merge.at or not merge.at:
        return "the source does not begin where it ends"
    return ""


def wrong_with_source(info: ShardInfo, state: MergeState, merge: Merge) -> str:
    """Why the shard, as it is, cannot be frozen so; "" if it can."""
    if state.is_busy:
        return "it takes part in a merge already"
    if info.range_version != merge.source_version:
        return f"its range is at version {info.range_version}, not {merge.source_version}"
    if info.membership.version != merge.member_version:
        return f"its members are at version {info.membership.version}, not {merge.member_version}"
    if (info.start, info.end) != (merge.at, merge.end):
        return "its range is another"
    return ""


def united(info: ShardInfo, merge: Merge) -> ShardInfo:
    """The target, once the merge is committed."""
    version = max(merge.target_version, merge.source_version) + 1
    return msgspec.structs.replace(info, end=merge.end, range_version=version)


def fate(info: ShardInfo, state: MergeState, number: int, target_version: int) -> bool | None:
    """Whether that merge into this shard was committed; None: that is not settled, or not known any more.

    It was not, and never will be, if the range has another version by now than it had to have.
    """
    if number in state.merged:
        return True
    is_open = state.absorbing is not None and state.absorbing.merge.number == number
    is_forgotten = len(state.merged) >= MERGED_KEPT and number < state.merged[0]
    if is_open or is_forgotten or info.range_version <= target_version:
        return None
    return False
