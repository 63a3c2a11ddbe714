"""No group gives up a replica that is of use before all that stay are in sync: a move never costs a copy (rule 11).

Judged when a leader first applies a removal, by the disks: whoever counted as caught up when the removal was proposed
has on its disk all but one append's worth of what came before it. Removals of replicas that are lost, or whose node is
given up, are another matter: waiting for all the others would only keep the group short for longer.
"""

from collections.abc import Callable, Mapping

from zkv import limits
from zkv.core.cluster.commands import CoordinatorState
from zkv.core.node.host import Hosted
from zkv.core.node.residents import M
from zkv.core.raft.log import ENTRY_OVERHEAD_BYTES
from zkv.core.raft.messages import Entry, Member, Membership
from zkv.ids import ShardId
from zkv.sim.coordinators import SimCoordinator
from zkv.sim.processes import SimNode
from zkv.sim.world import Violation


class RemovalChecker:
    """Asked at each change of members. `state`: the coordinator's, whose plans say why a replica goes."""

    def __init__(self, state: Callable[[], CoordinatorState], nodes: Mapping[str, SimNode | SimCoordinator]) -> None:
        self._state = state
        self._nodes = nodes

    def look(self, hosted: Hosted[M], before: Membership, after: Membership, entry: Entry) -> None:
        """The leader has applied `entry`, which makes `after` of `before`."""
        gone = [voter for voter in before.voters if voter not in after.voters]
        if not gone or not self._is_of_use(hosted.shard, gone[0]):
            return
        behind = [voter for voter in after.voters if not self._is_in_sync(hosted, voter, entry.index - 1)]
        if behind:
            what = f"shard {hosted.shard}: replica {gone[0].replica} on {gone[0].node} was given up"
            raise Violation(f"{what} while {[voter.node for voter in behind]} of {len(after.voters)} had not caught up")

    def _is_of_use(self, shard: ShardId, member: Member) -> bool:
        node = self._nodes[member.node]
        if node.machine.folder.incarnation != member.incarnation:
            return False
        plans = [plan for plan in self._state().operators.values() if plan.shard == shard and member in plan.lost]
        return bool(plans) and not any(plan.cause.heals and not plan.undone for plan in plans)

    def _is_in_sync(self, hosted: Hosted[M], voter: Member, index: int) -> bool:
        machine = self._nodes[voter.node].machine
        reach = 0
        for folder in (machine.folder, *machine.lost):
            held = folder.says.replicas.get(voter.replica)
            if held is not None:
                reach = max(reach, held.start[0] + len(held.entries))
        log = hosted.replica.log_bytes_between(reach, index)
        if log is None:  # it has dropped some of that from its tail since it judged: no more can fit into an append
            return index - reach <= limits.APPEND_BYTES_MAX // ENTRY_OVERHEAD_BYTES
        return log <= limits.APPEND_BYTES_MAX
