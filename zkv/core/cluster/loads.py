"""How many replicas each node should hold, and how to get there with few moves: pure arithmetic for placement.

A node's fair share follows its weight, but a shard has at most one replica on a node, and one in a zone while there are
zones enough: what a heavy node or zone cannot take is shared out among the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Final, Protocol

_ROUNDING: Final = 9  # decimals of a fair share that count: weights are floats


class Weighted(Protocol):
    """What is known of a node here."""

    @property
    def id(self) -> str: ...

    @property
    def weight(self) -> float: ...


def fair_shares(weights: Mapping[str, float], total: float, most: float) -> dict[str, float]:
    """`total` shared out by weight, nobody above `most`; what is cut off goes to the rest (water-filling)."""
    shares: dict[str, float] = {}
    open_weights = dict(weights)
    left = min(total, most * len(weights))
    while open_weights:
        weight = sum(open_weights.values())
        full = [name for name, own in open_weights.items() if left * own / weight >= most]
        if not full:
            shares.update({name: left * own / weight for name, own in open_weights.items()})
            break
        for name in full:
            shares[name] = most
            del open_weights[name]
        left -= most * len(full)
    return shares


def fair_by_zone(nodes: Sequence[Weighted], zones: Mapping[str, str], shards: int, replicas: int) -> dict[str, float]:
    """Each node's fair share of shards * replicas, as zones and weights allow."""
    members: dict[str, dict[str, float]] = {}
    for node in nodes:
        members.setdefault(zones[node.id], {})[node.id] = node.weight
    total = float(shards * replicas)
    if len(members) < replicas:
        return _fair_over_few_zones(members, total, shards)
    fair: dict[str, float] = {}
    weights = {zone: sum(own.values()) for zone, own in members.items()}
    for zone, share in fair_shares(weights, total, shards).items():
        fair.update(fair_shares(members[zone], share, shards))
    return fair


def _fair_over_few_zones(members: Mapping[str, Mapping[str, float]], total: float, shards: int) -> dict[str, float]:
    """With fewer zones than replicas every shard is in every zone: a zone holds `shards` replicas at least."""
    fair: dict[str, float] = {}
    free = dict(members)
    left = total
    while True:
        shares = fair_shares({node: weight for own in free.values() for node, weight in own.items()}, left, shards)
        short = [zone for zone, own in free.items() if sum(shares[node] for node in own) < shards]
        if not short:
            return fair | shares
        for zone in short:
            fair.update(fair_shares(free.pop(zone), shards, shards))
            left -= shards


@dataclass(frozen=True, slots=True)
class LoadBounds:
    """Fair shares, and the whole numbers that count as near enough. lower <= fair <= upper for every node."""

    fair: dict[str, float]
    lower: dict[str, int]
    upper: dict[str, int]

    @classmethod
    def of(
        cls, nodes: Sequence[Weighted], zones: Mapping[str, str], shards: int, replicas: int, slack: float
    ) -> "LoadBounds":
        """Within `slack` (0.1: 10 %) of the fair share, or the whole numbers next to it where they are farther."""
        fair = {node: round(own, _ROUNDING) for node, own in fair_by_zone(nodes, zones, shards, replicas).items()}
        return cls(
            fair,
            {node: min(floor(own), ceil(own * (1 - slack))) for node, own in fair.items()},
            {node: max(ceil(own), floor(own * (1 + slack))) for node, own in fair.items()},
        )

    def excess(self, node: str, loads: Mapping[str, int]) -> float:
        """How far the node's load is above its fair share; negative below it."""
        return loads[node] - self.fair[node]


def choose(
    walk: Sequence[str],
    zones: Mapping[str, str],
    loads: Mapping[str, int],
    bounds: LoadBounds,
    held: tuple[str, ...],
    count: int,
) -> tuple[str, ...]:
    """The nodes that bring a shard from those it is `held` on to `count`.

    Distinct zones go first, then room under the bound, then the order of the walk.
    """
    free = [node for node in walk if node not in held]
    roomy = [node for node in free if loads[node] < bounds.upper[node]]
    full = sorted((node for node in free if node not in roomy), key=lambda node: bounds.excess(node, loads))
    wanted = count - len(held)
    used = {zones[node] for node in held}
    chosen: list[str] = []
    for node in (*roomy, *full):
        if len(chosen) < wanted and zones[node] not in used:
            chosen.append(node)
            used.add(zones[node])
    rest = [node for node in (*roomy, *full) if node not in chosen]
    return tuple(chosen + rest[: wanted - len(chosen)])


def level(
    placed: list[tuple[str, ...]],
    walks: Sequence[Sequence[str]],
    zones: Mapping[str, str],
    loads: dict[str, int],
    bounds: LoadBounds,
) -> None:
    """Move single replicas, in place, until every load is within its bounds or no move helps.

    Each move takes from a node more than one replica above the receiver (beside their fair shares), so the sum of
    squared excesses falls and the loop ends. No move makes a shard lose a zone.
    """
    while move := _next_move(placed, walks, zones, loads, bounds):
        position, source, target = move
        placed[position] = tuple(target if node == source else node for node in placed[position])
        loads[source] -= 1
        loads[target] += 1


def _next_move(
    placed: Sequence[tuple[str, ...]],
    walks: Sequence[Sequence[str]],
    zones: Mapping[str, str],
    loads: Mapping[str, int],
    bounds: LoadBounds,
) -> tuple[int, str, str] | None:
    rising = sorted(loads, key=lambda node: (bounds.excess(node, loads), node))
    for source in reversed(rising):
        for target in rising:
            if bounds.excess(source, loads) - bounds.excess(target, loads) <= 1:
                break
            if loads[source] <= bounds.upper[source] and loads[target] >= bounds.lower[target]:
                continue
            position = _movable(placed, walks, zones, source, target)
            if position is not None:
                return position, source, target
    return None


def _movable(
    placed: Sequence[tuple[str, ...]],
    walks: Sequence[Sequence[str]],
    zones: Mapping[str, str],
    source: str,
    target: str,
) -> int | None:
    """The shard that may move from source to target and whose walk meets the target soonest; None: there is none."""
    found: tuple[int, int] | None = None
    for position, owners in enumerate(placed):
        if source not in owners or target in owners:
            continue
        others = {zones[node] for node in owners if node != source}
        if zones[target] in others and zones[source] not in others:
            continue
        rank = (walks[position].index(target), position)
        found = rank if found is None or rank < found else found
    return found[1] if found is not None else None
