"""A split: one entry of a shard's log makes two shards of it, at a key, alike on every replica (rules 14, 15, 20, 22).

The shard that splits keeps its id, its log and what is left of the key; a new one, under ids that the coordinator gave
out, begins with the rest: its rows where they are, copies of the sessions and their floor, and the version counter.
Both ranges have the next version, so whatever was meant for the old range is refused, also where it stands in the log
behind the split. A split that does not fit the shard as it is when the entry is applied does nothing.
"""

from typing import NamedTuple

import msgspec

from zkv.core.message import Message
from zkv.core.raft.membership import find
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.core.shard.pieces import Pieces
from zkv.core.shard.records import SessionRecord
from zkv.ids import ClientId, ReplicaId, ShardId


class Split(Message, frozen=True, gc=False):
    """The entry. `at` is a partition key: the new shard has it and what follows.

    `range_version`, `member_version`: of the shard that splits, as they must be when it is applied. `members`: of the
    new shard, one for each voter of this one, on the same nodes.
    """

    at: bytes
    range_version: int
    member_version: int
    shard: ShardId
    members: Membership


class Parted(NamedTuple):
    """What a split has cut off here. `replica`: of the new shard on this node; None: it has none here.

    `pieces`: where its rows are. The sessions are copies, to be stored apart.
    """

    info: ShardInfo
    replica: ReplicaId | None
    pieces: Pieces
    counter: int
    floor: bytes
    sessions: dict[ClientId, SessionRecord]


encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Split)


def decode_split(payload: bytes) -> Split:
    """The payload of a SPLIT entry. Raises ValueError for anything else."""
    return _decoder.decode(payload)


def wrong_with(info: ShardInfo, split: Split) -> str:
    """Why the shard, as it is, cannot be split so; "" if it can."""
    if info.range_version != split.range_version:
        return f"its range is at version {info.range_version}, not {split.range_version}"
    if info.membership.version != split.member_version:
        return f"its members are at version {info.membership.version}, not {split.member_version}"
    if info.membership.learners:
        return "one of its replicas is being brought up"
    if not info.owns(split.at) or split.at == info.start:
        return "the key is not inside its range"
    homes = [(voter.node, voter.incarnation) for voter in info.membership.voters]
    if [(voter.node, voter.incarnation) for voter in split.members.voters] != homes or split.members.learners:
        return "the new shard's replicas would not be where its own are"
    return ""


def left_of(info: ShardInfo, split: Split) -> ShardInfo:
    """What the shard that splits keeps."""
    return msgspec.structs.replace(info, end=split.at, range_version=info.range_version + 1)


def right_of(info: ShardInfo, split: Split) -> ShardInfo:
    """The new shard."""
    return ShardInfo(
        split.shard,
        info.table,
        split.at,
        info.end,
        info.range_version + 1,
        split.members,
        state=ShardState.ACTIVE,
        partitioner=info.partitioner,
    )


def beside(info: ShardInfo, split: Split, replica: ReplicaId) -> ReplicaId | None:
    """The new shard's replica on the node where `replica` of the shard that splits lives."""
    mine = find(info.membership, replica)
    return next((own.replica for own in split.members.voters if mine is not None and _same_home(own, mine)), None)


def _same_home(one: Member, other: Member) -> bool:
    return (one.node, one.incarnation) == (other.node, other.incarnation)
