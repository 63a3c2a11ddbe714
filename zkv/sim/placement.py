"""Placement alone, simulated: nodes, shards, skewed load that moves, and the decisions of `evenness` on them (pure).

No messages, no replicas, no faults: a move takes as long as its bytes at the rate that a node may send, and a hand-over
a round. What is decided is decided by the same code as in a coordinator, from the same averages. The day has three
parts: a crooked start under still load, hours in which the load wanders, and still load again, in which all settles.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from zkv.core.cluster.evenness import Bounds, Evenness, Home, Piece, Wish
from zkv.core.cluster.heard import Heard
from zkv.core.message import Message
from zkv.ids import NodeId, ShardId

ROUND_MS = 10_000
_HOUR_MS = 3_600_000
_MIB = 1024 * 1024
_MOVE_MS = 3_000  # what a move takes beside its bytes


class Day(Message, frozen=True, gc=False):
    """What is simulated. Hours: `still` at the start, `moving` then, `rest` at the end."""

    seed: int = 1
    nodes: int = 100
    shards: int = 10_000
    zones: int = 10
    replicas: int = 3
    skew: float = 0.6  # of the load over shards: Zipf's exponent
    requests: float = 1_000_000.0  # a second, over all shards
    empty: float = 0.2  # of the nodes, at the start: they have just joined
    drift: float = 0.002  # of the shards that change places in the order of popularity, every minute
    noise: float = 0.1  # of what a leader says of its requests
    rate: int = 64 * _MIB  # bytes a second from each node
    still: float = 2.0
    moving: float = 2.0
    rest: float = 2.0


class Hour(Message, frozen=True, gc=False):
    """What an hour came to; the spreads are as of its end, in fair shares."""

    hour: int
    load: str
    moves: int
    handovers: int
    bytes_moved: int
    bytes_most: float
    bytes_least: float
    requests_most: float
    requests_least: float


class Outcome(Message, frozen=True, gc=False):
    """What a day came to.

    `moved_hot`: shards that moved twice within their cooling time; `back`: replicas that went back to where they had
    left, at any time; `last_move_s`: since the load came to rest; `largest`: the most asked shard, in shares of a node.
    """

    day: Day
    hours: tuple[Hour, ...]
    moves: int
    handovers: int
    bytes_moved: int
    bytes_held: int
    moved_hot: int
    back: int
    last_move_s: float
    largest: float
    step_ms: float = 0.0  # of CPU, for one round of the simulation, as the shell has measured it


@dataclass(slots=True)
class _Shard:
    shard: ShardId
    voters: list[NodeId]
    leader: NodeId
    bytes: int
    requests: float = 0.0


@dataclass(slots=True)
class _Count:
    moves: int = 0
    handovers: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Past:
    """What has happened to each shard: when it moved last, and where it has been."""

    moved_ms: dict[ShardId, int] = field(default_factory=dict)
    left: dict[ShardId, set[NodeId]] = field(default_factory=dict)
    hot: int = 0
    back: int = 0

    def note(self, wish: Wish, now_ms: int, cooling_ms: int) -> None:
        """A move begins."""
        self.hot += now_ms - self.moved_ms.get(wish.shard, -cooling_ms) < cooling_ms
        self.back += wish.target in self.left.get(wish.shard, ())
        self.moved_ms[wish.shard] = now_ms
        self.left.setdefault(wish.shard, set()).add(wish.source)


class World:
    """The nodes and shards of a day. `step` is one round; `load` may be changed in between."""

    def __init__(self, day: Day, bounds: Bounds | None = None) -> None:
        self.day = day
        self.now_ms = 0
        self.count = _Count()
        self.past = _Past()
        self.last_move_ms = 0
        self.evenness = Evenness(bounds or Bounds())
        self.homes = [Home(NodeId(f"n{number}"), 1.0, f"z{number % day.zones}") for number in range(day.nodes)]
        self._rng = Random(day.seed)
        self._heard = Heard()
        self._under_way: list[tuple[int, Wish]] = []  # when it is done
        self.shards = self._placed()
        weights = [(rank + 1) ** -day.skew for rank in range(day.shards)]
        self._popular = [weight / sum(weights) * day.requests for weight in weights]
        self._rng.shuffle(self._popular)
        self.ask(self._popular)

    def ask(self, requests: list[float]) -> None:
        """So many requests a second come to each shard from now on."""
        for shard, asked in zip(self.shards.values(), requests, strict=True):
            shard.requests = asked

    def wander(self) -> None:
        """For a round's length, the load moves: some shards change places in the order of popularity."""
        swaps = self.day.drift * self.day.shards * ROUND_MS / 60_000 / 2
        for _ in range(int(swaps) + (self._rng.random() < swaps % 1)):
            one, other = self._rng.randrange(self.day.shards), self._rng.randrange(self.day.shards)
            popular = self._popular
            popular[one], popular[other] = popular[other], popular[one]
        self.ask(self._popular)

    def step(self) -> None:
        """One round: what is done by now is done, leaders say their figures, and the next moves are decided."""
        self.now_ms += ROUND_MS
        self._finish()
        noise = self.day.noise
        for shard in self.shards.values():
            self._heard.take(shard.shard, shard.bytes, shard.requests * (1 + noise * (2 * self._rng.random() - 1)))
        self._heard.average(self.now_ms)
        busy: dict[NodeId, int] = {}
        going = {wish.shard: wish for _, wish in self._under_way}
        for wish in going.values():
            busy[wish.source] = busy.get(wish.source, 0) + 1
            busy[wish.target] = busy.get(wish.target, 0) + 1
        pieces = [self._piece(shard, going.get(shard.shard)) for shard in self.shards.values()]
        wishes = self.evenness.decide(self.homes, pieces, busy, self.day.replicas, self.now_ms)
        for wish in wishes.handovers:
            self.shards[wish.shard].leader = wish.target
            self.count.handovers += 1
        for wish in wishes.moves:
            self._begin(wish)

    def spread(self, *, stored: bool) -> tuple[float, float]:
        """The fullest and the emptiest node, in fair shares: by bytes held, or by requests led."""
        loads = dict.fromkeys((home.node for home in self.homes), 0.0)
        for shard in self.shards.values():
            for node in shard.voters if stored else [shard.leader]:
                loads[node] += shard.bytes if stored else shard.requests
        fair = sum(loads.values()) / len(loads)
        return max(loads.values()) / fair, min(loads.values()) / fair

    @property
    def largest(self) -> float:
        """The most asked shard, in fair shares of a node: no placement brings its node below."""
        asked = [shard.requests for shard in self.shards.values()]
        return max(asked) * len(self.homes) / sum(asked)

    def _begin(self, wish: Wish) -> None:
        size = self.shards[wish.shard].bytes
        self.past.note(wish, self.now_ms, self.evenness.bounds.cooling_ms)
        self.count.moves += 1
        self.count.bytes += size
        self.last_move_ms = self.now_ms
        # Its node may send several at once, which share the rate.
        taken_ms = _MOVE_MS + int(size * 1_000 * self.evenness.bounds.moves_per_node / self.day.rate)
        self._under_way.append((self.now_ms + taken_ms, wish))

    def _finish(self) -> None:
        done = [wish for end_ms, wish in self._under_way if end_ms <= self.now_ms]
        self._under_way = [(end_ms, wish) for end_ms, wish in self._under_way if end_ms > self.now_ms]
        for wish in done:
            shard = self.shards[wish.shard]
            shard.voters[shard.voters.index(wish.source)] = wish.target
            shard.leader = wish.target if shard.leader == wish.source else shard.leader

    def _piece(self, shard: _Shard, going: Wish | None) -> Piece:
        told, voters = self._heard.of(shard.shard), tuple(shard.voters)
        piece = Piece(shard.shard, voters, shard.leader, told.bytes, told.lately, told.steady, going is None)
        return piece.moved(going.source, going.target) if going is not None else piece

    def _placed(self) -> dict[ShardId, _Shard]:
        """Shards of 8 to 64 MiB by chance on the nodes that are not empty, in zones of their own, the first leads."""
        full = self.homes[int(len(self.homes) * self.day.empty) :]
        placed: dict[ShardId, _Shard] = {}
        for number in range(self.day.shards):
            voters: dict[str, NodeId] = {}
            while len(voters) < self.day.replicas:
                home = self._rng.choice(full)
                voters.setdefault(home.zone, home.node)
            nodes = list(voters.values())
            placed[ShardId(number)] = _Shard(ShardId(number), nodes, nodes[0], self._rng.randrange(8, 64) * _MIB)
        return placed


