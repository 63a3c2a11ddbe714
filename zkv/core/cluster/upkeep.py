"""Keeps replicas where they should be as nodes come, go and die: which plans there are, and when they begin.

What it decides is computed anew from each draft. Of its own it keeps only what may be lost with this coordinator's
lead: since when all has been calm, and which shards an operator wants left alone.
"""

from typing import Final

from msgspec import structs

from zkv.core.cluster.draft import Draft
from zkv.core.cluster.evening import Evening
from zkv.core.cluster.liveness import Liveness
from zkv.core.cluster.moves import Move, is_idle, is_possible, wanted_moves
from zkv.core.cluster.operators import Cause, ReplaceReplica, has_begun, undone
from zkv.core.cluster.replacement import draft_replacements
from zkv.core.cluster.shardmap import NodeDuty, NodeInfo, NodeState, Partitioner
from zkv.core.cluster.standing import Standing
from zkv.core.shard.descriptor import ShardState
from zkv.ids import NodeId, ShardId

PAUSE_SHARDS: Final = 1_000  # for each so many shards there is a pause from one reckoning of all to the next
PAUSE_MS: Final = 3_000  # 1,000 shards over 50 nodes take about 0.4 s
CALM_MS: Final = 3_000  # since a node came, went or changed: only then are shares evened out, once for several nodes
LEFT_ALONE_MS: Final = 60_000  # a shard whose plan an operator has cancelled


