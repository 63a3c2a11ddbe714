"""Which replicas of range tables are to move, and who is to lead instead, so that bytes and requests are even (pure).

A node's share of the bytes follows its weight and zone (`loads.fair_by_zone`), its share of the requests its weight. A
replica goes from a node that holds much to one that holds little, a lead from a node that is asked much to a voter that
is asked little; where no voter is, the leading replica moves to where there is room.

Nothing swings to and fro, for four reasons. A node is evened out only once it is `begin` away from its share, and then
until it is within `end` of it (hysteresis). A move must bring the fuller of its two ends down by `gain` of its own
size, so none can be followed by its opposite. A shard that has moved stays for `cooling_ms`. And what moves a replica
is judged by requests averaged over a time as long as that, so that load which comes and goes faster moves none.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from zkv.core.cluster.loads import fair_by_zone
from zkv.core.cluster.ring import RingNode
from zkv.ids import NodeId, ShardId

SHARD_BYTES: Final = 1024 * 1024  # what a replica counts beside its rows: small shards are evened out by number
LEAD_REQUESTS: Final = 10.0  # what a lead counts beside its requests, likewise
_LEAST_LEADS: Final = 2.0  # of what a lead counts: nearer to its share no node is worth a hand-over
_TARGETS: Final = 8  # emptiest nodes that are tried for a replica


class Home(NamedTuple):
    """A node. `receives`: it may be given something now."""

    node: NodeId
    weight: float
    zone: str
    receives: bool = True


class Piece(NamedTuple):
    """A shard as it will be once its plans are done.

    `requests`: a second, lately; `steady`: averaged over about a cooling time. `is_free`: it may be moved.
    """

    shard: ShardId
    voters: tuple[NodeId, ...]
    leader: NodeId
    bytes: float
    requests: float
    steady: float
    is_free: bool = True

    def moved(self, source: NodeId, target: NodeId) -> "Piece":
        """The shard with its replica on another node; a lead goes along."""
        voters = tuple(target if voter == source else voter for voter in self.voters)
        return self._replace(voters=voters, leader=target if self.leader == source else self.leader)


class Wish(NamedTuple):
    """A replica that is to move (or a lead that is to be handed over) from one node to another."""

    shard: ShardId
    source: NodeId
    target: NodeId
    why: str


class Wishes(NamedTuple):
    """What one decision comes to."""

    moves: list[Wish]
    handovers: list[Wish]


@dataclass(frozen=True, slots=True)
class Bounds:
    """When to even out: `begin` and `end` are parts of a node's share."""

    begin: float = 0.20
    end: float = 0.10
    gain: float = 0.5  # of what moves: by so much at least the fuller of its two ends must come down
    cooling_ms: int = 600_000  # of a replica that has moved
    lead_cooling_ms: int = 120_000  # of a lead that was handed over
    moves_per_node: int = 2  # under way at once
    handovers: int = 8  # in one decision


class Load(NamedTuple):
    """What a node has of something, and as a multiple of its fair share. `is_off`: it is being evened out."""

    load: float
    fullness: float
    is_off: bool


