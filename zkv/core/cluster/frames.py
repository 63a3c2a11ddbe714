"""The frames between clients and nodes, and between nodes: all that one turn has for one receiver."""

from typing import Annotated

import msgspec

from zkv import limits
from zkv.core.message import Message
from zkv.core.raft.messages import RaftMessage
from zkv.core.shard.commands import Answer, Group
from zkv.core.shard.merge_messages import MergeMessage
from zkv.core.shard.snapshot_messages import SnapshotMessage
from zkv.ids import NodeId, ReplicaId, ShardId

Cluster = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Requests(Message, tag=1, frozen=True, gc=False):
    """Client to node: all that it asks of that node in one turn. `map_version`: of the client's map.

    `forwarding` False: answer NOT_LEADER instead of passing a group on.
    """

    cluster: Cluster
    map_version: int
    groups: Annotated[tuple[Group, ...], msgspec.Meta(max_length=limits.FRAME_GROUPS_MAX)]
    forwarding: bool = True


class Answers(Message, tag=2, frozen=True, gc=False):
    """Node to client: all that it answers that client in one turn, each by its group's id. `node` is who answers."""

    map_version: int
    node: NodeId
    answers: tuple[Answer, ...]


class Forward(Message, tag=25, frozen=True, gc=False):
    """Node to the leader's node: groups of a client of mine. Never passed on again."""

    origin: bytes  # the sender's name for the client's connection
    map_version: int
    groups: Annotated[tuple[Group, ...], msgspec.Meta(max_length=limits.FRAME_GROUPS_MAX)]


class Forwarded(Message, tag=26, frozen=True, gc=False):
    """The answers to a Forward, back to the node that sent it."""

    origin: bytes
    answers: tuple[Answer, ...]


class Dismissed(Message, tag=27, frozen=True, gc=False):
    """Leader to a replica that its group has removed, and that has not heard of it: delete yourself (rule 22).

    `version`: of the members that the leader has applied, `target` not among them.
    """

    shard: ShardId
    sender: ReplicaId
    target: ReplicaId
    version: int


PeerMessage = RaftMessage | Forward | Forwarded | SnapshotMessage | Dismissed | MergeMessage


class Peers(Message, tag=3, frozen=True, gc=False):
    """Node to node: all that one turn has for that peer.

    Dropped unless `cluster` and `incarnation` (of the receiver's data folder; rule 1) are the receiver's own.
    `lane`: the link that it came over, 0 for messages, 1 for snapshots. `sent_ms`: the sender's clock. `heard_ms`: of
    each lane, the receiver's own stamp on the last frame that arrived, given back (`zkv.core.node.links`).
    `protocol`: the sender's version; who is too far from it listens to none of `messages`.
    """

    cluster: Cluster
    sender: NodeId
    incarnation: int
    messages: tuple[PeerMessage, ...]
    lane: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0
    sent_ms: int = 0
    heard_ms: tuple[int, int] = (0, 0)
    protocol: int = 1
