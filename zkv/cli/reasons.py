"""Why something is where it is, and what is done about it, in sentences: `zkv explain`."""

from zkv.cli.overview import Overview, Row, range_text
from zkv.core.cluster.cooling import bytes_together_max
from zkv.core.cluster.mapstate import is_live
from zkv.core.cluster.partition import hash_slot, partition_key
from zkv.core.cluster.placement import ring_of, shard_token
from zkv.core.cluster.shardmap import NodeDuty, NodeState, Partitioner, TableInfo
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.errors import NoSuchTable, NotPossible, Unavailable
from zkv.ids import NodeId, ShardId


class Reasons:
    """Sentences about one overview."""

    def __init__(self, seen: Overview) -> None:
        self._seen = seen
        self._map = seen.map

    def key(self, key: bytes, table: str) -> list[str]:
        """Why a key is where it is."""
        info = self._map.table(table)
        if info is None:
            raise NoSuchTable(f"there is no table {table!r}")
        shard = self._map.locate(info.table, partition_key(info.partitioner, key))
        if shard is None:
            raise Unavailable("the map shows no shard for the key")
        text = range_text(info.partitioner, shard)
        if info.partitioner == Partitioner.HASH:
            first = f"the low 16 bits of the key's CRC-32 are {hash_slot(key)}: shard {shard.shard} owns {text}"
        else:
            first = f"{table} keeps the order of keys: shard {shard.shard} owns {text}"
        return [first, *self.shard(shard.shard)]

    def shard(self, number: int) -> list[str]:
        """Why a shard's replicas are where they are."""
        info = self._map.shards.get(ShardId(number))
        if info is None:
            raise NotPossible(f"there is no shard {number}")
        table = self._map.tables[info.table]
        lines = [
            f"shard {number} of {table.name} is {info.state.name.lower()}, epoch {info.range_version}."
            f"{info.membership.version}, wanted {table.replicas} times"
        ]
        if info.state == ShardState.DROPPING:
            return [*lines, "its table is dropped: its replicas delete themselves"]
        lines += [self._placed(table, info), self._led(info)]
        lines += [self._absent(info, voter.node) for voter in info.membership.voters if not is_live(self._map, voter)]
        lines += [*self._size(table, info), *self._asked(table, info)]
        rows = [row for row in self._seen.operator_rows() if row["shard"] == number]
        lines += [_under_way(row) for row in rows]
        return lines if rows else [*lines, "nothing is under way for it"]

    def node(self, name: str) -> list[str]:
        """Why a node holds what it holds."""
        node = self._map.nodes.get(NodeId(name))
        if node is None:
            raise NotPossible(f"there is no node {name}")
        row = next(row for row in self._seen.node_rows() if row["id"] == name)
        lines = [
            f"{name} is {node.state.name.lower()} at {node.address}, weight {node.weight:g}, "
            f"{f'zone {node.zone}' if node.zone else 'a zone of its own'}",
            f"it holds {row['shards']} replicas and leads {row['leaders']}",
        ]
        lines += self._why_it_holds(NodeId(name))
        if node.state == NodeState.DOWN:
            lines.append(self._given_up(NodeId(name)))
        rows = [row for row in self._seen.operator_rows() if name in (row["from"], row["to"])]
        return lines + [_under_way(row) for row in rows] if rows else [*lines, "nothing moves to it or from it"]

    def _why_it_holds(self, name: NodeId) -> list[str]:
        node = self._map.nodes[name]
        match node.duty:
            case NodeDuty.DRAINING:
                heir = f" by {node.heir}" if node.heir else ""
                return [f"it is {'replaced' + heir if heir else 'drained'}: it is to hold nothing, and gets nothing"]
            case NodeDuty.REMOVED:
                return ["it is removed for good: it leaves the map once all it held is rebuilt elsewhere"]
        serving = [own for own in self._map.nodes.values() if own.duty == NodeDuty.SERVING]
        replicas = sum(len(info.membership.voters) for info in self._map.shards.values())
        fair = replicas * node.weight / sum(own.weight for own in serving)
        lines = [f"its fair share by weight is {fair:.1f} of {replicas} replicas"]
        load = self._seen.load_of(name)
        if load is not None and self._map.tuning.balance:
            lines.append(_load("bytes of range tables, all counted", load.bytes, load.bytes_in_shares, load.bytes_off))
            asked = ("requests a second to those it leads", load.requests, load.requests_in_shares, load.requests_off)
            lines.append(_load(*asked))
        if not self._map.tuning.balance:
            lines.append("shares are not evened out: the balance is off (`zkv tune --balance on`)")
        return lines

    def _placed(self, table: TableInfo, info: ShardInfo) -> str:
        homes = ", ".join(voter.node for voter in info.membership.voters)
        serving = [own for own in self._map.nodes.values() if own.receives]
        if table.partitioner != Partitioner.HASH or not serving:
            return f"it is on {homes}"
        first = ring_of(serving).owners(shard_token(table.table, info.start), table.replicas)
        if set(first) == {voter.node for voter in info.membership.voters}:
            return f"it is on {homes}: the first nodes on the ring from its token on"
        why = "the ring's order, bent so that each node keeps to its share and little moves"
        return f"it is on {homes}: {why} (unbent: {', '.join(first)})"

    def _size(self, table: TableInfo, info: ShardInfo) -> list[str]:
        bound, size = self._seen.bound("split_bytes"), self._seen.bytes_of(info.shard)
        if table.partitioner != Partitioner.RANGE or bound is None:
            return []
        text = "its rows are not counted yet" if size is None else f"its rows take {size} bytes"
        text += f"; it is split above {bound}" if bound else "; shards are not split by themselves"
        most, cold_s = bytes_together_max(self._seen.bound("merge_bytes") or 0, bound), self._cold_s()
        cold = f"with a neighbour that is as cold it is merged: both small, {most} bytes at most, for {cold_s:g} s"
        return [text, cold if most else "shards are not merged by themselves"]

    def _asked(self, table: TableInfo, info: ShardInfo) -> list[str]:
        load = self._seen.asked_of(info.shard)
        if table.partitioner != Partitioner.RANGE or load is None:
            return []
        text = f"it is asked {load.requests:.0f} times a second lately, {load.steady:.0f} over a long time"
        text += self._hot(info)
        if not self._map.tuning.balance:
            return [f"{text}; range tables are not evened out: the balance is off (`zkv tune --balance on`)"]
        stays = f"it has moved, and stays for {load.stays_ms / 1_000:.0f} s" if load.stays_ms else "it may be moved"
        return [f"{text}; {stays}"]

    def _cold_s(self) -> float:
        return (self._seen.bound("cold_ms") or 0) / 1_000

    def _hot(self, info: ShardInfo) -> str:
        told = self._seen.coordinator
        if not told.hot_above:
            return "; shards are not split by requests"
        if info.shard in told.hot_keys:
            return f", above {told.hot_above:.0f}; but one key has most of that, so no split would help"
        return f"; above {told.hot_above:.0f} for a while it is split"

    def _led(self, info: ShardInfo) -> str:
        leader = info.leading()
        if leader is None:
            return "nobody is known to lead it: it elects, or a majority of its replicas is down"
        return f"{leader.node} leads it: elected in term {info.term}"

    def _absent(self, info: ShardInfo, name: NodeId) -> str:
        node = self._map.nodes.get(name)
        if node is not None and node.state == NodeState.UP:
            return f"its replica on {name} is lost: the node came back with another folder"
        return f"its replica on {name} is away: {self._given_up(name)}"

    def _given_up(self, name: NodeId) -> str:
        silent_ms = self._seen.silent_ms(name)
        grace_s = self._map.tuning.grace_ms / 1_000
        if silent_ms is None:
            return f"{name} is silent; it is given up after {grace_s:g} s, and rebuilt elsewhere"
        left_s = grace_s - silent_ms / 1_000
        if left_s > 0:
            return f"{name} is silent for {silent_ms / 1_000:.0f} s; given up and rebuilt elsewhere in {left_s:.0f} s"
        spare = [own for own in self._map.nodes.values() if own.receives]
        return f"{name} is given up; {len(spare)} other nodes may take what it held"


def _load(what: str, load: int, shares: float, off: bool) -> str:
    return f"it has {load:,} {what}: {shares:.2f} of its share, {'to be evened out' if off else 'near enough'}"


def _under_way(row: Row) -> str:
    steps = {
        "wait": "its turn has not come",
        "learn": "the new replica is to be added as a learner",
        "promote": "the new replica catches up, then it is to be promoted",
        "transfer": "the lead is to be handed over",
        "remove": "the old replica is to be removed",
        "create": "its replicas are to be created",
        "delete": "its data is to be deleted",
        "drop": "its replicas are to be deleted",
        "split": "its leader is to put the split into its log",
        "merge": "it is to take its right neighbour in, through its own log",
        "abandon": "its leader is to say that nothing comes of it",
        "settle": "it is split; a replica of the new shard is to be heard of yet",
    }
    number = f"operator {row['id']}: " if row["id"] else ""
    route = f" from {row['from']} to {row['to']}" if row["from"] else f" on {row['to']}" if row["to"] else ""
    step = str(row["step"])
    return f"{number}{row['kind']} of shard {row['shard']}{route}, for {row['why']}: {steps.get(step, step)}"