class Scale:
    """How full each node is of one thing: its load as a multiple of its fair share.

    `off`: the nodes that are to be evened out; it is kept from one decision to the next, which makes the hysteresis.
    """

    def __init__(
        self, what: str, loads: dict[NodeId, float], shares: Mapping[NodeId, float], least: float, bounds: Bounds
    ) -> None:
        self.what = what
        self.loads = loads
        self.off: set[NodeId] = set()
        self._shares = {node: max(share, 1e-9) for node, share in shares.items()}
        self._least = least  # nobody who is nearer to its share is off
        self._bounds = bounds

    def judge(self, before: Collection[NodeId]) -> None:
        """Find the nodes that are off, given those that were."""
        for node in self.loads:
            part, least = (self._bounds.end, 0.5) if node in before else (self._bounds.begin, 1.0)
            if self._is_away(node, part, least):
                self.off.add(node)

    def _is_away(self, node: NodeId, part: float, least: float) -> bool:
        return abs(self.excess(node)) > max(part * self._shares[node], least * self._least)

    def fullness(self, node: NodeId) -> float:
        """The node's load as a multiple of its share."""
        return self.loads[node] / self._shares[node]

    def load_of(self, node: NodeId) -> Load:
        """All of it, to be told."""
        return Load(self.loads[node], self.fullness(node), node in self.off)

    def excess(self, node: NodeId) -> float:
        """How much the node has above its share; below 0: how much it lacks."""
        return self.loads[node] - self._shares[node]

    def most(self, source: NodeId, target: NodeId, gain: float) -> float:
        """How much may go from one to the other at once: with more, the fuller of the two would not gain enough."""
        share = self._shares[target]
        return (self.fullness(source) * share - self.loads[target]) / (1 + gain * share / self._shares[source])

    def after(self, source: NodeId, target: NodeId, size: float) -> float:
        """How full the fuller of the two would be after so much has gone from one to the other."""
        left, right = (self.loads[source] - size) / self._shares[source], self.loads[target] + size
        return max(left, right / self._shares[target])

    def fullest(self) -> list[NodeId]:
        """The nodes above their shares, the fullest first."""
        above = [node for node in self.loads if self.excess(node) > 0]
        return sorted(above, key=lambda node: (-self.fullness(node), node))

    def emptiest(self, nodes: Collection[NodeId]) -> list[NodeId]:
        """Those of the nodes that are below their shares, the emptiest first."""
        below = [node for node in nodes if self.excess(node) < 0]
        return sorted(below, key=lambda node: (self.fullness(node), node))

    def bears(self, source: NodeId, target: NodeId, size: float) -> bool:
        """Whether so much may go from one to the other for another reason: nobody is off by it, or it is a gain."""
        if size <= self.most(source, target, self._bounds.gain):
            return True
        away = {source: self.excess(source) - size, target: self.excess(target) + size}
        bound = {node: max(self._bounds.begin * self._shares[node], self._least) for node in away}
        return not self.off & away.keys() and all(abs(away[node]) <= bound[node] for node in away)

    def move(self, source: NodeId, target: NodeId, size: float) -> None:
        """So much goes from one to the other; who is near its share then is off no longer."""
        self.loads[source] -= size
        self.loads[target] += size
        self.off -= {node for node in (source, target) if not self._is_away(node, self._bounds.end, 0.5)}

    def told(self, source: NodeId, target: NodeId) -> str:
        """Why something goes from one to the other, with the figures."""
        return (
            f"{source} {self.what} {self.fullness(source):.2f} times its share ({_figure(self.loads[source])}), "
            f"{target} {self.fullness(target):.2f} times ({_figure(self.loads[target])})"
        )


@dataclass(slots=True)
class Evenness:
    """What is remembered from one decision to the next. It may be lost at any moment, and then nothing has cooled."""

    bounds: Bounds = Bounds()
    held: set[NodeId] = field(default_factory=set)  # that were off, by bytes
    led: set[NodeId] = field(default_factory=set)  # by requests
    steadily: set[NodeId] = field(default_factory=set)  # by requests over a long time
    moved: dict[ShardId, int] = field(default_factory=dict)  # until when a shard stays where it is
    handed: dict[ShardId, int] = field(default_factory=dict)  # until when its leader stays
    loads: dict[NodeId, tuple[Load, Load]] = field(default_factory=dict)  # by bytes and requests, as last decided on

    def decide(
        self, homes: Sequence[Home], pieces: Sequence[Piece], busy: Mapping[NodeId, int], replicas: int, now_ms: int
    ) -> Wishes:
        """What is wanted now. `busy`: moves under way by node; `replicas`: how many a shard has, as a rule."""
        self.moved = {shard: until for shard, until in self.moved.items() if now_ms < until}
        self.handed = {shard: until for shard, until in self.handed.items() if now_ms < until}
        if not homes or not pieces:
            return Wishes([], [])
        decision = _Decision(self, homes, pieces, busy, replicas)
        decision.even_bytes()
        decision.even_leads()
        decision.even_requests()
        self.held, self.led, self.steadily = decision.held.off, decision.led.off, decision.steadily.off
        self.loads = {home.node: (decision.held.load_of(home.node), decision.led.load_of(home.node)) for home in homes}
        cooled_ms, lead_ms = now_ms + self.bounds.cooling_ms, now_ms + self.bounds.lead_cooling_ms
        self.moved |= {wish.shard: cooled_ms for wish in decision.moves}
        self.handed |= dict.fromkeys(decision.handed, lead_ms)
        return Wishes(decision.moves, decision.handovers)


