"""Evens out range tables in a running cluster: what leaders say goes in, plans and hand-overs come out.

The decision is `evenness`; here is when it is made, of what, and what becomes of it. All that is kept may be lost with
this coordinator's lead: whoever leads next waits for FIRST_MS, until it has heard the figures itself.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from zkv import limits
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.evenness import Bounds, Evenness, Home, Load, Piece, Wish
from zkv.core.cluster.heard import Heard
from zkv.core.cluster.messages import ShardSize
from zkv.core.cluster.moves import Move
from zkv.core.cluster.operators import Cause, ReplaceReplica
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.cluster.standing import Standing, zone_of_node
from zkv.core.raft.messages import Member
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ShardId

EVERY_MS: Final = 10_000
FIRST_MS: Final = 30_000  # since this coordinator leads
_PREVIEWED: Final = 10  # decisions: without bounds on how much moves at once, most comes in the first


class Evening:
    """`handovers`: leads to be handed over, for whoever gives the orders to take."""

    def __init__(self) -> None:
        self.bounds = Bounds()
        self.every_ms, self.first_ms = EVERY_MS, FIRST_MS
        self.handovers: deque[Wish] = deque()
        self.evenness = Evenness()
        self._heard = Heard()
        self._next_ms = self._now_ms = 0

    def begin(self, now_ms: int) -> None:
        """This coordinator has just begun to lead."""
        self.evenness = Evenness(self.bounds)
        self._heard.clear()
        self.handovers.clear()
        self._next_ms = now_ms + self.first_ms

    def take(self, sizes: Iterable[ShardSize]) -> None:
        """A node has said this of shards that it leads."""
        for size in sizes:
            self._heard.take(size.shard, size.bytes, size.requests, size.range_version)

    def is_due(self, now_ms: int) -> bool:
        """Whether it is time for a decision. Where no leader has said anything, there is nothing to decide."""
        return now_ms >= self._next_ms and bool(self._heard.figures)

    def draft(
        self,
        draft: Draft,
        standing: Standing,
        is_left_alone: Callable[[ShardId], bool],
        now_ms: int,
        *,
        may_plan: bool,
    ) -> None:
        """Plan the moves that are wanted, if it is time. `may_plan`: all that stay are there, and nothing is urgent."""
        self._now_ms = now_ms
        if not self.is_due(now_ms):
            return
        self._next_ms = now_ms + self.every_ms
        self._heard.average(now_ms)
        if not may_plan:
            self.handovers.clear()
            return
        pieces = self._pieces(draft, standing, is_left_alone)
        self._heard.forget({piece.shard for piece in pieces})
        self.evenness.bounds = replace(self.bounds, moves_per_node=draft.tuning.moves_per_node)
        homes, (_, busy) = _homes(draft, standing), _plans(draft)
        wishes = self.evenness.decide(homes, pieces, busy, _replicas(draft), now_ms)
        self.handovers = deque(wishes.handovers)
        for wish in wishes.moves:
            _put(draft, wish)

    def preview(self, draft: Draft, standing: Standing) -> list[Move]:
        """The moves that the next decisions would come to for the bytes there are; how leads follow is left open."""
        memory = Evenness(replace(self.bounds, moves_per_node=limits.SHARDS_PER_TABLE_MAX))
        seen = self._pieces(draft, standing, lambda shard: False)
        pieces = {piece.shard: piece._replace(leader=NodeId("")) for piece in seen}
        homes, replicas = _homes(draft, standing), _replicas(draft)
        found: list[Move] = []
        for _ in range(_PREVIEWED):
            wishes = memory.decide(homes, list(pieces.values()), {}, replicas, 0).moves
            for wish in wishes:
                pieces[wish.shard] = pieces[wish.shard].moved(wish.source, wish.target)
                source = _voter(draft, wish)
                found.append(Move(wish.shard, source, wish.target, Cause.BALANCE, wish.why))
            if not wishes:
                break
        return found

    def _pieces(self, draft: Draft, standing: Standing, is_left_alone: Callable[[ShardId], bool]) -> list[Piece]:
        """The shards of range tables, as they will be."""
        ordered = {table.table for table in draft.tables() if table.partitioner == Partitioner.RANGE}
        shards = [info for info in draft.shards() if info.table in ordered and info.state != ShardState.DROPPING]
        plans, _ = _plans(draft)
        held = {plan.shard for plan in draft.splits()} | {plan.split.shard for plan in draft.splits()}
        folders = {node.node: node.incarnation for node in draft.nodes() if node.receives}
        pieces: list[Piece] = []
        for info in shards:
            own = plans.get(info.shard, [])
            is_free = not own and info.shard not in held and not is_left_alone(info.shard)
            pieces.append(self._piece(info, own, is_free=is_free and _is_whole(info, folders, standing)))
        return pieces

    def figures(self) -> dict[str, dict[str, dict[str, float | bool | None]]]:
        """For people: each node's load as of the last decision, and of each shard what was heard and how it stands."""
        return {
            "evenness": {node: _told_of(*loads) for node, loads in self.evenness.loads.items()},
            "asked": {str(shard): self._told_of_shard(shard) for shard in self._heard.figures},
        }

    def _told_of_shard(self, shard: ShardId) -> dict[str, float | bool | None]:
        told, now_ms = self._heard.of(shard), self._now_ms
        cooled_ms = self.evenness.moved.get(shard, now_ms)
        return {
            "requests": round(told.lately, 1),
            "steady": round(told.steady, 1),
            "stays_ms": max(0, cooled_ms - now_ms),
        }

    def _piece(self, info: ShardInfo, plans: list[ReplaceReplica], *, is_free: bool) -> Piece:
        """The shard as it will be; a lead goes along with its replica."""
        voters: list[Member] = list(info.membership.voters)
        leader = info.leading()
        for plan in plans:
            leader = plan.fresh if leader in plan.lost else leader
            voters = [own for own in voters if own not in plan.lost and own != plan.fresh] + [plan.fresh]
        told = self._heard.of(info.shard)
        nodes = tuple(voter.node for voter in voters)
        led_by = leader.node if leader is not None else NodeId("")
        return Piece(info.shard, nodes, led_by, told.bytes, told.lately, told.steady, is_free)


