"""The shard map: tables, nodes and shards; each change has the next version."""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from zkv import limits
from zkv.core.message import Message
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId, ShardId, TableId

Name = Annotated[str, Meta(min_length=1, max_length=limits.TABLE_NAME_CHARACTERS_MAX, pattern=r"^[A-Za-z0-9_.\-]+$")]
Address = Annotated[str, Meta(min_length=3, max_length=256)]  # HOST:PORT


class Partitioner(IntEnum):
    """How a table's keys become partition keys; the number is the wire format."""

    HASH = 0
    RANGE = 1


class NodeState(IntEnum):
    """What the coordinator believes of a node."""

    UP = 0
    DOWN = 1


class TableInfo(Message, frozen=True, gc=False):
    """A named keyspace. `nonce` is its creator's: a repeated creation by the same caller is recognised."""

    table: TableId
    name: Name
    partitioner: Partitioner
    replicas: int
    nonce: int = 0


class NodeInfo(Message, frozen=True, gc=False):
    """A node. `incarnation` names its data folder; `weight` is its share, `zone` its failure domain."""

    node: NodeId
    address: Address
    incarnation: int
    state: NodeState = NodeState.UP
    zone: str = ""
    weight: float = 1.0


class MapDelta(Message, tag=30, frozen=True, gc=False):
    """What changed from `version` - 1 to `version`. Published only once it is durable (rule 24).

    `incarnation` names the coordinators' group: versions of two groups are not comparable.
    """

    incarnation: int
    version: int
    tables: tuple[TableInfo, ...] = ()
    nodes: tuple[NodeInfo, ...] = ()
    shards: tuple[ShardInfo, ...] = ()
    dropped_tables: tuple[TableId, ...] = ()
    dropped_nodes: tuple[NodeId, ...] = ()
    dropped_shards: tuple[ShardId, ...] = ()


class MapSnapshot(Message, tag=31, frozen=True, gc=False):
    """The whole map at `version`. `coordinators`: where the group takes requests; `publishers`: its broadcasts."""

    incarnation: int
    version: int
    cluster: int
    coordinators: tuple[str, ...]
    publishers: tuple[str, ...]
    tables: tuple[TableInfo, ...]
    nodes: tuple[NodeInfo, ...]
    shards: tuple[ShardInfo, ...]


class Beacon(Message, tag=32, frozen=True, gc=False):
    """Broadcast while nothing changes, and on each subscription: who is behind `version` missed something."""

    incarnation: int
    version: int
