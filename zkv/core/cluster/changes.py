"""What operators ask of the cluster: nodes to be emptied, removed, replaced, weighed; plans cancelled; the tuning.

Like requests for tables, each is judged against the committed state whenever that changes, so a repeated one and one
whose answer was lost end alike. A plan is answered at once: it is computed as if the change were made, and forgotten.
"""

from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from typing import Final

from msgspec import msgpack, structs

from zkv import limits
from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.mapstate import is_live
from zkv.core.cluster.messages import (
    AdminDone,
    AdminRefused,
    CancelOperator,
    ChangeNode,
    ChangeTuning,
    PlanAnswer,
    PlannedMove,
    PlanRequest,
)
from zkv.core.cluster.moves import Move, wanted_moves
from zkv.core.cluster.pending import Answer, PendingRequests
from zkv.core.cluster.registrar import NODE_NAME_CHARACTERS_MAX, WEIGHT_MAX
from zkv.core.cluster.shardmap import NodeDuty, NodeInfo, NodeState
from zkv.core.cluster.splits import SplitPlan
from zkv.core.cluster.standing import Standing
from zkv.core.cluster.upkeep import Upkeep, may_cancel, with_tuning
from zkv.core.raft.quorum import majority
from zkv.core.shard.commands import EFFECT_NONE, EFFECT_UNKNOWN
from zkv.ids import NodeId, ShardId

CHANGE_WAIT_MS: Final = 10_000  # a request not done by then is answered Timeout
NOTICED_MS: Final = limits.NODE_DOWN_MS + 2 * limits.REGISTER_MS  # by then a node that was stopped counts as down
CHANGES_MAX: Final = 100  # waiting at once; more: Overloaded
_FINGERPRINT_BYTES: Final = 7

Change = ChangeNode | CancelOperator | ChangeTuning


@dataclass(slots=True)
class _Waiting:
    """A request that is not answered yet. `drafted`: it has gone into a command."""

    change: Change
    since_ms: int
    drafted: bool = False


def fingerprint(state: CoordinatorState) -> int:
    """Names everything that plans are made from: equal as long as they would come out alike."""
    shard_map = state.map
    shards = [
        (info.shard, info.start, info.range_version, info.membership, info.state)
        for _, info in sorted(shard_map.shards.items())
    ]
    nodes = [info for _, info in sorted(shard_map.nodes.items())]
    plans = [plan for _, plan in sorted(state.operators.items())]
    parts = msgpack.encode((sorted(shard_map.tables), nodes, shards, plans))
    return int.from_bytes(blake2b(parts, digest_size=_FINGERPRINT_BYTES).digest(), "big") + 1


