"""Merging shards: who asked for it, what goes into the next command, and how plans go on over one draft of it.

The map takes the merged shard in one change, with the source gone: each key lies in exactly one shard at every version.
"""

from dataclasses import dataclass
from typing import Final

from msgspec import structs

from zkv import limits
from zkv.core.cluster.commands import Bounds, CoordinatorState
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.merges import MergePlan, merging
from zkv.core.cluster.messages import AdminDone, AdminRefused, MergeTable, TuneMerges
from zkv.core.cluster.operators import has_begun
from zkv.core.cluster.pending import Answer, PendingRequests
from zkv.core.cluster.shardmap import Partitioner, TableInfo
from zkv.core.shard.commands import EFFECT_NONE, EFFECT_UNKNOWN
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.core.shard.merge import Merge
from zkv.ids import TableId

MERGE_WAIT_MS: Final = 20_000  # a request not done by then is answered Timeout; the merge itself goes on
MERGE_MS_MAX: Final = 60_000  # a plan that has not ended by then is to come to nothing
MERGES_MAX: Final = 100  # requests waiting at once; more: Overloaded


def draft_merge(draft: Draft, left: ShardInfo, right: ShardInfo, why: str, map_version: int) -> MergePlan | None:
    """Put a plan that merges the two neighbours, if both are at rest; None if they are not."""
    if not (_is_at_rest(draft, left) and _is_at_rest(draft, right)):
        return None
    entry = Merge(
        number=draft.new_operator(),
        target=left.shard,
        source=right.shard,
        at=right.start,
        end=right.end,
        target_version=left.range_version,
        source_version=right.range_version,
        member_version=right.membership.version,
        members=right.membership,
        bytes_max=draft.bounds.merge_bytes or limits.MERGE_BYTES,
        map_version=map_version,
    )
    plan = MergePlan(entry, why)
    draft.put_merge(plan)
    return plan


def _is_at_rest(draft: Draft, info: ShardInfo) -> bool:
    """Whether nothing else is about to change the shard."""
    members = info.membership
    if info.state != ShardState.ACTIVE or members.learners or len(members.voters) != draft.replicas_of(info):
        return False
    parting = {shard for plan in draft.splits() for shard in (plan.shard, plan.split.shard)}
    moving = {plan.shard for plan in draft.operators() if has_begun(plan, members) or plan.cause.heals}
    return info.shard not in parting | moving | merging(draft.merges())


class Merges:
    """How long this coordinator has known each plan: time alone calls one off."""

    def __init__(self) -> None:
        self._since_ms: dict[int, int] = {}

    def draft(self, draft: Draft, now_ms: int) -> None:
        """Carry the plans on: end those whose target has told what came of them, call off those that take too long."""
        plans = draft.merges()
        self._since_ms = {plan.id: self._since_ms.get(plan.id, now_ms) for plan in plans}
        for plan in plans:
            target, source = draft.shard(plan.merge.target), draft.shard(plan.merge.source)
            is_dropped = any(own is None or own.state == ShardState.DROPPING for own in (target, source))
            if is_dropped or (target is not None and target.range_version > plan.merge.target_version):
                draft.finish_merge(plan)
            elif not plan.abandon and now_ms - self._since_ms[plan.id] >= MERGE_MS_MAX:
                draft.put_merge(structs.replace(plan, abandon=True))


@dataclass(slots=True)
class _Waiting:
    """`plan`: what was made of it; 0: nothing yet."""

    request: MergeTable | TuneMerges
    since_ms: int
    plan: int = 0


class MergeRequests(PendingRequests[_Waiting]):
    """Requests to merge. Like those to split, each is judged against the committed map whenever that changes."""

    def __init__(self, state: CoordinatorState) -> None:
        super().__init__(most=MERGES_MAX, what="requests to merge shards")
        self._state = state

    def take(self, source: bytes, request: MergeTable | TuneMerges, now_ms: int) -> AdminRefused | None:
        """Keep the request until it can be answered; the refusal if there are too many."""
        return self._keep(source, request.id, _Waiting(request, now_ms))

    def draft(self, draft: Draft) -> None:
        """Plan what is asked for and neither so nor planned yet, once."""
        for waiting in self._waiting.values():
            if isinstance(waiting.request, TuneMerges):
                draft.put_bounds(_tuned(draft.bounds, waiting.request))
                continue
            table = self._state.map.table(waiting.request.name)
            if table is None or waiting.plan or _wrong_with(self._state.map, table):
                continue
            pair = neighbours(draft.shards(), table.table, waiting.request.at)
            if pair is None:
                continue
            plan = next((own for own in draft.merges() if own.merge.source == pair[1].shard), None)
            made = plan or draft_merge(draft, *pair, "an operator asked for it", self._state.map.version)
            waiting.plan = made.id if made is not None else 0

    def _judge(self, waiting: _Waiting, now_ms: int) -> Answer | None:
        request, shard_map = waiting.request, self._state.map
        if isinstance(request, TuneMerges):
            is_so = _tuned(self._state.bounds, request) == self._state.bounds
            return AdminDone(request.id, shard_map.version) if is_so else None
        table = shard_map.table(request.name)
        if table is None:
            return AdminRefused(request.id, "NoSuchTable", f"there is no table {request.name!r}", EFFECT_NONE)
        wrong = _wrong_with(shard_map, table)
        if not wrong and neighbours(list(shard_map.shards_of(table.table)), table.table, request.at) is None:
            return AdminDone(request.id, shard_map.version)
        wrong = wrong or self._came_to_nothing(waiting)
        if wrong:
            return AdminRefused(request.id, "NotPossible", wrong, EFFECT_NONE)
        if now_ms - waiting.since_ms >= MERGE_WAIT_MS:
            what = "the shards are not merged yet, but are to be" if waiting.plan else "the shards are being changed"
            return AdminRefused(request.id, "Timeout", what, EFFECT_UNKNOWN if waiting.plan else EFFECT_NONE)
        return None

    def _came_to_nothing(self, waiting: _Waiting) -> str:
        if not waiting.plan or waiting.plan in self._state.merges or waiting.plan >= self._state.counters.operator:
            return ""
        bound = self._state.bounds.merge_bytes or limits.MERGE_BYTES
        return (
            f"the merge has come to nothing: the shard to the right has more than {bound} bytes (zkv tune --merge), or "
            "it or its replicas changed meanwhile; its left neighbour's leader has logged why"
        )


def _tuned(bounds: Bounds, request: TuneMerges) -> Bounds:
    size = bounds.merge_bytes if request.bytes < 0 else request.bytes
    return bounds._replace(merge_bytes=size, cold_ms=bounds.cold_ms if request.cold_ms < 0 else request.cold_ms)


def neighbours(shards: list[ShardInfo], table: TableId, at: bytes) -> tuple[ShardInfo, ShardInfo] | None:
    """The two shards of the table that part at this partition key; None: it is no border."""
    own = {info.start: info for info in shards if info.table == table}
    right = own.get(at)
    left = next((info for info in own.values() if info.end == at), None)
    return (left, right) if at and left is not None and right is not None else None


def _wrong_with(shard_map: ShardMap, table: TableInfo) -> str:
    """Why no shards of the table can be merged; "" if some can."""
    if table.partitioner != Partitioner.RANGE:
        return f"table {table.name} is hashed: its shards are as many as it was made with, and no key parts them"
    if any(info.state == ShardState.DROPPING for info in shard_map.shards_of(table.table)):
        return f"table {table.name} is being dropped"
    return ""
