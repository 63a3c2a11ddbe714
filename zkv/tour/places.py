"""Where rows live: which nodes hold each, and how much of that changed between two moments."""

from collections import Counter
from collections.abc import Iterable, Mapping
from zlib import crc32

import zkv
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.partition import partition_of
from zkv.ids import NodeId, ShardId


def holders(shard_map: ShardMap, table: str, keys: Iterable[bytes]) -> dict[bytes, frozenset[NodeId]]:
    """The nodes with a copy of each key. Raises KeyError where there is no such table."""
    held: dict[ShardId, frozenset[NodeId]] = {}
    found = {}
    for key, shard in shards_of(shard_map, table, keys):
        if shard not in held:
            held[shard] = frozenset(voter.node for voter in shard_map.shards[shard].membership.voters)
        found[key] = held[shard]
    return found


def shards_of(shard_map: ShardMap, table: str, keys: Iterable[bytes]) -> Iterable[tuple[bytes, ShardId]]:
    """Each key with the shard that owns it."""
    info = shard_map.named[table]
    partition = partition_of(info.partitioner)
    for key in keys:
        owner = shard_map.locate(info.table, partition(key))
        assert owner is not None, "the shards of a table have no holes"
        yield key, owner.shard


def leads(shard_map: ShardMap, table: str, keys: Iterable[bytes]) -> Counter[str]:
    """How many of the keys each node answers for."""
    counted: Counter[str] = Counter()
    for _, shard in shards_of(shard_map, table, keys):
        leader = shard_map.shards[shard].leading()
        counted[leader.node if leader is not None else "nobody"] += 1
    return counted


def moved_share(before: Mapping[bytes, frozenset[NodeId]], after: Mapping[bytes, frozenset[NodeId]]) -> float:
    """Which part of all copies is on a node that did not have it before."""
    return sum(len(after[key] - nodes) for key, nodes in before.items()) / sum(map(len, before.values()))


def moved_by_modulo(keys: Iterable[bytes], nodes: int, then: int) -> float:
    """Which part of the keys changes its node where a key lives on node hash(key) % nodes, and nodes become `then`."""
    moved = [crc32(key) % nodes != crc32(key) % then for key in keys]
    return sum(moved) / len(moved)


def copies_by_node(held: Mapping[bytes, frozenset[NodeId]]) -> Counter[str]:
    """How many copies each node has."""
    return Counter(node for nodes in held.values() for node in nodes)


def share_of(shard_map: ShardMap, table: str, node: str) -> float:
    """Which part of its fair share of the table's copies the node has, if all that are up are alike."""
    shards = shard_map.shards_of(shard_map.named[table].table)
    copies = [voter.node for shard in shards for voter in shard.membership.voters]
    up = sum(info.receives for info in shard_map.nodes.values())
    return copies.count(NodeId(node)) / (len(copies) / up) if up else 0.0


def operators(client: zkv.Client) -> int:
    """How much is on its way, by the word of the coordinator that leads. Raises ZkvError if none answers."""
    for told in client.status().values():
        if told and told.get("leading"):
            under_way = told.get("operators")
            return len(under_way) if isinstance(under_way, list) else 0
    raise zkv.Unavailable("no coordinator answers", effect="none")
