"""Everybody who follows the map has at each version what the coordinator had: nobody has missed a change in between.

Each key of a table is in exactly one of its shards, at every version.

The coordinator's map is noted at every version that it goes through. A follower may know more of a single shard, from
a refusal; never less, and nothing of it ever goes back.
"""

from dataclasses import dataclass

from zkv.core.cluster.mapstate import Order, ShardMap, report_order
from zkv.core.cluster.shardmap import NodeInfo, TableInfo
from zkv.ids import NodeId, ShardId, TableId
from zkv.sim.world import Violation

_Name = tuple[str, int]  # a process, and which of its starts


@dataclass(frozen=True, slots=True)
class _Truth:
    """The map at one version."""

    tables: dict[TableId, TableInfo]
    nodes: dict[NodeId, NodeInfo]
    shards: dict[ShardId, Order]


class MapChecker:
    """What the coordinator published, and how far each follower is."""

    def __init__(self) -> None:
        self._truth: dict[tuple[int, int], _Truth] = {}  # incarnation, version
        self._term = 0  # of the last that published
        self._published: dict[str, tuple[int, int]] = {}
        self._seen: dict[_Name, tuple[int, int]] = {}
        self._orders: dict[_Name, dict[ShardId, Order]] = {}

    def coordinator(self, name: str, shard_map: ShardMap) -> None:
        """A coordinator's map, after each of its turns: at each version all have the same."""
        at = (shard_map.incarnation, shard_map.version)
        if at == self._published.get(name, (0, 0)):
            return
        self._published[name] = at
        _check_ranges(shard_map)
        known = self._truth.setdefault(at, _truth_of(shard_map))
        if known != _truth_of(shard_map):
            raise Violation(f"coordinators have two different maps of version {shard_map.version}")

    def published(self, name: str, term: int) -> None:
        """A coordinator broadcasts as the leader of this term: no later one has done so before."""
        if term < self._term:
            raise Violation(f"{name} publishes as the leader of term {term}, after one of term {self._term} has")
        self._term = term

    def follower(self, name: _Name, shard_map: ShardMap | None) -> None:
        """The map of a node or a client, after each of its turns."""
        if shard_map is None:
            return
        at = (shard_map.incarnation, shard_map.version)
        before = self._seen.get(name)
        if at == before:
            return
        self._seen[name] = at
        if before is not None and before[0] == at[0] and before > at:
            raise Violation(f"{name[0]}: its map went back from version {before[1]} to {at[1]}")
        self._check_orders(name, shard_map, fresh=before is None or before[0] != at[0])
        truth = self._truth.get(at)
        if truth is not None and not _holds(truth, shard_map):
            raise Violation(f"{name[0]}: its map of version {at[1]} is not the coordinator's: a change was missed")

    def _check_orders(self, name: _Name, shard_map: ShardMap, *, fresh: bool) -> None:
        orders = self._orders.get(name)
        if orders is None or fresh:
            orders = self._orders[name] = {}
        for shard, info in shard_map.shards.items():
            now = report_order(info)
            if orders.get(shard, now) > now:
                raise Violation(f"{name[0]}: shard {shard} went back from {orders[shard]} to {now} in its map")
            orders[shard] = now


def _check_ranges(shard_map: ShardMap) -> None:
    """Each key of a table lies in exactly one of its shards."""
    for table in shard_map.tables.values():
        shards = shard_map.shards_of(table.table)
        ends = [info.end for info in shards]
        if [info.start for info in shards] != [b"", *ends[:-1]] or ends[-1:] != [b""]:
            spans = [(info.shard, info.start, info.end) for info in shards]
            raise Violation(
                f"version {shard_map.version}: the shards of table {table.name} overlap or leave holes: {spans}"
            )


def _truth_of(shard_map: ShardMap) -> _Truth:
    shards = {shard: report_order(info) for shard, info in shard_map.shards.items()}
    return _Truth(dict(shard_map.tables), dict(shard_map.nodes), shards)


def _holds(truth: _Truth, shard_map: ShardMap) -> bool:
    same = truth.tables == shard_map.tables and truth.nodes == shard_map.nodes
    same = same and set(truth.shards) == set(shard_map.shards)
    return same and all(report_order(shard_map.shards[shard]) >= order for shard, order in truth.shards.items())
