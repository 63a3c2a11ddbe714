"""What a replica keeps in the state engine beside its users' rows."""

import msgspec

from zkv.core.message import Message
from zkv.core.shard.commands import Result, WriteGroup
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.merge import MergeState
from zkv.core.shard.pieces import Pieces
from zkv.core.shard.rows import numbered_range
from zkv.ids import ShardId


class Applied(Message, frozen=True, gc=False):
    """Written in the same batch as the rows, so that data and index never part.

    `counter`: the shard's versions so far (rule 15). `floor`: the newest birth of a session that was evicted (rule 13).
    """

    index: int
    term: int
    counter: int
    floor: bytes


class Descriptor(Message, frozen=True, gc=False):
    """What the replica is, as of its applied index, and the space that its rows are in (rule 20).

    A split leaves the rows where they are, so two replicas may share a space, each with a range of its own. Sessions
    have no range: `sessions` is the space that they are in, 0 if it is the same. `more`: further spaces, of what was
    merged into it (`pieces`).
    """

    info: ShardInfo
    space: int
    sessions: int = 0
    more: tuple[tuple[bytes, int], ...] = ()
    merging: MergeState = MergeState()


class Draft(Message, frozen=True, gc=False):
    """What a snapshot on its way to a replica has filled so far, kept over a restart: all rows of that space."""

    shard: ShardId
    space: int


class SessionRecord(Message, frozen=True, gc=False):
    """What is remembered of one client: runs of (first sequence number, results), none below `lowest`."""

    lowest: int
    highest: int
    runs: tuple[tuple[int, tuple[Result, ...]], ...]


encode = msgspec.msgpack.Encoder().encode
_applied = msgspec.msgpack.Decoder(Applied)
_descriptor = msgspec.msgpack.Decoder(Descriptor)
_draft = msgspec.msgpack.Decoder(Draft)
_session = msgspec.msgpack.Decoder(SessionRecord)
_batch = msgspec.msgpack.Decoder(tuple[WriteGroup, ...])


def decode_applied(data: bytes) -> Applied:
    """An Applied record; raises ValueError where the engine holds something else."""
    return _applied.decode(data)


def decode_descriptor(data: bytes) -> Descriptor:
    """A Descriptor record; raises ValueError where the engine holds something else."""
    return _descriptor.decode(data)


def decode_draft(data: bytes) -> Draft:
    """A Draft record; raises ValueError where the engine holds something else."""
    return _draft.decode(data)


def decode_session(data: bytes) -> SessionRecord:
    """A SessionRecord; raises ValueError where the engine holds something else."""
    return _session.decode(data)


def decode_batch(payload: bytes) -> tuple[WriteGroup, ...]:
    """The payload of a BATCH entry. It was checked before it entered the log (rule 16)."""
    return _batch.decode(payload)


def held_ranges(descriptor: Descriptor) -> list[tuple[bytes, bytes]]:
    """[start, end) of all engine keys that are the replica's alone: its rows, its sessions, what a merge has brought.

    Of a space that another replica shares, only its own range (rule 20).
    """
    info, absorbing = descriptor.info, descriptor.merging.absorbing
    held = Pieces(descriptor.space, descriptor.more).ranges(info.start, info.end)
    held.append(numbered_range(b"s", descriptor.sessions or descriptor.space))
    if absorbing is not None and absorbing.space:
        held += [numbered_range(kind, absorbing.space) for kind in (b"r", b"s")]
    return held
