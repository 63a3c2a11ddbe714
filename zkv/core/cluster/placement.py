"""Where a new table's shards go, and which replica of each should lead: pure decisions over the nodes that are up."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from zkv.core.cluster.partition import HASH_SLOTS, SLOT_BYTES, Range
from zkv.core.cluster.ring import TOKENS, Ring, RingNode, token_of, zone_of
from zkv.core.cluster.shardmap import NodeInfo, Partitioner
from zkv.ids import NodeId, TableId

DEFAULT_SHARDS: Final = 6  # of a hash table: even over 1, 2, 3 and 6 nodes; each more costs CPU (docs/performance.md)
_SLOT_TOKENS: Final = TOKENS // HASH_SLOTS

Owners = tuple[NodeId, ...]


class Load(NamedTuple):
    """What a node holds already."""

    replicas: int = 0
    leaders: int = 0


def ring_of(nodes: Sequence[NodeInfo]) -> Ring:
    """The ring of these nodes. Raises ValueError for none."""
    return Ring([RingNode(node.node, node.weight, node.zone) for node in nodes])


def shard_token(table: TableId, start: bytes) -> int:
    """Where a hash table's shard lies on the ring: its first slot, turned by the table, so that tables differ."""
    slot = int.from_bytes(start[:SLOT_BYTES].ljust(SLOT_BYTES, b"\0"), "big")
    return (slot * _SLOT_TOKENS + token_of(b"table %d" % table)) % TOKENS


class Placement(NamedTuple):
    """What is to be placed: a table's ranges."""

    table: TableId
    partitioner: Partitioner
    ranges: tuple[Range, ...]
    replicas: int


def place(wanted: Placement, nodes: Sequence[NodeInfo], loads: Mapping[NodeId, Load]) -> tuple[Owners, ...]:
    """The nodes of each shard, in range order; the first of each is who should lead.

    Hash tables go by the ring, range tables to the nodes that hold least for their weight; both in distinct zones where
    there are enough. Needs at least one node; with fewer than the replica count a shard gets all of them.
    """
    if wanted.partitioner == Partitioner.HASH:
        tokens = [shard_token(wanted.table, start) for start, _ in wanted.ranges]
        owners = [tuple(map(NodeId, names)) for names in ring_of(nodes).assign(tokens, wanted.replicas)]
    else:
        owners = _spread(len(wanted.ranges), wanted.replicas, nodes, loads)
    return lead(owners, {node.node: loads.get(node.node, Load()).leaders for node in nodes})


def _spread(shards: int, replicas: int, nodes: Sequence[NodeInfo], loads: Mapping[NodeId, Load]) -> list[Owners]:
    """Each shard in turn to the nodes with the fewest replicas for their weight, zones first."""
    held = {node.node: loads.get(node.node, Load()).replicas for node in nodes}
    zones = {node.node: zone_of(RingNode(node.node, node.weight, node.zone)) for node in nodes}
    placed: list[Owners] = []
    for _ in range(shards):
        chosen: list[NodeId] = []
        ranked = sorted(nodes, key=lambda node: ((held[node.node] + 1) / node.weight, node.node))
        for node in ranked:
            if zones[node.node] not in {zones[other] for other in chosen}:
                chosen.append(node.node)
        rest = [node.node for node in ranked if node.node not in chosen]
        owners = tuple((chosen + rest)[:replicas])
        for owner in owners:
            held[owner] += 1
        placed.append(owners)
    return placed


def lead(owners: Sequence[Owners], leaders: Mapping[NodeId, int]) -> tuple[Owners, ...]:
    """The same owners, each shard's leader first, so that nodes lead as evenly as the owners allow.

    `leaders`: what each node leads already. First each shard takes its least busy owner; then, while a chain of
    hand-overs leads from a node to one that leads at least two fewer, it is done (so the answer is optimal: a plain
    flow argument, each chain being an augmenting path).
    """
    counts = dict.fromkeys(chain.from_iterable(owners), 0) | dict(leaders)
    chosen: list[NodeId] = []
    for nodes in owners:
        leader = min(nodes, key=lambda node: (counts[node], nodes.index(node)))
        counts[leader] += 1
        chosen.append(leader)
    while path := _chain_of_handovers(owners, chosen, counts):
        for shard, target in path:
            counts[chosen[shard]] -= 1
            counts[target] += 1
            chosen[shard] = target
    return tuple(
        (leader, *(node for node in nodes if node != leader)) for leader, nodes in zip(chosen, owners, strict=True)
    )


def _chain_of_handovers(
    owners: Sequence[Owners], chosen: Sequence[NodeId], counts: Mapping[NodeId, int]
) -> list[tuple[int, NodeId]] | None:
    """Hand-overs (shard, new leader) that take one from a busy node and give one to a node that leads two fewer."""
    for busy in sorted(counts, key=lambda node: (-counts[node], node)):
        reached: dict[NodeId, list[tuple[int, NodeId]]] = {busy: []}
        frontier = [busy]
        while frontier:
            source = frontier.pop(0)
            if counts[source] <= counts[busy] - 2:
                return reached[source]
            for shard, nodes in enumerate(owners):
                if chosen[shard] != source:
                    continue
                for target in nodes:
                    if target not in reached:
                        reached[target] = [*reached[source], (shard, target)]
                        frontier.append(target)
    return None