class ChangeRequests(PendingRequests[_Waiting]):
    """Requests of operators. Owned by the coordinator, which asks for drafts and answers."""

    def __init__(self, state: CoordinatorState, upkeep: Upkeep) -> None:
        super().__init__(most=CHANGES_MAX, what="changes of the cluster")
        self._state = state
        self._upkeep = upkeep

    def take(self, source: bytes, change: Change, now_ms: int) -> AdminRefused | None:
        """Keep the request until it can be answered; the refusal if there are too many."""
        return self._keep(source, change.id, _Waiting(change, now_ms))

    def draft(self, draft: Draft) -> None:
        """Put what is asked for and not so yet."""
        for waiting in self._waiting.values():
            if self._is_so(waiting) or self._wrong_with(waiting):
                continue
            waiting.drafted = True
            self._upkeep.touched()
            match waiting.change:
                case ChangeNode():
                    draft.put_node(changed(draft, waiting.change))
                case CancelOperator() as cancel:
                    self._cancel(draft, cancel.operator)
                case ChangeTuning() as tuning:
                    with_tuning(
                        draft,
                        balance=tuning.balance,
                        grace_ms=tuning.grace_ms,
                        moves_per_node=tuning.moves_per_node,
                        bytes_per_s=tuning.bytes_per_s,
                    )

    def _cancel(self, draft: Draft, number: int) -> None:
        """Take a move back; of splits and merges only the shard can say what has become, so they are called off."""
        merge = next((plan for plan in draft.merges() if plan.id == number), None)
        split = next((plan for plan in draft.splits() if plan.id == number), None)
        move = next((plan for plan in draft.operators() if plan.id == number), None)
        if merge is not None:
            draft.put_merge(structs.replace(merge, abandon=True))
            self._upkeep.leave_alone(merge.merge.target, merge.merge.source)
        elif split is not None and not split.shown:
            draft.put_split(structs.replace(split, abandon=True))
            self._upkeep.leave_alone(split.shard)
        elif move is not None:
            self._upkeep.cancel(draft, move)

    def plan(self, request: PlanRequest, standing: Standing) -> PlanAnswer | AdminRefused:
        """What the change would move. `standing` is over a draft that nothing has been put into."""
        change = request.change
        wrong = self._wrong_with_node(change)
        if wrong is not None:
            return AdminRefused(request.id, "NotPossible", wrong, EFFECT_NONE)
        draft = standing.draft
        even = change.action in ("undrain", "set") and draft.tuning.balance
        before = {move[:3] for move in self._moves(draft, standing, even=even)}  # shard, source and target
        draft.put_node(changed(draft, change))
        after = [move for move in self._moves(draft, standing, even=even) if move[:3] not in before]
        moves = tuple(map(_planned, after))
        return PlanAnswer(request.id, self._state.map.version, fingerprint(self._state), moves)

    def _moves(self, draft: Draft, standing: Standing, *, even: bool) -> list[Move]:
        evened = self._upkeep.evening.preview(draft, standing) if even else []
        return wanted_moves(draft, standing, even=even) + evened

    def _judge(self, waiting: _Waiting, now_ms: int) -> Answer | None:
        number = waiting.change.id
        if self._is_so(waiting):
            return AdminDone(number, self._state.map.version)
        wrong = self._wrong_with(waiting)
        if wrong is not None and not (self._may_be_dead(waiting.change) and now_ms - waiting.since_ms < NOTICED_MS):
            effect = EFFECT_UNKNOWN if waiting.drafted else EFFECT_NONE
            return AdminRefused(number, "NotPossible", wrong, effect)
        if now_ms - waiting.since_ms >= CHANGE_WAIT_MS:
            return AdminRefused(number, "Timeout", "the change is not made yet", EFFECT_UNKNOWN)
        return None

    def _may_be_dead(self, change: Change) -> bool:
        """Whether it is about a node that may have just been stopped, which nobody has noticed yet."""
        if not isinstance(change, ChangeNode) or change.action != "remove":
            return False
        node = self._state.map.nodes.get(change.node)
        return node is not None and node.state == NodeState.UP

    def _is_so(self, waiting: _Waiting) -> bool:
        """Whether the committed state is as the request wants it."""
        match waiting.change:
            case ChangeNode() as change:
                node = self._state.map.nodes.get(change.node)
                if node is None:
                    return change.action == "remove" and waiting.drafted
                is_as_wanted = node == changed_node(node, change)
                return is_as_wanted and (waiting.drafted or not change.plan)
            case CancelOperator() as cancel:
                plan = self._state.operators.get(cancel.operator)
                merge, split = self._state.merges.get(cancel.operator), self._state.splits.get(cancel.operator)
                is_off = (merge is None or merge.abandon) and (split is None or split.abandon)
                return waiting.drafted and is_off and (plan is None or plan.undone)
            case ChangeTuning() as tuning:
                given = structs.asdict(tuning).items()
                held = structs.asdict(self._state.map.tuning)
                return all(held[name] == value for name, value in given if name != "id" and value is not None)

    def _wrong_with(self, waiting: _Waiting) -> str | None:
        """Why it cannot be done; None if it can, or is under way."""
        if waiting.drafted:
            return self._gone_meanwhile(waiting.change)
        match waiting.change:
            case ChangeNode() as change:
                if change.plan and change.plan != fingerprint(self._state):
                    return "the map has changed since the plan was made: plan again"
                return self._wrong_with_node(change)
            case CancelOperator() as cancel if cancel.operator in self._state.merges:
                return None
            case CancelOperator() as cancel if cancel.operator in self._state.splits:
                return _wrong_with_split(self._state.splits[cancel.operator])
            case CancelOperator() as cancel:
                plan = self._state.operators.get(cancel.operator)
                return may_cancel(plan) if plan is not None else f"there is no operator {cancel.operator}"
            case ChangeTuning() as tuning:
                least = limits.SNAPSHOT_RATE_BYTES_MIN
                is_slow = tuning.bytes_per_s is not None and 0 < tuning.bytes_per_s < least
                return f"a rate is 0 (no limit) or at least {least} bytes a second" if is_slow else None

    def _gone_meanwhile(self, change: Change) -> str | None:
        """Whether what was drafted can come true no more: another change has had its way, or the shard was faster."""
        if isinstance(change, CancelOperator) and change.operator in self._state.splits:
            return _wrong_with_split(self._state.splits[change.operator])
        if not isinstance(change, ChangeNode) or change.node in self._state.map.nodes:
            return None
        return f"{change.node} was removed meanwhile"

    def _wrong_with_node(self, change: ChangeNode) -> str | None:
        node = self._state.map.nodes.get(change.node)
        if node is None:
            return f"there is no node {change.node}"
        match change.action:
            case "drain":
                return self._wrong_with_leaving(node)
            case "replace":
                heir = self._state.map.nodes.get(change.heir)
                if heir is None or not heir.receives or heir.node == node.node:
                    return f"{change.heir} is no node that is up and may be given anything"
                return self._wrong_with_removal(node) if node.state == NodeState.DOWN else None
            case "remove":
                if node.state == NodeState.UP and self._held_by(node.node):
                    return f"{node.node} is up and holds replicas: drain it first, or stop it if it is gone for good"
                return self._wrong_with_removal(node)
            case "set":
                return _wrong_with_settings(change)
        return None

    def _wrong_with_leaving(self, node: NodeInfo) -> str | None:
        """Whether there would be too few nodes for what it holds."""
        if node.duty == NodeDuty.REMOVED:
            return f"{node.node} is removed"
        rest = [own for own in self._state.map.nodes.values() if own.duty == NodeDuty.SERVING and own.node != node.node]
        for shard in self._held_by(node.node):
            # By its table: amid a move it has a voter more.
            wanted = self._state.map.tables[self._state.map.shards[shard].table].replicas
            if len(rest) < wanted:
                return (
                    f"{node.node} holds one of {wanted} replicas of shard {shard}, and without it there would be "
                    f"{len(rest)} nodes: add a node first"
                )
        return None

    def _wrong_with_removal(self, node: NodeInfo) -> str | None:
        """Whether the rows of some shard would be gone with it."""
        for shard in self._held_by(node.node):
            voters = self._state.map.shards[shard].membership.voters
            live = [own for own in voters if own.node != node.node and is_live(self._state.map, own)]
            if len(live) < majority(len(voters)):
                return f"shard {shard} has no live majority without {node.node}: its rows would be lost"
        return None

    def _held_by(self, node: NodeId) -> list[ShardId]:
        return [
            shard
            for shard, info in sorted(self._state.map.shards.items())
            if any(voter.node == node for voter in info.membership.voters)
        ]


