"""What clients, nodes and coordinators say to one another beside shard requests.

A coordinator answers on its ROUTER; a node speaks to it over one DEALER. The broadcast carries MapDelta and Beacon.
"""

from typing import Annotated

from msgspec import Meta

from zkv import limits
from zkv.core.cluster.shardmap import Address, MapSnapshot, Name, Partitioner
from zkv.core.message import Message
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.merge import Merge
from zkv.core.shard.split import Split
from zkv.ids import NodeId, ReplicaId, ShardId


class Hello(Message, tag=40, frozen=True, gc=False):
    """First word of a client to a node or a coordinator. `cluster` 0: not known yet."""

    id: int
    protocol: int
    cluster: int


class Welcome(Message, tag=41, frozen=True, gc=False):
    """Answer to Hello. `node` is the id of who answers, `role` "node" or "coordinator"."""

    id: int
    protocol: int
    cluster: int
    node: str
    role: str
    map_version: int


class MapRequest(Message, tag=42, frozen=True, gc=False):
    """To a coordinator or a node: the whole map, please."""

    id: int


class MapAnswer(Message, tag=43, frozen=True, gc=False):
    """The whole map as the answerer holds it."""

    id: int
    map: MapSnapshot


class CreateTable(Message, tag=44, frozen=True, gc=False):
    """Client to coordinator. Idempotent by `nonce`.

    `shards` 0: the default; `splits` (range tables only): where the first shards part.
    """

    id: int
    nonce: int
    name: Name
    partitioner: Partitioner
    replicas: Annotated[int, Meta(ge=1, le=limits.REPLICAS_MAX)]
    shards: Annotated[int, Meta(ge=0, le=limits.SHARDS_PER_TABLE_MAX)]
    splits: tuple[bytes, ...] = ()


class DropTable(Message, tag=45, frozen=True, gc=False):
    """Client to coordinator: drop the table and its rows."""

    id: int
    name: Name


class AdminDone(Message, tag=46, frozen=True, gc=False):
    """Answer to an admin request; the change is in the map from `version` on."""

    id: int
    version: int


class AdminRefused(Message, tag=47, frozen=True, gc=False):
    """Answer to an admin request that was not done. `error` names a class of zkv.errors, `what` is its first words."""

    id: int
    error: str
    what: str
    effect: int


class StatusRequest(Message, tag=48, frozen=True, gc=False):
    """Client to a node or a coordinator: its figures."""

    id: int


class StatusAnswer(Message, tag=49, frozen=True, gc=False):
    """Figures by name, as a msgpack map of str -> int | float | str | map | list (no schema: for people and tests)."""

    id: int
    figures: bytes


class TransferLeader(Message, tag=50, frozen=True, gc=False):
    """Coordinator (as an order) to the node that leads `shard`: hand it to `target`."""

    shard: ShardId
    target: ReplicaId


class ChangeNode(Message, tag=51, frozen=True, gc=False):
    """Client to coordinator: what becomes of a node. Done once the map says so; what it calls for follows.

    `action`: "drain" (it is to hold nothing), "undrain", "remove" (it is gone for good), "replace" (all that it holds
    goes to `heir`), "set" (`weight`, unless 0, and `zone`, unless None). `plan`: of a PlanAnswer; if what it was made
    from has changed since, nothing is done. 0: whatever it comes to.
    """

    id: int
    node: NodeId
    action: Annotated[str, Meta(pattern="^(drain|undrain|remove|replace|set)$")]
    heir: NodeId = NodeId("")
    weight: float = 0.0
    zone: str | None = None
    plan: int = 0


class CancelOperator(Message, tag=52, frozen=True, gc=False):
    """Client to coordinator: this plan is not to be; what it has done so far is taken back.

    Of a split or a merge, whose shard decides: done once it is called off, which may turn out to have been too late.
    """

    id: int
    operator: int


class ChangeTuning(Message, tag=53, frozen=True, gc=False):
    """Client to coordinator: how the cluster is to change by itself from now on. None: as it is."""

    id: int
    balance: bool | None = None
    grace_ms: Annotated[int, Meta(ge=0, le=limits.GRACE_MS_MAX)] | None = None
    moves_per_node: Annotated[int, Meta(ge=1, le=limits.MOVES_PER_NODE_MAX)] | None = None
    bytes_per_s: Annotated[int, Meta(ge=0)] | None = None  # 0, or SNAPSHOT_RATE_BYTES_MIN and more


class SplitTable(Message, tag=57, frozen=True, gc=False):
    """Client to coordinator: the shard that has the key `at` is to end there, and another to begin."""

    id: int
    name: Name
    at: Annotated[bytes, Meta(min_length=1, max_length=limits.KEY_BYTES_MAX)]


class MergeTable(Message, tag=86, frozen=True, gc=False):
    """Client to coordinator: the shard that begins at the key `at` is to become part of the one that ends there."""

    id: int
    name: Name
    at: Annotated[bytes, Meta(min_length=1, max_length=limits.KEY_BYTES_MAX)]


class TuneMerges(Message, tag=87, frozen=True, gc=False):
    """Client to coordinator: a shard of more than so many bytes is not merged; 0: none is by itself.

    `cold_ms`: neighbours that have been small and cold for so long are. -1, of either: as it is.
    """

    id: int
    bytes: Annotated[int, Meta(ge=-1)]
    cold_ms: Annotated[int, Meta(ge=-1)] = -1


class PlanRequest(Message, tag=54, frozen=True, gc=False):
    """Client to coordinator: what would `change` move? Nothing is done."""

    id: int
    change: ChangeNode


