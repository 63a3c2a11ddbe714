"""What the coordinators' log holds: deltas of the map, and what only the coordinators keep beside it.

Every entry is one MapCommand, so the log is a log of deltas; a command whose delta does not follow the map's version
has no effect, so that two leaders' commands never mix. All of it lives in the state engine as rows under b"c".
"""

from typing import Final, NamedTuple

import msgspec

from zkv import limits
from zkv.core.cluster.group import CoordinatorInfo
from zkv.core.cluster.mapstate import ShardMap, kept
from zkv.core.cluster.merges import MergePlan
from zkv.core.cluster.operators import ReplaceReplica
from zkv.core.cluster.shardmap import MapDelta, MapSnapshot, NodeInfo, Partitioner, TableInfo, Tuning
from zkv.core.cluster.splits import SplitPlan
from zkv.core.message import Message
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.rows import Changes, Rows, numbered_key
from zkv.errors import BadFrame
from zkv.ids import NodeId, TableId

_META: Final = b"cm"
_TUNING: Final = b"cu"
_GROUP: Final = b"cc"
_TABLE, _NODE, _SHARD, _OPERATOR, _SETTINGS, _SPLIT = b"ct", b"cn", b"cs", b"co", b"cg", b"cp"
_MERGE: Final = b"cj"
_START, _END = b"c", b"d"


class Bounds(NamedTuple):
    """When shards of range tables split and merge by themselves.

    `split_bytes`, `split_requests` (a second): one that has more, or is asked more often, is split; 0: none is.
    `merge_bytes`: one that has more is not merged into another; 0: none is by itself. `cold_ms`: neighbours that have
    been small and cold for so long are merged. `hot_ms`: for how long a shard must be asked too often.
    """

    split_bytes: int = limits.SPLIT_BYTES
    split_requests: int = limits.SPLIT_REQUESTS
    merge_bytes: int = limits.MERGE_BYTES
    cold_ms: int = limits.COLD_MS
    hot_ms: int = limits.HOT_MS


_BOUNDS: Final = {
    b"cb": "split_bytes",
    b"cq": "split_requests",
    b"ce": "merge_bytes",
    b"cy": "cold_ms",
    b"cw": "hot_ms",
}


class Counters(Message, frozen=True, gc=False):
    """The next id of each kind; ids are never used twice (rule 1)."""

    table: int = 1
    shard: int = 1  # 0 is the coordinators' own group
    replica: int = 1
    operator: int = 1


class TableSettings(Message, frozen=True, gc=False):
    """How a table was asked for, so that a repeated creation is recognised; kept a while after a drop."""

    table: TableId
    name: str
    nonce: int
    partitioner: Partitioner
    replicas: int
    shards: int
    splits: tuple[bytes, ...]
    dropped: bool = False


class MapCommand(Message, frozen=True, gc=False):
    """One entry of the coordinators' log. `cluster` is set by the first alone; `counters` are those from now on.

    Those of `Bounds` that are not None are so from now on.
    """

    delta: MapDelta
    counters: Counters
    cluster: int = 0
    operators: tuple[ReplaceReplica, ...] = ()
    finished: tuple[int, ...] = ()  # operators that are done
    settings: tuple[TableSettings, ...] = ()
    forgotten: tuple[TableId, ...] = ()  # settings of tables dropped long ago
    splits: tuple[SplitPlan, ...] = ()
    parted: tuple[int, ...] = ()  # splits that are done
    coordinators: tuple[CoordinatorInfo, ...] = ()  # all that are wanted from now on; (): as before
    split_bytes: int | None = None
    merges: tuple[MergePlan, ...] = ()
    joined: tuple[int, ...] = ()  # merges that are done, or have come to nothing
    merge_bytes: int | None = None
    split_requests: int | None = None
    cold_ms: int | None = None
    hot_ms: int | None = None

    def bounds(self) -> dict[str, int]:
        """Those that change, by name."""
        found = {name: getattr(self, name) for name in _BOUNDS.values()}
        return {name: value for name, value in found.items() if value is not None}