def changed(draft: Draft, change: ChangeNode) -> NodeInfo:
    """The node of the draft as the change wants it; it must be there."""
    node = draft.node(change.node)
    assert node is not None, "a change is judged before it is drafted"
    return changed_node(node, change)


def changed_node(node: NodeInfo, change: ChangeNode) -> NodeInfo:
    """The node as the change wants it."""
    match change.action:
        case "drain":
            return structs.replace(node, duty=NodeDuty.DRAINING, heir=NodeId(""))
        case "undrain":
            return structs.replace(node, duty=NodeDuty.SERVING, heir=NodeId(""))
        case "remove":
            return structs.replace(node, duty=NodeDuty.REMOVED)
        case "replace":
            duty = NodeDuty.DRAINING if node.duty == NodeDuty.SERVING else node.duty
            return structs.replace(node, duty=duty, heir=change.heir)
        case _:
            if change.weight:
                node = structs.replace(node, weight=change.weight, fixed_weight=True)
            if change.zone is not None:
                node = structs.replace(node, zone=change.zone, fixed_zone=True)
            return node


def _wrong_with_split(plan: SplitPlan) -> str | None:
    """Why it cannot be called off any more; None if it can."""
    return f"operator {plan.id} has split its shard already: zkv table merge undoes it" if plan.shown else None


def _planned(move: Move) -> PlannedMove:
    return PlannedMove(move.shard, move.source.node, move.target or NodeId(""), move.why)


def _wrong_with_settings(change: ChangeNode) -> str | None:
    if change.weight and not (isfinite(change.weight) and 0 < change.weight <= WEIGHT_MAX):
        return f"a node's weight is above 0 and at most {WEIGHT_MAX:g}, not {change.weight}"
    if change.zone is not None and len(change.zone) > NODE_NAME_CHARACTERS_MAX:
        return f"a zone has at most {NODE_NAME_CHARACTERS_MAX} characters"
    return None