class Upkeep:
    """The coordinator's plans for its shards. `dead`: nodes that are given up, as of the last `look`."""

    def __init__(self, liveness: Liveness) -> None:
        self.dead: frozenset[NodeId] = frozenset()
        self._liveness = liveness
        self._calm_from_ms = 0
        self._is_calm = False
        self._nodes: dict[NodeId, NodeInfo] = {}
        self._left_alone: dict[ShardId, int] = {}  # until when
        self._reckoned: tuple[object, list[Move] | None] = (None, None)  # from what, and what came of it
        self._next_ms = 0  # of a large cluster, all is reckoned only now and then
        self._is_due = False
        self.evening = Evening()  # of range tables

    def clear(self) -> None:
        """This coordinator has just begun to lead, or leads no longer."""
        self.dead = frozenset()
        self._nodes.clear()
        self._left_alone.clear()
        self._is_calm = self._is_due = False
        self._reckoned = (None, None)
        self.evening.begin(self._liveness.now_ms)

    def look(self, nodes: dict[NodeId, NodeInfo], grace_ms: int) -> bool:
        """See who is there by now; whether time alone, or a change of the nodes, calls for another decision."""
        now_ms = self._liveness.now_ms
        if nodes != self._nodes:
            self._nodes = dict(nodes)
            self._calm_from_ms = now_ms + CALM_MS
        dead = frozenset(node for node, info in nodes.items() if self._is_dead(info, grace_ms))
        is_due, self._is_due = self._is_due and now_ms >= self._next_ms, self._is_due and now_ms < self._next_ms
        before = (self.dead, self._is_calm, len(self._left_alone))
        self.dead, self._is_calm = dead, now_ms >= self._calm_from_ms
        self._left_alone = {shard: until_ms for shard, until_ms in self._left_alone.items() if now_ms < until_ms}
        is_due = is_due or self.evening.is_due(now_ms)
        return is_due or before != (self.dead, self._is_calm, len(self._left_alone))

    def draft(self, draft: Draft, standing: Standing) -> None:
        """Carry plans on, make those that are wanted, drop those that are not, and forget nodes that are gone."""
        draft_replacements(draft, standing)
        moves = self.moves(draft, standing)
        if moves is not None:
            self._plan(draft, standing, moves)
        self.evening.draft(draft, standing, self.is_left_alone, self._liveness.now_ms, may_plan=self._is_even(draft))
        for node in draft.nodes():
            if node.duty == NodeDuty.REMOVED and not _is_named(draft, node.node):
                draft.drop_node(node.node)

    def moves(self, draft: Draft, standing: Standing) -> list[Move] | None:
        """What is wanted; None where nothing can be, or it was reckoned too short a while ago.

        It is reckoned anew only where something that it follows from has changed: leaders come and go all the time.
        """
        nodes = tuple(draft.nodes())
        shards = [(info.shard, info.start, info.membership, info.state) for info in draft.shards()]
        calm = (self._is_calm, draft.tuning.balance, self.dead, frozenset(standing.missing))
        basis = (nodes, calm, shards, draft.operators())
        if basis == self._reckoned[0]:
            return self._reckoned[1]
        now_ms = self._liveness.now_ms
        if now_ms < self._next_ms:
            self._is_due = True
            return None
        self._next_ms = now_ms + len(shards) // PAUSE_SHARDS * PAUSE_MS
        self._reckoned = (basis, self._reckon(draft, standing))
        return self._reckoned[1]

    def _reckon(self, draft: Draft, standing: Standing) -> list[Move] | None:
        """Who must go goes first, and to where a plan made beforehand said: shares are evened out only after that."""
        if any(not standing.stays(node) for node in draft.nodes()):
            moves = wanted_moves(draft, standing, even=False)
            if any(move.target is not None for move in moves):
                return moves
        return wanted_moves(draft, standing, even=True) if self._is_even(draft) else None

    def cancel(self, draft: Draft, plan: ReplaceReplica) -> None:
        """Take a plan back, and leave its shard alone for a while. See `may_cancel`."""
        info = draft.shard(plan.shard)
        back = undone(plan, info.membership) if info is not None and has_begun(plan, info.membership) else None
        if back is not None:
            draft.put_operator(back)
        else:
            draft.finish(plan)
        self.leave_alone(plan.shard)

    def leave_alone(self, *shards: ShardId) -> None:
        """An operator has cancelled a plan for them: they are left as they are for a while."""
        until_ms = self._liveness.now_ms + LEFT_ALONE_MS
        self._left_alone.update(dict.fromkeys(shards, until_ms))

    def is_left_alone(self, shard: ShardId) -> bool:
        """Whether an operator has cancelled a plan for it, not long ago."""
        return self._liveness.now_ms < self._left_alone.get(shard, 0)

    def touched(self) -> None:
        """An operator has asked for something: what was cancelled before may be meant again."""
        self._left_alone.clear()

    def _is_dead(self, info: NodeInfo, grace_ms: int) -> bool:
        """Down for longer than the grace period; nobody waits for a node that is being replaced."""
        is_late = bool(info.heir) or self._liveness.silent_ms(info.node) >= grace_ms
        return info.state == NodeState.DOWN and is_late

    def _is_even(self, draft: Draft) -> bool:
        """Whether shares may be evened out: it is wanted, all nodes that stay are there, and nothing else is urgent."""
        nodes = {node.node: node for node in draft.nodes()}
        if not draft.tuning.balance or not self._is_calm or nodes != self._nodes:
            return False
        staying = (node for node in draft.nodes() if node.duty == NodeDuty.SERVING and node.node not in self.dead)
        return all(node.state == NodeState.UP for node in staying) and not any(
            plan.cause in (Cause.LOST, Cause.DEAD, Cause.DRAIN) for plan in draft.operators()
        )

    def _plan(self, draft: Draft, standing: Standing, moves: list[Move]) -> None:
        """Make the plans that are wanted. One that was only to even out, and is not wanted any more, ends."""
        wanted = {(move.source, move.target): move for move in moves}
        moving = {move.shard for move in moves}
        ordered = {table.table for table in draft.tables() if table.partitioner == Partitioner.RANGE}
        for plan in draft.operators():
            info = draft.shard(plan.shard)
            if info is None or not is_idle(plan, info):
                continue
            is_of_evening = info.table in ordered and plan.shard not in moving and draft.tuning.balance
            if wanted.pop((plan.source, plan.target.node), None) is None and not is_of_evening:
                draft.finish(plan)
        for move in wanted.values():
            info = draft.shard(move.shard)
            node = draft.node(move.target) if move.target is not None else None
            if info is None or info.state != ShardState.ACTIVE or node is None or self.is_left_alone(move.shard):
                continue
            if is_possible(move, info, standing):
                number, fresh = draft.new_operator(), draft.new_member(node)
                draft.put_operator(ReplaceReplica(number, move.shard, (move.source,), fresh, move.why, move.cause))


def _is_named(draft: Draft, node: NodeId) -> bool:
    """Whether the node is a member of anything, or is to be."""
    members = (member for info in draft.shards() for member in (*info.membership.voters, *info.membership.learners))
    plans = (member for plan in draft.operators() for member in (*plan.lost, plan.fresh))
    return any(member.node == node for member in members) or any(member.node == node for member in plans)


def may_cancel(plan: ReplaceReplica) -> str | None:
    """Why the plan cannot be cancelled; None if it can."""
    if plan.cause in (Cause.LOST, Cause.DEAD):
        return f"operator {plan.id} rebuilds a replica that is gone ({plan.why})"
    return None


def with_tuning(draft: Draft, **changes: object) -> None:
    """Change how the cluster changes by itself; None: as it is."""
    given = {name: value for name, value in changes.items() if value is not None}
    draft.put_tuning(structs.replace(draft.tuning, **given))