class PlannedMove(Message, frozen=True, gc=False):
    """One replica that would move. `target` "": there is nowhere to put it."""

    shard: ShardId
    source: NodeId
    target: NodeId
    why: str


class PlanAnswer(Message, tag=55, frozen=True, gc=False):
    """What the change would move as things stand. `plan` names that standing, for ChangeNode."""

    id: int
    version: int
    plan: int
    moves: tuple[PlannedMove, ...]


class ShardReport(Message, frozen=True, gc=False):
    """One replica as its node sees it; `info` is its replicated descriptor, with leader and term as known there."""

    replica: ReplicaId
    info: ShardInfo
    leading: bool
    applied: int
    rows: int  # -1: not counted
    bytes: int
    matches: tuple[tuple[ReplicaId, int], ...] = ()  # of a leader: each member and the last index that it holds
    last_index: int = 0


class Register(Message, tag=60, frozen=True, gc=False):
    """Node to coordinator at start and after each loss of contact. `cluster` 0: a new folder that joins."""

    node: NodeId
    incarnation: int
    cluster: int
    address: Address
    zone: str
    weight: float
    protocol: int
    reports: tuple[ShardReport, ...]


class Registered(Message, tag=61, frozen=True, gc=False):
    """Coordinator to node: you are known; here is the map and where it is published."""

    cluster: int
    map: MapSnapshot
    protocol: int = 1


class RegisterRefused(Message, tag=62, frozen=True, gc=False):
    """Coordinator to node: wrong cluster, wrong version, or the id is in use. The node stops with `what`.

    It never changes, so that nodes of all versions understand it.
    """

    what: str


class Alive(Message, tag=63, frozen=True, gc=False):
    """Node to coordinator, every limits.REGISTER_MS; reports only of what changed since the last one that was heard."""

    node: NodeId
    incarnation: int
    number: int  # counts this node's messages; comes back in Heard
    reports: tuple[ShardReport, ...] = ()


_Key = bytes  # within the class that name is a field's


class ShardSize(Message, frozen=True, gc=False):
    """How large a shard was when its leader last counted: keys and values, and a partition key near the middle.

    `bytes` -1: not counted in this range yet; `requests`: operations a second lately, -1: not known yet. `sampled`: of
    so many of them the keys are known, 0: of too few; `halves` parts those about evenly; b"": no key does.
    """

    shard: ShardId
    range_version: int
    middle: bytes
    bytes: int
    requests: int = -1
    sampled: int = 0
    halves: _Key = b""


class ShardSizes(Message, tag=58, frozen=True, gc=False):
    """Node to coordinator, now and then: of the shards of range tables that it leads. Protocol version 2."""

    node: NodeId
    sizes: tuple[ShardSize, ...]


class TuneSplits(Message, tag=59, frozen=True, gc=False):
    """Client to coordinator: shards of range tables above so many bytes are split; 0: none by itself.

    `requests`: those that are asked more often a second, for `hot_ms`, likewise. -1, of any: as it is.
    """

    id: int
    bytes: Annotated[int, Meta(ge=-1)]  # or SPLIT_BYTES_MIN and more
    requests: Annotated[int, Meta(ge=-1)] = -1
    hot_ms: Annotated[int, Meta(ge=-1)] = -1


class Heard(Message, tag=64, frozen=True, gc=False):
    """Coordinator to node: your reports up to `number` are taken. `known` False: register again."""

    number: int
    known: bool


class CreateReplica(Message, tag=65, frozen=True, gc=False):
    """Order: hold this replica of a new shard; valid once, while the map says CREATING (rule 1)."""

    incarnation: int
    replica: ReplicaId
    info: ShardInfo


class DropShard(Message, tag=66, frozen=True, gc=False):
    """Order: the shard's table is dropped; delete the replica and its rows."""

    incarnation: int
    shard: ShardId
    replica: ReplicaId


class ChangeMember(Message, tag=67, frozen=True, gc=False):
    """Order to a leader: one step of membership, only if the membership version is still `expected` (rule 24).

    `action`: "learn" adds `member` as a learner, "promote" makes it a voter (refused until it has caught up), "remove"
    takes it out (refused if no quorum of live, caught-up voters would be left, or fewer such voters than `kept`).
    "renew" leaves all as they are, under the next version: what was planned for this one can never happen then.
    """

    shard: ShardId
    expected: int
    action: Annotated[str, Meta(pattern="^(learn|promote|remove|renew)$")]
    member: Member
    kept: int = 0


class DismissReplica(Message, tag=69, frozen=True, gc=False):
    """Order to a leader: `member` still has a replica of a time before; if it is no member, tell it so (rule 22)."""

    shard: ShardId
    member: Member


class SplitShard(Message, tag=56, frozen=True, gc=False):
    """Order to a leader: split the shard as the entry says, unless it has changed since (rule 24).

    `split` is the entry's payload, a Split.
    """

    shard: ShardId
    split: Split


class MergeShard(Message, tag=85, frozen=True, gc=False):
    """Order to the leader of the target: take that shard in, unless either has changed since (rules 23, 24).

    `abandon`: no more; if it is not settled by now, it is to come to nothing.
    """

    merge: Merge
    abandon: bool = False


Order = CreateReplica | DropShard | ChangeMember | TransferLeader | DismissReplica | SplitShard | MergeShard


class Dropped(Message, tag=68, frozen=True, gc=False):
    """Node to coordinator: the replica and its rows are gone (or never were)."""

    node: NodeId
    shard: ShardId
    replica: ReplicaId
