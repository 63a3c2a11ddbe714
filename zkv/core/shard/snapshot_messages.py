"""The stream that brings a replica the state it can no longer get from the log (rules 20, 21)."""

from typing import Annotated

from msgspec import Meta

from zkv import limits
from zkv.core.message import Message
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.merge import MergeState
from zkv.ids import ReplicaId, ShardId

_PIECES = Meta(max_length=4 * limits.SNAPSHOT_PIECES)  # twice as many as there can be
Piece = tuple[bytes, Annotated[int, Meta(ge=0, le=2**62)], bytes]  # last key, what its rows count for, their digest


class SnapshotOffer(Message, tag=70, frozen=True, gc=False):
    """Leader to member: I shall stream you the state as of (index, term). `stream` names the stream for ever.

    `info` is the descriptor as of `index`, `membership` in it included; `counter` the version counter; `floor` the
    session floor; `bytes` an estimate, for people.
    """

    shard: ShardId
    sender: ReplicaId
    target: ReplicaId
    term: int
    stream: int
    index: int
    index_term: int
    info: ShardInfo
    counter: int
    floor: bytes
    bytes: int


class MergedOffer(Message, tag=74, frozen=True, gc=False):
    """A SnapshotOffer of a shard that has had a part in merges, which goes along. Protocol version 2.

    The space in it is the sender's. What an unsettled merge has brought there comes in the stream, last.
    """

    offer: SnapshotOffer
    merging: MergeState


class SnapshotChunk(Message, tag=71, frozen=True, gc=False):
    """Rows number `number` of a stream, in order. Each row: kind, key within it, value.

    Kinds: b"r" data, b"s" session; b"R" and b"S": of those that a merge, not settled yet, has brought (MergedOffer).
    `checksum` is the CRC-32 of the rows' bytes, chained over the chunks; `last`: nothing follows.
    """

    sender: ReplicaId
    target: ReplicaId
    stream: int
    number: int
    rows: tuple[tuple[bytes, bytes, bytes], ...]
    checksum: int
    last: bool


class SnapshotCredit(Message, tag=72, frozen=True, gc=False):
    """Member to leader: I have all chunks below `next`, and take those below `limit`. Repeated while nothing comes."""

    sender: ReplicaId
    target: ReplicaId
    stream: int
    next: int
    limit: int


class SnapshotInstalled(Message, tag=73, frozen=True, gc=False):
    """Member to leader: durable, and live. `installed` False: not wanted, or given up; try again from the start."""

    sender: ReplicaId
    target: ReplicaId
    stream: int
    installed: bool
    index: int


class DraftCredit(Message, tag=88, frozen=True, gc=False):
    """A SnapshotCredit of a member that has rows of an earlier stream, up to the key `reached`. Protocol version 2.

    The first of a stream makes the leader begin with digests of what it has up to there. `number`: of a digest; -1:
    none. `wanted`: the pieces of that one, by place, that are not as the leader has them: send their rows.
    """

    sender: ReplicaId
    target: ReplicaId
    stream: int
    next: int
    limit: int
    reached: bytes
    number: int
    wanted: Annotated[tuple[int, ...], _PIECES]


class SnapshotDigest(Message, tag=89, frozen=True, gc=False):
    """Leader to member, in place of a SnapshotChunk: what I have of keys that you have reached. Protocol version 2.

    The first piece begins at the key `start`, each other behind the one before it. What is wanted of them comes as a
    chunk of the same number, its checksum of these rows alone. `checksum`: the stream's, with the pieces chained in.
    """

    sender: ReplicaId
    target: ReplicaId
    stream: int
    number: int
    start: bytes
    pieces: Annotated[tuple[Piece, ...], _PIECES]
    checksum: int


SnapshotMessage = (
    SnapshotOffer | MergedOffer | SnapshotChunk | SnapshotCredit | SnapshotInstalled | DraftCredit | SnapshotDigest
)
