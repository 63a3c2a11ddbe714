"""The server's side of a cluster in one object, without sockets or Raft: shards that apply each number once.

It says what healthy nodes and a coordinator would say, unless `fault` says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Answers, Requests
from zkv.core.cluster.partition import initial_ranges, partition_key
from zkv.core.cluster.shardmap import MapDelta, MapSnapshot, NodeInfo, NodeState, Partitioner, TableInfo
from zkv.core.message import Message
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.commands import (
    Answer,
    Delete,
    Deleted,
    Failed,
    FailedBecause,
    Group,
    Increment,
    Incremented,
    Operation,
    Page,
    Put,
    PutIf,
    ReadGroup,
    Reason,
    Refused,
    Result,
    ScanGroup,
    Values,
    WriteGroup,
    Written,
)
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.rows import pack_row, unpack_row
from zkv.ids import NodeId, ReplicaId, ShardId, TableId

LATENCY_MS = 1
COORDINATOR = "c:1"
TABLE = TableId(1)
LOST = "lost"  # the group arrived and was done; its answer is lost
EATEN = "eaten"  # the group never arrived

Fault = Callable[[str, Group], "Answer | str | None"]  # (address, group) -> instead of the answer; None: as usual


@dataclass
class Shard:
    """The truth about one shard: its rows, and every (client, number) that was applied."""

    info: ShardInfo
    rows: dict[bytes, bytes] = field(default_factory=dict)
    applied: dict[tuple[bytes, int], Result] = field(default_factory=dict)
    counter: int = 0


class FakeShards:
    """Nodes n1, n2, ... and a coordinator. `fault` is asked before each group is served."""

    def __init__(
        self,
        *,
        shards: int = 2,
        partitioner: Partitioner = Partitioner.HASH,
        splits: tuple[bytes, ...] = (),
        addresses: tuple[str, ...] = ("n1:1", "n2:1", "n3:1"),
        coordinator: str = COORDINATOR,
        publisher: str = "p:1",
    ) -> None:
        self.fault: Fault = lambda address, group: None
        self.dead: set[str] = set()
        self.deaf: set[str] = set()  # connected, takes messages, never answers (a paused process)
        self.effects: list[tuple[ShardId, Operation]] = []  # what was applied, in order, each application
        self.coordinator, self.publisher = coordinator, publisher
        names = [f"n{number}" for number in range(1, len(addresses) + 1)]
        self.names = {coordinator: "coordinator", **dict(zip(addresses, names, strict=True))}
        self.nodes = {name: NodeInfo(NodeId(name), address, 1) for name, address in zip(names, addresses, strict=True)}
        self.tables = {"default": TableInfo(TABLE, "default", partitioner, len(names))}
        self.shards: dict[ShardId, Shard] = {}
        for start, end in initial_ranges(partitioner, 0 if splits else shards, splits):
            shard = ShardId(len(self.shards) + 1)
            self.shards[shard] = Shard(self._info(shard, start, end, leader=int(shard - 1) % len(names)))
        self.version = 1

    def broadcast(self, delta: MapDelta) -> None:
        """Called with each change of the map."""

    def leader_address(self, shard: int) -> str:
        """Where the shard's leader is."""
        leader = self.shards[ShardId(shard)].info.leading()
        assert leader is not None
        return self.nodes[leader.node].address

    def shard_of(self, key: bytes, table: str = "default") -> ShardId:
        """The shard that owns the key now."""
        info = self.tables[table]
        place = partition_key(info.partitioner, key)
        return next(
            number for number, shard in self.shards.items() if shard.info.table == info.table and shard.info.owns(place)
        )

    def key_in(self, shard: int, number: int = 0) -> bytes:
        """The `number`-th of the keys k0, k1, ... that the shard owns."""
        return self.keys_in(shard, number + 1)[number]

    def keys_in(self, shard: int, count: int) -> list[bytes]:
        """The first `count` of the keys k0, k1, ... that the shard owns."""
        owned = (key for key in (b"k%d" % number for number in range(100_000)) if self.shard_of(key) == shard)
        return list(islice(owned, count))

    def lead(self, shard: int, node: str, *, publish: bool = True) -> None:
        """Another node leads, in the next term."""
        info = self.shards[ShardId(shard)].info
        member = next(member for member in info.membership.voters if member.node == node)
        self.change(msgspec.structs.replace(info, leader=member.replica, term=info.term + 1), publish=publish)

    def change(self, *infos: ShardInfo, publish: bool = True) -> None:
        """The shards change; `publish`: in the next version of the map, which is broadcast."""
        for info in infos:
            self.shards.setdefault(info.shard, Shard(info)).info = info
        if publish:
            self.publish(MapDelta(1, self.version + 1, shards=infos))

    def publish(self, delta: MapDelta) -> None:
        """Commit a change of the map, and broadcast it unless the broadcast is cut."""
        self.version += 1
        for node in delta.nodes:
            self.nodes[node.node] = node
        for table in delta.tables:
            self.tables[table.name] = table
        for gone in delta.dropped_tables:
            self.tables = {name: table for name, table in self.tables.items() if table.table != gone}
        for shard in delta.dropped_shards:
            del self.shards[shard]
        self.broadcast(delta)

    def split(self, shard: int, at: bytes) -> ShardId:
        """The upper half from partition key `at` becomes a shard of its own; the map learns of it silently."""
        old = self.shards[ShardId(shard)]
        new = ShardId(max(self.shards) + 1)
        upper = msgspec.structs.replace(
            old.info, shard=new, start=at, range_version=old.info.range_version + 1, term=old.info.term + 1
        )
        lower = msgspec.structs.replace(old.info, end=at, range_version=old.info.range_version + 1)
        table = next(table for table in self.tables.values() if table.table == old.info.table)
        self.shards[new] = Shard(upper, applied=dict(old.applied), counter=old.counter)
        for key in list(old.rows):
            if upper.owns(partition_key(table.partitioner, key)):
                self.shards[new].rows[key] = old.rows.pop(key)
        self.change(lower, upper)
        return new

    def snapshot(self) -> MapSnapshot:
        """The whole map."""
        return MapSnapshot(
            incarnation=1,
            version=self.version,
            cluster=77,
            coordinators=(self.coordinator,),
            publishers=(self.publisher,),
            tables=tuple(self.tables.values()),
            nodes=tuple(self.nodes.values()),
            shards=tuple(shard.info for shard in self.shards.values()),
        )

    def mark(self, node: str, state: NodeState) -> None:
        """The coordinator believes this of a node, and says so."""
        changed = msgspec.structs.replace(self.nodes[node], state=state)
        self.publish(MapDelta(1, self.version + 1, nodes=(changed,)))

    def serve(self, address: str, group: Group, *, forwarding: bool) -> Answer | str | None:
        """What a healthy node says to a group: LOST or EATEN where it passed it on to a dead leader."""
        shard = self.shards.get(group.shard)
        if shard is None:
            return Refused(group.id, Reason.NO_SHARD, 0, "no such shard is known here")
        leader = shard.info.leading()
        if leader is None:
            return Refused(group.id, Reason.UNAVAILABLE, 0, "the shard has no leader now", 50, shard.info)
        home = self.nodes[leader.node].address
        if home != address and not getattr(group, "any_replica", False):
            if not forwarding:
                return Refused(group.id, Reason.NOT_LEADER, 0, "another node leads the shard", news=shard.info)
            if home in self.dead | self.deaf:
                return EATEN
        if group.range_version != shard.info.range_version:
            return Refused(group.id, Reason.STALE_RANGE, 0, "the shard's range has changed", news=shard.info)
        return self.do(shard, group)

    def do(self, shard: Shard, group: Group) -> Answer:
        """Do the group at its leader."""
        table = next(table for table in self.tables.values() if table.table == shard.info.table)
        for key in _keys(group):
            assert shard.info.owns(partition_key(table.partitioner, key)), f"{key!r} was sent to the wrong shard"
        if isinstance(group, WriteGroup):
            return self._write(shard, group)
        if isinstance(group, ReadGroup):
            rows = tuple(shard.rows.get(key) for key in group.keys)
            return Values(group.id, rows, 5 if group.any_replica else -1)
        return self._page(shard, group, table.partitioner)

    def _write(self, shard: Shard, group: WriteGroup) -> Written:
        assert group.first >= group.lowest, "a number below the lowest awaited"
        assert group.first + len(group.operations) <= group.lowest + 4_096, "beyond the window"
        results: list[Result] = []
        for sequence, operation in enumerate(group.operations, group.first):
            known = shard.applied.get((group.client, sequence))
            if known is None:
                known = shard.applied[group.client, sequence] = self._apply(shard, operation)
                self.effects.append((shard.info.shard, operation))
            results.append(known)
        below = 0 < group.copies <= len(shard.info.membership.voters) // 2
        given = (0,) * len(results) if below else tuple(results)
        return Written(group.id, given, not below, (1,) if below else (1, 2))

    def _apply(self, shard: Shard, operation: Operation) -> Result:
        shard.counter += 1
        stored = shard.rows.get(operation.key)
        row = unpack_row(stored) if stored else None
        held = row.version if row else 0
        match operation:
            case Put():
                pass
            case PutIf():
                if operation.version != held:
                    return Failed(FailedBecause.VERSION, held)
            case Delete():
                if operation.version not in (-1, held):
                    return Failed(FailedBecause.VERSION, held)
                shard.rows.pop(operation.key, None)
                return Deleted(row is not None, shard.counter)
            case Increment():
                if row is not None and not row.value.lstrip(b"-").isdigit():
                    return Failed(FailedBecause.NOT_AN_INTEGER, held)
                total = int(row.value if row else b"0") + operation.by
                shard.rows[operation.key] = pack_row(shard.counter, b"%d" % total)
                return Incremented(total, shard.counter)
        shard.rows[operation.key] = pack_row(shard.counter, operation.value)
        return shard.counter

    def _page(self, shard: Shard, group: ScanGroup, partitioner: Partitioner) -> Page:
        placed = sorted((partition_key(partitioner, key), key, unpack_row(row)) for key, row in shard.rows.items())
        inside = [entry for entry in placed if group.start <= entry[0] and (not group.end or entry[0] < group.end)]
        if group.reverse:
            inside.reverse()
        rows: list[tuple[bytes, int, bytes]] = []
        resume = b""
        for place, key, row in inside:
            if len(rows) == group.limit:
                return Page(group.id, tuple(rows), True, resume)
            resume = place if group.reverse else place + b"\0"
            if key.startswith(group.prefix):
                rows.append((key, row.version, row.value))
        return Page(group.id, tuple(rows), False, resume)

    def answer_to(self, address: str, frame: Message) -> Message | None:
        """What the process at this address says to a frame of a client, if anything."""
        coordinator = address == self.coordinator
        name = self.names[address]
        match frame:
            case m.Hello():
                return m.Welcome(frame.id, 1, 77, name, "coordinator" if coordinator else "node", self.version)
            case m.MapRequest():
                return m.MapAnswer(frame.id, self.snapshot())
            case m.StatusRequest():
                return m.StatusAnswer(frame.id, msgspec.msgpack.encode({"name": name}))
            case m.CreateTable():
                return self._create(frame)
            case m.DropTable():
                return self._drop(frame)
            case Requests():
                answers = [answer for group in frame.groups if (answer := self._take(address, group, frame.forwarding))]
                return Answers(self.version, NodeId(name), tuple(answers)) if answers else None
        raise AssertionError(f"{address} was sent {frame}")

    def _take(self, address: str, group: Group, forwarding: bool) -> Answer | None:
        wanted = self.fault(address, group)
        if wanted == EATEN:
            return None
        answer = wanted if wanted not in (None, LOST) else self.serve(address, group, forwarding=forwarding)
        return None if wanted == LOST or isinstance(answer, str) else answer

    def _create(self, order: m.CreateTable) -> Message:
        held = self.tables.get(order.name)
        if held is not None and held.nonce != order.nonce:
            return m.AdminRefused(order.id, "TableExists", f"there is a table {order.name!r}", 0)
        if held is None:
            table = TableInfo(TableId(len(self.tables) + 1), order.name, order.partitioner, order.replicas, order.nonce)
            first = max(self.shards) + 1
            ranges = initial_ranges(order.partitioner, order.shards or (not order.splits), order.splits)
            infos = tuple(
                self._info(ShardId(first + place), start, end, leader=place % 3, table=table.table)
                for place, (start, end) in enumerate(ranges)
            )
            for info in infos:
                self.shards[info.shard] = Shard(info)
            self.publish(MapDelta(1, self.version + 1, tables=(table,), shards=infos))
        return m.AdminDone(order.id, self.version)

    def _drop(self, order: m.DropTable) -> Message:
        held = self.tables.get(order.name)
        if held is None:
            return m.AdminRefused(order.id, "NoSuchTable", f"there is no table {order.name!r}", 0)
        gone = tuple(number for number, shard in self.shards.items() if shard.info.table == held.table)
        self.publish(MapDelta(1, self.version + 1, dropped_tables=(held.table,), dropped_shards=gone))
        return m.AdminDone(order.id, self.version)

    def _info(self, shard: ShardId, start: bytes, end: bytes, *, leader: int, table: TableId = TABLE) -> ShardInfo:
        voters = tuple(
            Member(ReplicaId(int(shard) * 10 + place), node.node, node.incarnation)
            for place, node in enumerate(self.nodes.values())
        )
        return ShardInfo(shard, table, start, end, 1, Membership(1, voters), voters[leader].replica, 1)

    def exists(self, address: str) -> bool:
        """Whether something listens there."""
        return address in self.names


def _keys(group: Group) -> list[bytes]:
    if isinstance(group, WriteGroup):
        return [operation.key for operation in group.operations]
    return list(group.keys) if isinstance(group, ReadGroup) else []