class _Decision:
    """One decision: loads as they will be once all that was wished so far is done."""

    def __init__(
        self, memory: Evenness, homes: Sequence[Home], pieces: Sequence[Piece], busy: Mapping[NodeId, int], wanted: int
    ) -> None:
        self.moves: list[Wish] = []
        self.handovers: list[Wish] = []
        self.handed: set[ShardId] = set()  # shards that are to be led elsewhere, by a hand-over or a move
        self._memory = memory
        self._bounds = memory.bounds
        self._zones = {home.node: home.zone for home in homes}
        self._room = {home.node: memory.bounds.moves_per_node - busy.get(home.node, 0) for home in homes}
        self._receiving = {home.node for home in homes if home.receives}
        self._touched: set[ShardId] = set()
        held = dict.fromkeys(self._zones, 0.0)
        led, steadily = dict(held), dict(held)
        self._on: dict[NodeId, list[Piece]] = {home.node: [] for home in homes}
        self._led: dict[NodeId, list[Piece]] = {home.node: [] for home in homes}
        for piece in pieces:
            size = _size(piece)
            for voter in piece.voters:
                if voter in held:
                    held[voter] += size
                    self._on[voter].append(piece)
            if piece.leader in led:
                led[piece.leader] += piece.requests + LEAD_REQUESTS
                steadily[piece.leader] += _lead(piece)
                self._led[piece.leader].append(piece)
        bounds, least = memory.bounds, _LEAST_LEADS * LEAD_REQUESTS
        self.held = Scale("holds", held, _by_zone(homes, len(pieces), wanted, sum(held.values())), SHARD_BYTES, bounds)
        self.led = Scale("is asked", led, _by_weight(homes, sum(led.values())), least, bounds)
        self.steadily = Scale("is asked", steadily, _by_weight(homes, sum(steadily.values())), least, bounds)
        self.held.judge(memory.held)
        self.led.judge(memory.led)
        self.steadily.judge(memory.steadily)

    # Replicas -----------------------------------------------------------------------------------------------------

    def even_bytes(self) -> None:
        """Replicas go from the fullest nodes to the emptiest."""
        for source in self._sources(self.held):
            pieces = sorted(self._movable(self._on[source]), key=_size)
            while self._room[source] > 0 and self._give(self.held, source, pieces, _size):
                pass

    def even_requests(self) -> None:
        """A leading replica goes to where little is asked, if no voter of its shard could lead instead."""
        for source in self._sources(self.steadily):
            movable = self._movable(self._led[source])
            pieces = sorted([own for own in movable if not self._may_be_handed_over(own, source)], key=_lead)
            while self._room[source] > 0 and self._give(self.steadily, source, pieces, _lead):
                pass

    def _give(self, scale: Scale, source: NodeId, pieces: list[Piece], size: Callable[[Piece], float]) -> bool:
        """One replica of the source goes, if that is of use. `pieces` by `size`, the smallest first.

        Rather the largest that does not overshoot the share of either end, else the smallest that is a gain yet.
        """
        for target in self._targets(scale, source)[:_TARGETS]:
            wanted = min(scale.excess(source), -scale.excess(target))
            most = bisect_right(pieces, scale.most(source, target, self._bounds.gain), key=size)
            best = min(bisect_right(pieces, wanted, key=size), most)
            for piece in (*reversed(pieces[:best]), *pieces[best:most]):
                if self._fits(piece, source, target) and self._does_no_harm(piece, source, target, scale):
                    self._wish(piece, source, target, scale)
                    pieces.remove(piece)
                    return True
        return False

    def _does_no_harm(self, piece: Piece, source: NodeId, target: NodeId, scale: Scale) -> bool:
        """Whether by the other measure it is a gain, too, or leaves both near their shares; the lead goes along."""
        if scale is not self.held:
            return self.held.bears(source, target, _size(piece))
        return piece.leader != source or self.steadily.bears(source, target, _lead(piece))

    def _may_be_handed_over(self, piece: Piece, source: NodeId) -> bool:
        return any(
            own in self._receiving and self._is_gain(self.steadily, source, own, _lead(piece))
            for own in piece.voters
            if own != source
        )

    def _wish(self, piece: Piece, source: NodeId, target: NodeId, scale: Scale) -> None:
        self.moves.append(Wish(piece.shard, source, target, scale.told(source, target)))
        self._touched.add(piece.shard)
        self._room[source] -= 1
        self._room[target] -= 1
        self.held.move(source, target, _size(piece))
        if piece.leader == source:
            self._hand_over(piece, source, target)

    def _movable(self, pieces: Sequence[Piece]) -> Iterator[Piece]:
        moved = self._memory.moved
        return (own for own in pieces if own.is_free and own.shard not in moved and own.shard not in self._touched)

    def _fits(self, piece: Piece, source: NodeId, target: NodeId) -> bool:
        """Whether the shard may be there instead: once on a node, and in no zone oftener than before."""
        if target in piece.voters:
            return False
        rest = [self._zones.get(voter) for voter in piece.voters if voter != source]
        return rest.count(self._zones[target]) <= rest.count(self._zones[source])

    def _targets(self, scale: Scale, source: NodeId) -> list[NodeId]:
        """Who may be given a replica of the source: where that is not off itself, only who is."""
        free = [node for node in self._receiving if self._room[node] > 0 and node != source]
        return scale.emptiest(free if source in scale.off else [node for node in free if node in scale.off])

    def _sources(self, scale: Scale) -> list[NodeId]:
        return [node for node in scale.fullest() if self._room[node] > 0] if scale.off else []

    def _is_gain(self, scale: Scale, source: NodeId, target: NodeId, size: float) -> bool:
        return size <= scale.most(source, target, self._bounds.gain)

    # Leads --------------------------------------------------------------------------------------------------------

    def even_leads(self) -> None:
        """Leads go from those that are asked most to voters that are asked less, the best hand-overs first."""
        for source in self.led.fullest() if self.led.off else []:
            leads = [own for own in self._led[source] if own.is_free and own.shard not in self._memory.handed]
            leads = [own for own in leads if own.shard not in self._touched]
            while len(self.handovers) < self._bounds.handovers and (found := self._best(source, leads)):
                piece, target = found
                self.handovers.append(Wish(piece.shard, source, target, self.led.told(source, target)))
                self._touched.add(piece.shard)
                self._hand_over(piece, source, target)
                leads.remove(piece)

    def _best(self, source: NodeId, leads: Sequence[Piece]) -> tuple[Piece, NodeId] | None:
        """The hand-over after which the fuller of its two ends is least full; None where none is a gain."""
        best = (self.led.fullness(source), 0.0)
        found: tuple[Piece, NodeId] | None = None
        is_off = source in self.led.off
        for piece in leads:
            size = piece.requests + LEAD_REQUESTS
            for voter in piece.voters:
                if voter == source or voter not in self._receiving or not (is_off or voter in self.led.off):
                    continue
                after = (self.led.after(source, voter, size), self.led.fullness(voter))
                if after < best and self._is_gain(self.led, source, voter, size):
                    best, found = after, (piece, voter)
        return found

    def _hand_over(self, piece: Piece, source: NodeId, target: NodeId) -> None:
        self.handed.add(piece.shard)
        self.led.move(source, target, piece.requests + LEAD_REQUESTS)
        self.steadily.move(source, target, _lead(piece))


def _size(piece: Piece) -> float:
    """What a replica of it counts, beside others."""
    return piece.bytes + SHARD_BYTES


def _lead(piece: Piece) -> float:
    """What its lead counts over a long time."""
    return piece.steady + LEAD_REQUESTS


def _by_weight(homes: Sequence[Home], total: float) -> dict[NodeId, float]:
    weight = sum(home.weight for home in homes)
    return {home.node: total * home.weight / weight for home in homes}


def _by_zone(homes: Sequence[Home], shards: int, replicas: int, total: float) -> dict[NodeId, float]:
    """Each node's share of the bytes, as far as zones and weights allow."""
    nodes = [RingNode(home.node, home.weight, home.zone) for home in homes]
    zones = {str(home.node): home.zone for home in homes}
    fair = fair_by_zone(nodes, zones, shards, min(replicas, len(homes)))
    return {home.node: total * fair[home.node] / sum(fair.values()) for home in homes}


def _figure(load: float) -> str:
    """A load to read: as bytes or requests a second, cut to three places."""
    for unit in ("", "k", "M", "G"):
        if load < 1_000:
            return f"{load:.3g}{unit}"
        load /= 1_000
    return f"{load:.3g}T"
