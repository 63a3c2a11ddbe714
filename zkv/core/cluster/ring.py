"""Consistent hashing: which nodes hold what, so that a join or a leave moves little.

Keys and nodes' points lie on a circle of 64-bit tokens; a key belongs to the first point at or after its token
(Karger et al. 1997). A node has virtual nodes in proportion to its weight (Dynamo, DeCandia et al. 2007, 6.2), each of
which puts down several points (ketama puts down 4): that narrows the spread of the shares without a bound that would
have to move keys between old nodes. Whole shards are few and lumpy, so they are placed under a bound (consistent
hashing with bounded loads, Mirrokni et al. 2018). Pure: the same nodes give the same answers everywhere, in any order.
"""

from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from math import isfinite
from typing import Final, NamedTuple

from zkv.core.cluster.loads import LoadBounds, choose, level

TOKENS: Final = 2**64
VIRTUAL_NODES: Final = 128  # of a node of weight 1
POINTS_PER_VIRTUAL_NODE: Final = 16  # 2,048 points a node: a share's standard deviation is 1/sqrt(2048) = 2.2 %
_TOKEN_BYTES: Final = 8
_DIGEST_BYTES: Final = 64  # the most that blake2b gives at once: 8 points


class RingNode(NamedTuple):
    """A node on the ring. `weight` is its share beside others', `zone` its failure domain ("": one of its own)."""

    id: str
    weight: float = 1.0
    zone: str = ""


def token_of(name: bytes) -> int:
    """Where a name lies on the circle: 64 bits of its BLAKE2b."""
    return int.from_bytes(blake2b(name, digest_size=_TOKEN_BYTES).digest(), "big")


def zone_of(node: RingNode) -> str:
    """The node's failure domain; a node without a zone is one by itself (its name cannot be a zone's)."""
    return node.zone or f"\0{node.id}"


class Ring:
    """The points of some nodes. Immutable; built in about 2 ms a node of weight 1."""

    def __init__(self, nodes: Sequence[RingNode], virtual_nodes: int = VIRTUAL_NODES) -> None:
        """Raises ValueError for no nodes, an id twice, or a weight that is not a positive number."""
        self.nodes = {node.id: node for node in nodes}
        if not nodes or len(self.nodes) != len(nodes):
            raise ValueError(f"a ring needs nodes, each once: {[node.id for node in nodes]}")
        if any(not (isfinite(node.weight) and node.weight > 0) for node in nodes):
            raise ValueError(f"a weight is a positive number: {[node.weight for node in nodes]}")
        points = sorted(chain.from_iterable(_points(node, virtual_nodes) for node in nodes))
        self._tokens = [token for token, _ in points]
        self._owners = [owner for _, owner in points]

    def owner(self, token: int) -> str:
        """The node that a key at this token belongs to."""
        return self._owners[bisect_left(self._tokens, token) % len(self._tokens)]

    def owners(self, token: int, count: int) -> tuple[str, ...]:
        """The first `count` distinct nodes from the token on, in distinct zones; the owner first.

        With fewer zones than `count` the rest are the nodes passed over, in the order met; with fewer nodes: all.
        """
        chosen, passed = self._walk(token, count)
        return tuple((chosen + passed)[:count])

    def shares(self) -> dict[str, float]:
        """The part of all keys that each node owns, summing to 1."""
        owned = dict.fromkeys(self.nodes, 0)
        previous = self._tokens[-1] - TOKENS
        for token, owner in zip(self._tokens, self._owners, strict=True):
            owned[owner] += token - previous
            previous = token
        return {node: arc / TOKENS for node, arc in owned.items()}

    def assign(self, tokens: Sequence[int], replicas: int, slack: float = 0.1) -> list[tuple[str, ...]]:
        """The nodes of each shard, given the shards' tokens: a walk each, under a bound on every node's load.

        Each node ends within `slack` of its fair share of the replicas, or as near as whole replicas allow. Distinct
        zones go before the bound; fair shares allow for that (a shard has one replica in a zone while there are enough
        zones). Shards are taken in the order of their tokens, so the answer does not depend on the order given.
        """
        return self.reassign(tokens, [()] * len(tokens), replicas, slack)

    def reassign(
        self,
        tokens: Sequence[int],
        held: Sequence[tuple[str, ...]],
        replicas: int,
        slack: float = 0.1,
        *,
        even: bool = True,
    ) -> list[tuple[str, ...]]:
        """Like `assign`, but starting from what each shard's replicas are on: the fewest moves that restore the bound.

        Replicas on nodes that are no longer on the ring are placed anew. After a join only the new node receives.
        `even` False: nothing else moves, though the bound be broken.
        """
        count = min(replicas, len(self.nodes))
        zones = {node.id: zone_of(node) for node in self.nodes.values()}
        bounds = LoadBounds.of(tuple(self.nodes.values()), zones, len(tokens), count, slack)
        walks = [self._order(token) for token in tokens]
        placed = [tuple(node for node in owners if node in self.nodes)[:count] for owners in held]
        loads = dict.fromkeys(self.nodes, 0)
        for owner in chain.from_iterable(placed):
            loads[owner] += 1
        for position in sorted(range(len(tokens)), key=lambda index: (tokens[index], index)):
            added = choose(walks[position], zones, loads, bounds, placed[position], count)
            placed[position] += added
            for owner in added:
                loads[owner] += 1
        if even:
            level(placed, walks, zones, loads, bounds)
        return placed

    def _order(self, token: int) -> tuple[str, ...]:
        """All nodes in the order in which a walk from the token meets them."""
        met: dict[str, None] = {}
        size = len(self._tokens)
        position = bisect_left(self._tokens, token)
        while len(met) < len(self.nodes):
            met[self._owners[position % size]] = None
            position += 1
        return tuple(met)

    def _walk(self, token: int, count: int) -> tuple[list[str], list[str]]:
        """The first `count` nodes in distinct zones, and those passed over for their zone."""
        chosen: list[str] = []
        passed: list[str] = []
        zones: set[str] = set()
        for node in self._order(token):
            zone = zone_of(self.nodes[node])
            if zone in zones:
                passed.append(node)
                continue
            zones.add(zone)
            chosen.append(node)
            if len(chosen) == count:
                break
        return chosen, passed


def _points(node: RingNode, virtual_nodes: int) -> list[tuple[int, str]]:
    """The node's points: POINTS_PER_VIRTUAL_NODE for each of its virtual nodes, at least one virtual node."""
    points: list[tuple[int, str]] = []
    for number in range(max(1, round(virtual_nodes * node.weight))):
        for part in range(POINTS_PER_VIRTUAL_NODE * _TOKEN_BYTES // _DIGEST_BYTES):
            digest = blake2b(f"{node.id}\0{number}\0{part}".encode(), digest_size=_DIGEST_BYTES).digest()
            for start in range(0, _DIGEST_BYTES, _TOKEN_BYTES):
                points.append((int.from_bytes(digest[start : start + _TOKEN_BYTES], "big"), node.id))
    return points
