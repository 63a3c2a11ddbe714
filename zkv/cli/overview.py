"""What the cluster is at a glance: the shard map and every node's own figures, put together as rows to show."""

from dataclasses import dataclass

import msgspec

import zkv
from zkv.core.cluster.figures import below_replica_count, live_voters
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.partition import HASH_SLOTS, SLOT_BYTES
from zkv.core.cluster.shardmap import NodeDuty, NodeInfo, NodeState, Partitioner, TableInfo
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import ShardId

Row = dict[str, object]


class ReplicaFigures(msgspec.Struct, frozen=True):
    """One replica as its node tells of it. `rows` -1: not counted yet."""

    role: str
    term: int
    rows: int = -1
    bytes: int = -1


class TransferFigures(msgspec.Struct, frozen=True):
    """A snapshot that a node sends; `of` is an estimate."""

    shard: ShardId
    to: str
    bytes: int
    of: int
    bytes_per_s: int = 0
    sent: bool = True


class Operator(msgspec.Struct, frozen=True):
    """One line of a coordinator's list of what is under way."""

    kind: str
    shard: ShardId
    step: str
    on: str | None
    why: str
    id: int
    source: str | None


class NodeLoad(msgspec.Struct, frozen=True):
    """What a node has of all range tables, as of the last decision to even them out."""

    bytes: int
    bytes_in_shares: float
    bytes_off: bool
    requests: int
    requests_in_shares: float
    requests_off: bool


class ShardLoad(msgspec.Struct, frozen=True):
    """How often a shard of a range table is asked, a second: lately, and over a long time; how long it stays yet."""

    requests: float
    steady: float
    stays_ms: int = 0


class CoordinatorFigures(msgspec.Struct, frozen=True):
    """What a coordinator tells, as far as it is shown."""

    leading: bool = False
    operators: tuple[Operator, ...] = ()
    nodes: tuple[dict[str, object], ...] = ()
    tuning: dict[str, object] = {}
    evenness: dict[str, NodeLoad] = {}
    asked: dict[str, ShardLoad] = {}
    hot_above: float = 0.0
    hot_keys: tuple[int, ...] = ()


class NodeFigures(msgspec.Struct, frozen=True):
    """What a node tells of itself, as far as it is shown."""

    shards: dict[str, ReplicaFigures] = {}
    memory_bytes: int = 0
    log_bytes: int = 0
    engine_bytes: int = 0
    reads_per_s: int = 0
    writes_per_s: int = 0
    disk_full: bool = False
    transfers: tuple[TransferFigures, ...] = ()


