"""Splitting shards: who asked for it, what goes into the next command, and how plans go on over one draft of it.

The map takes both halves in one change: each key lies in exactly one shard at every version.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from zkv import limits
from zkv.core.cluster.commands import Bounds, CoordinatorState
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.merges import merging
from zkv.core.cluster.messages import AdminDone, AdminRefused, SplitTable, TuneSplits
from zkv.core.cluster.pending import Answer, PendingRequests
from zkv.core.cluster.shardmap import Partitioner, TableInfo
from zkv.core.cluster.splits import SplitPlan, is_void
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.commands import EFFECT_NONE, EFFECT_UNKNOWN
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.core.shard.split import Split, right_of

SPLIT_WAIT_MS: Final = 10_000  # a request not done by then is answered Timeout; the split itself goes on
SPLITS_MAX: Final = 100  # requests waiting at once; more: Overloaded


def draft_split(draft: Draft, info: ShardInfo, at: bytes, why: str) -> SplitPlan | None:
    """Put a plan that splits the shard at this partition key, if its members are at rest; None if they are not."""
    if not _is_at_rest(draft, info) or info.shard in merging(draft.merges()):
        return None
    plan = SplitPlan(draft.new_operator(), info.shard, _entry(draft, info, at), why)
    draft.put_split(plan)
    return plan


def draft_news(draft: Draft, news: Iterable[ShardInfo]) -> None:
    """Put what nodes have reported of their shards; with a range that was split or merged, the other shard, too.

    Nothing but a plan changes a range: where this state has none, it has forgotten it, and would show a hole.
    """
    splits = {plan.shard: plan for plan in draft.splits() if not plan.shown}
    merges = {plan.merge.target: plan for plan in draft.merges()}
    for info in news:
        held = draft.shard(info.shard)
        if held is None:
            continue  # it has just become part of another
        if (info.start, info.end) != (held.start, held.end):
            split, merge = splits.get(info.shard), merges.get(info.shard)
            if merge is not None and info.end == merge.merge.end and held.end == merge.merge.at:
                draft.drop_shard(merge.merge.source)
                draft.finish_merge(merge)
            elif split is not None:
                draft.put_shard(right_of(held, split.split))
                draft.put_split(structs.replace(split, shown=True))
            else:
                continue
        draft.put_shard(info)


def draft_progress(draft: Draft, is_known: Callable[[Member], bool]) -> None:
    """Carry the plans on. `is_known`: whether that replica has been reported by its node."""
    for plan in draft.splits():
        parent, child = draft.shard(plan.shard), draft.shard(plan.split.shard)
        if parent is None:
            draft.finish_split(plan)
        elif plan.shown:
            if _is_settled(child, is_known):
                draft.finish_split(plan)
        elif is_void(plan, parent):
            _plan_anew(draft, plan, parent)


def _plan_anew(draft: Draft, plan: SplitPlan, parent: ShardInfo) -> None:
    """The entry can never take effect any more: another one, or none if it is not wanted."""
    if plan.abandon:
        draft.finish_split(plan)
    elif _is_at_rest(draft, parent):
        draft.put_split(structs.replace(plan, split=_entry(draft, parent, plan.split.at)))


def _is_settled(child: ShardInfo | None, is_known: Callable[[Member], bool]) -> bool:
    return child is None or child.state != ShardState.ACTIVE or all(map(is_known, child.membership.voters))


def _is_at_rest(draft: Draft, info: ShardInfo) -> bool:
    members = info.membership
    return info.state == ShardState.ACTIVE and not members.learners and len(members.voters) == draft.replicas_of(info)


def _entry(draft: Draft, info: ShardInfo, at: bytes) -> Split:
    """What the shard's log is to hold: a new shard, with new replicas where this one's are."""
    members = tuple(draft.new_member_beside(voter) for voter in info.membership.voters)
    return Split(at, info.range_version, info.membership.version, draft.new_shard(), Membership(1, members))


@dataclass(slots=True)
class _Waiting:
    """`plan`: what was made of it; 0: nothing yet."""

    request: SplitTable | TuneSplits
    since_ms: int
    plan: int = 0


class SplitRequests(PendingRequests[_Waiting]):
    """Requests to split. Like those for tables, each is judged against the committed map whenever that changes."""

    def __init__(self, state: CoordinatorState) -> None:
        super().__init__(most=SPLITS_MAX, what="requests to split a table")
        self._state = state

    def take(self, source: bytes, request: SplitTable | TuneSplits, now_ms: int) -> AdminRefused | None:
        """Keep the request until it can be answered; the refusal if there are too many."""
        return self._keep(source, request.id, _Waiting(request, now_ms))

    def draft(self, draft: Draft) -> None:
        """Plan what is asked for and neither so nor planned yet; one split of a shard at a time."""
        for waiting in self._waiting.values():
            if isinstance(waiting.request, TuneSplits):
                if not _wrong_bytes(waiting.request.bytes):
                    draft.put_bounds(_tuned(draft.bounds, waiting.request))
                continue
            table = self._state.map.table(waiting.request.name)
            if table is None or waiting.plan or _wrong_with(self._state.map, table):
                continue
            at = waiting.request.at
            info = next((own for own in draft.shards() if own.table == table.table and own.owns(at)), None)
            busy = {plan.shard for plan in draft.splits() if not plan.shown} | merging(draft.merges())
            if info is not None and info.start != at and info.shard not in busy:
                plan = draft_split(draft, info, at, "an operator asked for it")
                waiting.plan = plan.id if plan is not None else 0

    def _judge_tuning(self, request: TuneSplits) -> Answer | None:
        wrong = _wrong_bytes(request.bytes)
        if wrong:
            return AdminRefused(request.id, "NotPossible", wrong, EFFECT_NONE)
        is_so = _tuned(self._state.bounds, request) == self._state.bounds
        return AdminDone(request.id, self._state.map.version) if is_so else None

    def _judge(self, waiting: _Waiting, now_ms: int) -> Answer | None:
        request, shard_map = waiting.request, self._state.map
        if isinstance(request, TuneSplits):
            return self._judge_tuning(request)
        table = shard_map.table(request.name)
        if table is None:
            return AdminRefused(request.id, "NoSuchTable", f"there is no table {request.name!r}", EFFECT_NONE)
        info = shard_map.locate(table.table, request.at)
        if info is not None and info.start == request.at:
            return AdminDone(request.id, shard_map.version)
        wrong = _wrong_with(shard_map, table)
        if wrong:
            return AdminRefused(request.id, "NotPossible", wrong, EFFECT_NONE)
        if self._came_to_nothing(waiting.plan):
            what = "the split has come to nothing: it was cancelled, or its shard became part of another"
            return AdminRefused(request.id, "NotPossible", what, EFFECT_NONE)
        if now_ms - waiting.since_ms >= SPLIT_WAIT_MS:
            return AdminRefused(request.id, "Timeout", "the shard is not split yet, but is to be", EFFECT_UNKNOWN)
        return None

    def _came_to_nothing(self, plan: int) -> bool:
        """Whether the plan was committed, and has ended. (A split that is done is seen in the map.)"""
        return 0 < plan < self._state.counters.operator and plan not in self._state.splits


def _tuned(bounds: Bounds, request: TuneSplits) -> Bounds:
    size = bounds.split_bytes if request.bytes < 0 else request.bytes
    asked = bounds.split_requests if request.requests < 0 else request.requests
    hot_ms = bounds.hot_ms if request.hot_ms < 0 else request.hot_ms
    return bounds._replace(split_bytes=size, split_requests=asked, hot_ms=hot_ms)


def _wrong_bytes(size: int) -> str:
    least = limits.SPLIT_BYTES_MIN
    return f"shards are split above {least} bytes or more, or not at all (0)" if 0 < size < least else ""


def _wrong_with(shard_map: ShardMap, table: TableInfo) -> str:
    """Why no shard of the table can be split; "" if one can."""
    shards = shard_map.shards_of(table.table)
    if table.partitioner != Partitioner.RANGE:
        return f"table {table.name} is hashed: its shards are as many as it was made with, and no key parts them"
    if len(shards) >= limits.SHARDS_PER_TABLE_MAX:
        return f"table {table.name} has {len(shards)} shards, which is the most"
    if any(info.state == ShardState.DROPPING for info in shards):
        return f"table {table.name} is being dropped"
    return ""
