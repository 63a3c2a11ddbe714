"""One command in the making: changes gathered over the committed state, then encoded as the next delta."""

from collections.abc import Iterable

from zkv.core.cluster.commands import Bounds, CoordinatorState, Counters, MapCommand, TableSettings
from zkv.core.cluster.group import CoordinatorInfo
from zkv.core.cluster.merges import MergePlan
from zkv.core.cluster.operators import ReplaceReplica
from zkv.core.cluster.shardmap import MapDelta, NodeInfo, TableInfo, Tuning
from zkv.core.cluster.splits import SplitPlan
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId, ReplicaId, ShardId, TableId


class Draft:
    """Changes to a state that stays as it is. Putting back what is committed already is no change."""

    def __init__(self, state: CoordinatorState) -> None:
        self._state = state
        self._next_table = state.counters.table
        self._next_shard = state.counters.shard
        self._next_replica = state.counters.replica
        self._next_operator = state.counters.operator
        self._nodes: dict[NodeId, NodeInfo] = {}
        self._tables: dict[TableId, TableInfo] = {}
        self._shards: dict[ShardId, ShardInfo] = {}
        self._operators: dict[int, ReplaceReplica] = {}
        self._settings: dict[TableId, TableSettings] = {}
        self._tuning: Tuning | None = None
        self._dropped_nodes: list[NodeId] = []
        self._dropped_tables: list[TableId] = []
        self._dropped_shards: list[ShardId] = []
        self._finished: list[int] = []
        self._splits: dict[int, SplitPlan] = {}
        self._parted: list[int] = []
        self._merges: dict[int, MergePlan] = {}
        self._joined: list[int] = []
        self._bounds: dict[str, int] = {}
        self._forgotten: list[TableId] = []
        self._coordinators: tuple[CoordinatorInfo, ...] = ()

    def node(self, node: NodeId) -> NodeInfo | None:
        """The node as it will be; None if it is gone."""
        if node in self._dropped_nodes:
            return None
        return self._nodes.get(node) or self._state.map.nodes.get(node)

    def nodes(self) -> list[NodeInfo]:
        """All nodes as they will be."""
        held = self._state.map.nodes | self._nodes
        return [info for node, info in held.items() if node not in self._dropped_nodes]

    def shards(self) -> list[ShardInfo]:
        """All shards as they will be."""
        held = self._state.map.shards | self._shards
        return [info for shard, info in held.items() if shard not in self._dropped_shards]

    def shard(self, shard: ShardId) -> ShardInfo | None:
        """The shard as it will be; None if it is gone."""
        if shard in self._dropped_shards:
            return None
        return self._shards.get(shard) or self._state.map.shards.get(shard)

    def operators(self) -> list[ReplaceReplica]:
        """The plans as they will be, oldest first."""
        held = self._state.operators | self._operators
        return [plan for number, plan in sorted(held.items()) if number not in self._finished]

    def splits(self) -> list[SplitPlan]:
        """The plans that split shards as they will be, oldest first."""
        held = self._state.splits | self._splits
        return [plan for number, plan in sorted(held.items()) if number not in self._parted]

    def tables(self) -> list[TableInfo]:
        """All tables as they will be, oldest first."""
        held = self._state.map.tables | self._tables
        return [info for table, info in sorted(held.items()) if table not in self._dropped_tables]

    def replicas_of(self, info: ShardInfo) -> int:
        """How many voters the shard's table wants."""
        table = self._tables.get(info.table) or self._state.map.tables[info.table]
        return table.replicas

    @property
    def tuning(self) -> Tuning:
        """How the cluster changes by itself, as it will be."""
        return self._tuning or self._state.map.tuning

    def has_table(self, name: str) -> bool:
        """Whether there is, or will be, a table of that name."""
        return self._state.map.table(name) is not None or any(table.name == name for table in self._tables.values())

    def put_node(self, info: NodeInfo) -> None:
        """The node shall be so."""
        if self.node(info.node) != info:
            self._nodes[info.node] = info

    def drop_node(self, node: NodeId) -> None:
        """The node goes from the map."""
        self._dropped_nodes.append(node)

    def put_tuning(self, tuning: Tuning) -> None:
        """The cluster shall change by itself like this."""
        if tuning != self.tuning:
            self._tuning = tuning

    def put_coordinators(self, wanted: Iterable[CoordinatorInfo]) -> None:
        """These shall be the coordinators."""
        self._coordinators = tuple(sorted(wanted, key=lambda info: info.name))

    def put_shard(self, info: ShardInfo) -> None:
        """The shard shall be so."""
        if self.shard(info.shard) != info:
            self._shards[info.shard] = info

    def put_operator(self, plan: ReplaceReplica) -> None:
        """The plan shall be so."""
        if self._state.operators.get(plan.id) != plan or plan.id in self._operators:
            self._operators[plan.id] = plan

    def finish(self, plan: ReplaceReplica) -> None:
        """The plan is done."""
        self._finished.append(plan.id)

    def put_split(self, plan: SplitPlan) -> None:
        """The plan that splits a shard shall be so."""
        if self._state.splits.get(plan.id) != plan or plan.id in self._splits:
            self._splits[plan.id] = plan

    def merges(self) -> list[MergePlan]:
        """The plans that merge shards as they will be, oldest first."""
        held = self._state.merges | self._merges
        return [plan for number, plan in sorted(held.items()) if number not in self._joined]

    def put_merge(self, plan: MergePlan) -> None:
        """The plan that merges two shards shall be so."""
        if self._state.merges.get(plan.id) != plan or plan.id in self._merges:
            self._merges[plan.id] = plan

    def finish_merge(self, plan: MergePlan) -> None:
        """The merge is done, or has come to nothing."""
        if plan.id not in self._joined:
            self._joined.append(plan.id)

    @property
    def bounds(self) -> Bounds:
        """When shards split and merge by themselves, as it will be."""
        return self._state.bounds._replace(**self._bounds)

    def put_bounds(self, wanted: Bounds) -> None:
        """Shards shall split and merge by themselves like this."""
        held, told = self._state.bounds._asdict(), wanted._asdict()
        self._bounds = {name: value for name, value in told.items() if value != held[name]}

    def finish_split(self, plan: SplitPlan) -> None:
        """The split is done."""
        self._parted.append(plan.id)

    def add_table(self, table: TableInfo, settings: TableSettings) -> None:
        """A new table, its shards to be put by the caller."""
        self._tables[table.table] = table
        self._settings[settings.table] = settings

    def put_settings(self, settings: TableSettings) -> None:
        """Remember how a table was asked for."""
        self._settings[settings.table] = settings

    def drop_table(self, table: TableId) -> None:
        """The table goes from the map; its shards by `drop_shard`."""
        self._dropped_tables.append(table)

    def drop_shard(self, shard: ShardId) -> None:
        """The shard goes from the map."""
        self._dropped_shards.append(shard)

    def forget(self, table: TableId) -> None:
        """The settings of a table dropped long ago go."""
        self._forgotten.append(table)

    def new_table(self) -> TableId:
        """A table id never used before."""
        self._next_table += 1
        return TableId(self._next_table - 1)

    def new_shard(self) -> ShardId:
        """A shard id never used before."""
        self._next_shard += 1
        return ShardId(self._next_shard - 1)

    def new_operator(self) -> int:
        """A plan's number never used before."""
        self._next_operator += 1
        return self._next_operator - 1

    def new_member(self, node: NodeInfo) -> Member:
        """A replica on this folder of this node, under an id never used before (rule 1)."""
        self._next_replica += 1
        return Member(ReplicaId(self._next_replica - 1), node.node, node.incarnation)

    def new_member_beside(self, member: Member) -> Member:
        """A replica where that one is, under an id never used before."""
        self._next_replica += 1
        return Member(ReplicaId(self._next_replica - 1), member.node, member.incarnation)

    def command(self) -> MapCommand | None:
        """The command that makes it so; None if nothing changes."""
        counters = Counters(self._next_table, self._next_shard, self._next_replica, self._next_operator)
        delta = MapDelta(
            incarnation=self._state.map.incarnation,
            version=self._state.map.version + 1,
            tables=tuple(self._tables.values()),
            nodes=tuple(info for node, info in self._nodes.items() if node not in self._dropped_nodes),
            shards=tuple(info for shard, info in self._shards.items() if shard not in self._dropped_shards),
            dropped_tables=tuple(self._dropped_tables),
            dropped_nodes=tuple(self._dropped_nodes),
            dropped_shards=tuple(self._dropped_shards),
            tuning=self._tuning,
        )
        command = MapCommand(
            delta=delta,
            counters=counters,
            operators=tuple(plan for number, plan in self._operators.items() if number not in self._finished),
            finished=tuple(self._finished),
            settings=tuple(self._settings.values()),
            forgotten=tuple(self._forgotten),
            splits=tuple(plan for number, plan in self._splits.items() if number not in self._parted),
            parted=tuple(self._parted),
            coordinators=self._coordinators,
            merges=tuple(plan for number, plan in self._merges.items() if number not in self._joined),
            joined=tuple(self._joined),
            **self._bounds,
        )
        empty = MapCommand(MapDelta(delta.incarnation, delta.version), counters)
        return None if command == empty else command
