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


class NodeDuty(IntEnum):
    """What a node is there for, as its operator said; the number is the wire format."""

    SERVING = 0
    DRAINING = 1  # it is to hold nothing; it serves what it holds until that has moved
    REMOVED = 2  # it is gone for good; it leaves the map once nothing of it is a member of anything


class TableInfo(Message, frozen=True, gc=False):
    """A named keyspace. `nonce` is its creator's: a repeated creation by the same caller is recognised."""

    table: TableId
    name: Name
    partitioner: Partitioner
    replicas: int
    nonce: int = 0


class NodeInfo(Message, frozen=True, gc=False):
    """A node. `incarnation` names its data folder; `weight` is its share, `zone` its failure domain.

    `heir`: who gets what a leaving node holds ("": whoever has room). `fixed_weight`, `fixed_zone`: set by an operator;
    what the node says of itself does not count.
    """

    node: NodeId
    address: Address
    incarnation: int
    state: NodeState = NodeState.UP
    zone: str = ""
    weight: float = 1.0
    duty: NodeDuty = NodeDuty.SERVING
    heir: NodeId = NodeId("")
    fixed_weight: bool = False
    fixed_zone: bool = False

    @property
    def receives(self) -> bool:
        """Whether it may be given replicas."""
        return self.state == NodeState.UP and self.duty == NodeDuty.SERVING


class Tuning(Message, frozen=True, gc=False):
    """How the cluster changes by itself."""

    balance: bool = True  # a node that joined gets its share
    grace_ms: int = 60_000  # a node that is silent for longer is given up: its replicas are rebuilt elsewhere
    moves_per_node: int = 2  # so many replicas at once come to a node, or leave it
    bytes_per_s: int = 64 * 1024 * 1024  # of snapshots, from each node; 0: as fast as it goes


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
    tuning: Tuning | None = None


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
    tuning: Tuning = Tuning()


class Beacon(Message, tag=32, frozen=True, gc=False):
    """Broadcast while nothing changes, and on each subscription: who is behind `version` missed something."""

    incarnation: int
    version: int