class _Meta(Message, frozen=True, gc=False):
    incarnation: int
    version: int
    cluster: int
    counters: Counters


encode: Final = msgspec.msgpack.Encoder().encode
_command = msgspec.msgpack.Decoder(MapCommand)
_meta = msgspec.msgpack.Decoder(_Meta)
_table = msgspec.msgpack.Decoder(TableInfo)
_node = msgspec.msgpack.Decoder(NodeInfo)
_shard = msgspec.msgpack.Decoder(ShardInfo)
_operator = msgspec.msgpack.Decoder(ReplaceReplica)
_settings = msgspec.msgpack.Decoder(TableSettings)
_split = msgspec.msgpack.Decoder(SplitPlan)
_merge = msgspec.msgpack.Decoder(MergePlan)
_tuning = msgspec.msgpack.Decoder(Tuning)
_group = msgspec.msgpack.Decoder(tuple[CoordinatorInfo, ...])


def decode_command(payload: bytes) -> MapCommand:
    """The command in an entry's payload. Raises BadFrame for anything else."""
    try:
        return _command.decode(payload)
    except ValueError as error:
        raise BadFrame(str(error)) from error


class CoordinatorState:
    """The map, the counters, the operators, the splits and the tables' settings, as of the last applied command.

    Version 0 is before the first command, which makes the cluster's id and the group's incarnation. Every replica of
    the coordinators' group that applied the same commands holds the same state.
    """

    def __init__(self) -> None:
        self.map = ShardMap(MapSnapshot(0, 0, 0, (), (), (), (), ()))
        self.counters = Counters()
        self.operators: dict[int, ReplaceReplica] = {}
        self.settings: dict[TableId, TableSettings] = {}
        self.splits: dict[int, SplitPlan] = {}
        self.coordinators: dict[NodeId, CoordinatorInfo] = {}  # who is to be in the group
        self.merges: dict[int, MergePlan] = {}
        self.bounds = Bounds()

    @classmethod
    def load(cls, rows: Rows) -> "CoordinatorState":
        """The state that the rows hold. Raises ValueError where the engine holds something else."""
        state = cls()
        tables: list[TableInfo] = []
        nodes: list[NodeInfo] = []
        shards: list[ShardInfo] = []
        meta, tuning = _Meta(0, 0, 0, Counters()), Tuning()
        bounds: dict[str, int] = {}
        for key, value in rows.scan(_START, _END):
            match key[:2]:
                case b"cm":
                    meta = _meta.decode(value)
                case kind if kind in _BOUNDS:
                    bounds[_BOUNDS[kind]] = int.from_bytes(value, "big")
                case b"cj":
                    merge = _merge.decode(value)
                    state.merges[merge.id] = merge
                case b"cu":
                    tuning = _tuning.decode(value)
                case b"cc":
                    state.coordinators = {info.name: info for info in _group.decode(value)}
                case b"ct":
                    tables.append(_table.decode(value))
                case b"cn":
                    nodes.append(_node.decode(value))
                case b"cs":
                    shards.append(_shard.decode(value))
                case b"co":
                    operator = _operator.decode(value)
                    state.operators[operator.id] = operator
                case b"cg":
                    settings = _settings.decode(value)
                    state.settings[settings.table] = settings
                case b"cp":
                    split = _split.decode(value)
                    state.splits[split.id] = split
                case kind:
                    raise ValueError(f"a row of the coordinator of unknown kind {kind!r}")
        everything = (tuple(tables), tuple(nodes), tuple(shards), tuning)
        state.map = ShardMap(MapSnapshot(meta.incarnation, meta.version, meta.cluster, (), (), *everything))
        state.counters = meta.counters
        state.bounds = Bounds(**bounds)
        state._locate()
        return state

    def become(self, other: "CoordinatorState") -> None:
        """Hold what the other holds, which is held by nobody else: a snapshot has brought it."""
        if not other.coordinators:  # of a group whose first command is still to come
            other.map.coordinators, other.map.publishers = self.map.coordinators, self.map.publishers
        vars(self).update(vars(other))

    def follows(self, command: MapCommand) -> bool:
        """Whether the command takes effect now: it follows this version, of the same group or as the very first."""
        delta = command.delta
        same_group = delta.incarnation == self.map.incarnation
        return delta.version == self.map.version + 1 and (same_group or self.map.version == 0)

    def apply(self, command: MapCommand) -> bool:
        """Take the command's effect; False, and nothing changes, if it does not follow."""
        if not self.follows(command):
            return False
        if self.map.version == 0:
            self.map.incarnation = command.delta.incarnation
            self.map.cluster = command.cluster
        self.map.apply(command.delta)
        self.counters = command.counters
        for operator in command.operators:
            self.operators[operator.id] = operator
        for done in command.finished:
            self.operators.pop(done, None)
        for settings in command.settings:
            self.settings[settings.table] = settings
        for table in command.forgotten:
            self.settings.pop(table, None)
        for split in command.splits:
            self.splits[split.id] = split
        for done in command.parted:
            self.splits.pop(done, None)
        if command.coordinators:
            self.coordinators = {info.name: info for info in command.coordinators}
            self._locate()
        for merge in command.merges:
            self.merges[merge.id] = merge
        for done in command.joined:
            self.merges.pop(done, None)
        self.bounds = self.bounds._replace(**command.bounds())
        return True

    def _locate(self) -> None:
        """The map says where the coordinators are."""
        if self.coordinators:
            self.map.coordinators = tuple(info.address for info in self.coordinators.values())
            self.map.publishers = tuple(info.publish for info in self.coordinators.values())

    def changes(self, command: MapCommand) -> Changes:
        """The rows that the command changes, seen from the state before it; none if it has no effect."""
        if not self.follows(command):
            return {}
        delta = command.delta
        cluster = command.cluster if self.map.version == 0 else self.map.cluster
        changes: Changes = {_META: encode(_Meta(delta.incarnation, delta.version, cluster, command.counters))}
        if delta.tuning is not None:
            changes[_TUNING] = encode(delta.tuning)
        changes.update((numbered_key(_TABLE, info.table), encode(info)) for info in delta.tables)
        changes.update((_NODE + info.node.encode(), encode(info)) for info in delta.nodes)
        held = self.map.shards
        shards = (kept(info, held.get(info.shard, info)) for info in delta.shards)
        changes.update((numbered_key(_SHARD, info.shard), encode(info)) for info in shards)
        changes.update((numbered_key(_TABLE, table), None) for table in delta.dropped_tables)
        changes.update((_NODE + node.encode(), None) for node in delta.dropped_nodes)
        changes.update((numbered_key(_SHARD, shard), None) for shard in delta.dropped_shards)
        changes.update((numbered_key(_OPERATOR, plan.id), encode(plan)) for plan in command.operators)
        changes.update((numbered_key(_OPERATOR, number), None) for number in command.finished)
        changes.update((numbered_key(_SETTINGS, own.table), encode(own)) for own in command.settings)
        changes.update((numbered_key(_SETTINGS, table), None) for table in command.forgotten)
        changes.update((numbered_key(_SPLIT, split.id), encode(split)) for split in command.splits)
        changes.update((numbered_key(_SPLIT, number), None) for number in command.parted)
        if command.coordinators:
            changes[_GROUP] = encode(command.coordinators)
        changes.update((numbered_key(_MERGE, merge.id), encode(merge)) for merge in command.merges)
        changes.update((numbered_key(_MERGE, number), None) for number in command.joined)
        changed = command.bounds()
        changes.update((key, changed[name].to_bytes(8, "big")) for key, name in _BOUNDS.items() if name in changed)
        return changes