def hours(world: World) -> Iterator[Hour]:
    """Run the day, hour by hour; hour 0 is how it begins."""
    day = world.day
    yield _hour(world, 0, "start")
    for hour in range(round(day.still + day.moving + day.rest)):
        world.count = _Count()
        moving = day.still <= hour < day.still + day.moving
        for _ in range(_HOUR_MS // ROUND_MS):
            if moving:
                world.wander()
            world.step()
        yield _hour(world, hour + 1, "moving" if moving else "still")


def _hour(world: World, hour: int, load: str) -> Hour:
    spreads = (*world.spread(stored=True), *world.spread(stored=False))
    most, least, busiest, idlest = (round(spread, 3) for spread in spreads)
    count = world.count
    return Hour(hour, load, count.moves, count.handovers, count.bytes, most, least, busiest, idlest)


def outcome(world: World, told: tuple[Hour, ...]) -> Outcome:
    """What the day came to, after its last hour."""
    day = world.day
    rest_ms = int((day.still + day.moving) * _HOUR_MS)
    return Outcome(
        day=day,
        hours=told,
        moves=sum(hour.moves for hour in told),
        handovers=sum(hour.handovers for hour in told),
        bytes_moved=sum(hour.bytes_moved for hour in told),
        bytes_held=sum(shard.bytes for shard in world.shards.values()) * day.replicas,
        moved_hot=world.past.hot,
        back=world.past.back,
        last_move_s=max(0, world.last_move_ms - rest_ms) / 1_000,
        largest=round(world.largest, 3),
    )