def _told_of(held: Load, led: Load) -> dict[str, float | bool | None]:
    return {
        "bytes": round(held.load),
        "bytes_in_shares": round(held.fullness, 2),
        "bytes_off": held.is_off,
        "requests": round(led.load),
        "requests_in_shares": round(led.fullness, 2),
        "requests_off": led.is_off,
    }


def _replicas(draft: Draft) -> int:
    """How many replicas shards of range tables have, as a rule."""
    ordered = {table.table: table.replicas for table in draft.tables() if table.partitioner == Partitioner.RANGE}
    counts = Counter(ordered[info.table] for info in draft.shards() if info.table in ordered)
    return counts.most_common(1)[0][0] if counts else 1


def _homes(draft: Draft, standing: Standing) -> list[Home]:
    nodes = sorted((node for node in draft.nodes() if standing.stays(node)), key=lambda own: own.node)
    return [Home(node.node, node.weight, zone_of_node(node), node.receives) for node in nodes]


def _plans(draft: Draft) -> tuple[dict[ShardId, list[ReplaceReplica]], Counter[NodeId]]:
    """The plans by shard, and how many each node takes part in."""
    by_shard: dict[ShardId, list[ReplaceReplica]] = {}
    busy: Counter[NodeId] = Counter()
    for plan in draft.operators():
        by_shard.setdefault(plan.shard, []).append(plan)
        busy.update((plan.source.node, plan.target.node))
    return by_shard, busy


def _is_whole(info: ShardInfo, folders: dict[NodeId, int], standing: Standing) -> bool:
    """Whether the shard is in service, with a leader, and all of its group is there, to stay.

    `folders`: the incarnations of the nodes that are up and serve.
    """
    voters = info.membership.voters
    is_led = info.state == ShardState.ACTIVE and info.leading() is not None and not info.membership.learners
    return is_led and all(
        folders.get(voter.node) == voter.incarnation and voter.replica not in standing.missing for voter in voters
    )


def _put(draft: Draft, wish: Wish) -> None:
    node = draft.node(wish.target)
    assert node is not None, "a wish is for a node of the draft"
    number, fresh = draft.new_operator(), draft.new_member(node)
    draft.put_operator(ReplaceReplica(number, wish.shard, (_voter(draft, wish),), fresh, wish.why, Cause.BALANCE))


def _voter(draft: Draft, wish: Wish) -> Member:
    """The replica that is to move."""
    info = draft.shard(wish.shard)
    assert info is not None, "a wish is for a shard of the draft"
    return next(voter for voter in info.membership.voters if voter.node == wish.source)