@dataclass(frozen=True)
class Overview:
    """The map, the figures of each node that answered, the names of coordinators that did and of nodes that did not."""

    map: ShardMap
    figures: dict[str, NodeFigures]
    coordinators: list[str]
    silent: list[str]
    coordinator: CoordinatorFigures  # of the one that leads; empty if none answered

    @property
    def below(self) -> list[ShardId]:
        """The shards with fewer live voters than their table wants."""
        return below_replica_count(self.map)

    def node_rows(self) -> list[Row]:
        """A row for each node of the map."""
        return [self._node_row(node) for _, node in sorted(self.map.nodes.items())]

    def shard_rows(self, table: str | None = None) -> list[Row]:
        """A row for each shard, in the order of tables and ranges."""
        wanted = [info for _, info in sorted(self.map.tables.items()) if table is None or info.name == table]
        return [self._shard_row(info, shard) for info in wanted for shard in self.map.shards_of(info.table)]

    def table_rows(self) -> list[Row]:
        """A row for each table."""
        return [self._table_row(info) for _, info in sorted(self.map.named.items())]

    def keys_of(self, shard: ShardInfo) -> int | None:
        """Rows by the count of the shard's leader; None if there is none, or it has not counted yet."""
        leader = shard.leading()
        told = self.figures.get(leader.node) if leader is not None else None
        replica = told.shards.get(str(shard.shard)) if told is not None else None
        return replica.rows if replica is not None and replica.rows >= 0 else None

    def bytes_of(self, shard: ShardId) -> int | None:
        """What the shard's rows take, once; None if nobody has counted them yet."""
        told = [one.shards[str(shard)].bytes for one in self.figures.values() if str(shard) in one.shards]
        return max(told) if told and max(told) >= 0 else None

    def operator_rows(self) -> list[Row]:
        """What is under way, by the word of the coordinator that leads."""
        return [self._operator_row(operator) for operator in self.coordinator.operators]

    def load_of(self, node: str) -> NodeLoad | None:
        """What the node has of range tables; None where they were not evened out yet."""
        return self.coordinator.evenness.get(node)

    def asked_of(self, shard: ShardId) -> ShardLoad | None:
        """How often the shard is asked; None: of a hash table, or nobody has said."""
        return self.coordinator.asked.get(str(shard))

    def bound(self, name: str) -> int | None:
        """One of `core.cluster.commands.Bounds`; None: no coordinator has said."""
        told = self.coordinator.tuning.get(name)
        return told if isinstance(told, int) else None

    def silent_ms(self, node: str) -> int | None:
        """Since when the coordinator has not heard the node; None if it never has."""
        told = next((one.get("heard_ms_ago") for one in self.coordinator.nodes if one.get("node") == node), None)
        return told if isinstance(told, int) else None

    def _operator_row(self, operator: Operator) -> Row:
        streams = [
            stream
            for one in self.figures.values()
            for stream in one.transfers
            if stream.sent and (stream.shard, stream.to) == (operator.shard, operator.on)
        ]
        stream = streams[0] if streams else None
        return {
            "id": operator.id,
            "kind": operator.kind,
            "shard": operator.shard,
            "from": operator.source,
            "to": operator.on,
            "step": operator.step,
            "bytes": stream.bytes if stream else None,
            "of": stream.of if stream else None,
            "bytes_per_s": stream.bytes_per_s if stream else None,
            "why": operator.why,
        }

    def totals(self) -> Row:
        """The cluster in a few numbers."""
        nodes, shards, told = self.map.nodes.values(), self.map.shards.values(), self.figures.values()
        counts = [self.keys_of(shard) for shard in shards]
        return {
            "cluster": f"{self.map.cluster:x}",
            "map_version": self.map.version,
            "coordinators": list(self.map.coordinators),
            "coordinators_heard": self.coordinators,
            "nodes_up": sum(node.state == NodeState.UP for node in nodes),
            "nodes_down": sum(node.state == NodeState.DOWN for node in nodes),
            "tables": len(self.map.tables),
            "shards": len(self.map.shards),
            "shards_without_leader": [shard.shard for shard in shards if shard.leading() is None],
            "shards_below_replicas": self.below,
            "keys": sum(count or 0 for count in counts),
            "shards_not_counted": counts.count(None),
            "disk_bytes": sum(one.log_bytes + one.engine_bytes for one in told),
            "memory_bytes": sum(one.memory_bytes for one in told),
            "reads_per_s": sum(one.reads_per_s for one in told),
            "writes_per_s": sum(one.writes_per_s for one in told),
            "disks_full": sorted(name for name, one in self.figures.items() if one and one.disk_full),
            "silent": self.silent,
        }

    def _node_row(self, node: NodeInfo) -> Row:
        told = self.figures.get(node.node)
        shards = self.map.shards.values()
        leading = [member for shard in shards if (member := shard.leading()) is not None]
        members = [m for shard in shards for m in (*shard.membership.voters, *shard.membership.learners)]
        held = sum(member.node == node.node for member in members)
        return {
            "id": node.node,
            "state": node.state.name.lower(),
            "duty": "drained" if node.duty == NodeDuty.DRAINING and not held else node.duty.name.lower(),
            "address": node.address,
            "zone": node.zone,
            "weight": node.weight,
            "leaders": sum(member.node == node.node for member in leading),
            "shards": held,
            "bytes": sum(max(one.bytes, 0) for one in told.shards.values()) if told else None,
            "reads_per_s": told.reads_per_s if told else None,
            "writes_per_s": told.writes_per_s if told else None,
            "disk_bytes": told.log_bytes + told.engine_bytes if told else None,
            "memory_bytes": told.memory_bytes if told else None,
            "disk_full": told.disk_full if told else None,
        }

    def _shard_row(self, table: TableInfo, shard: ShardInfo) -> Row:
        leader = shard.leading()
        return {
            "shard": shard.shard,
            "table": table.name,
            "range": range_text(table.partitioner, shard),
            "leader": leader.node if leader is not None else None,
            "replicas": [voter.node for voter in shard.membership.voters],
            "learners": [learner.node for learner in shard.membership.learners],
            "live": live_voters(self.map, shard),
            "wanted": table.replicas,
            "term": shard.term,
            "epoch": [shard.range_version, shard.membership.version],
            "state": shard.state.name.lower(),
            "keys": self.keys_of(shard),
        }

    def _table_row(self, table: TableInfo) -> Row:
        shards = self.map.shards_of(table.table)
        counts = [self.keys_of(shard) for shard in shards]
        return {
            "table": table.name,
            "partitioner": table.partitioner.name.lower(),
            "replicas": table.replicas,
            "shards": len(shards),
            "led": sum(shard.leading() is not None for shard in shards),
            "below_replicas": sum(shard.shard in self.below for shard in shards),
            "keys": None if None in counts else sum(count or 0 for count in counts),
        }


def look(client: zkv.Client) -> Overview:
    """Ask everybody, once."""
    told = client.status()
    shard_map = ShardMap(client.shard_map())
    figures = {name: msgspec.convert(one, NodeFigures) for name, one in told.items() if one and name in shard_map.nodes}
    group = {name: one for name, one in told.items() if one and one.get("role") == "coordinator"}
    coordinators = sorted(group, key=lambda name: (not group[name].get("leading"), name))  # who leads is the first
    leading = (one for one in group.values() if one.get("leading"))
    coordinator = msgspec.convert(next(leading, {}), CoordinatorFigures)
    silent = sorted(name for name, one in told.items() if one is None)
    return Overview(shard_map, figures, coordinators, silent, coordinator)


def range_text(partitioner: Partitioner, shard: ShardInfo) -> str:
    """The shard's range: slots of a hash table, keys of a range table; the end is not in it."""
    if partitioner == Partitioner.HASH:
        last = _slot(shard.end) - 1 if shard.end else HASH_SLOTS - 1
        return f"slots {_slot(shard.start)}-{last}"
    return f"{_bound(shard.start)} .. {_bound(shard.end)}"


def _slot(partition_key: bytes) -> int:
    return int.from_bytes(partition_key[:SLOT_BYTES].ljust(SLOT_BYTES, b"\0"), "big")


def _bound(key: bytes) -> str:
    return repr(key.decode(errors="backslashreplace")) if key else ""
