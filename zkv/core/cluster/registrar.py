"""Who belongs to the cluster: takes and refuses registrations, hears heartbeats, notices lost disks (rule 1)."""

from math import isfinite
from typing import Final

from msgspec import structs

from zkv.core.cluster import versions
from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.liveness import Liveness
from zkv.core.cluster.messages import Alive, Heard, Register, Registered, RegisterRefused
from zkv.core.cluster.reports import Reports
from zkv.core.cluster.shardmap import NodeDuty, NodeInfo, NodeState
from zkv.core.cluster.splits import unborn
from zkv.core.message import Message
from zkv.core.shard.descriptor import ShardState
from zkv.ids import NodeId, ReplicaId

NODES_MAX: Final = 1_000
NODE_NAME_CHARACTERS_MAX: Final = 64  # of an id and of a zone
WEIGHT_MAX: Final = 100.0
TOLD_MAX: Final = 100  # lines kept until they are taken; the oldest go first

_DUTIES: Final = {
    NodeDuty.SERVING: "serves again",
    NodeDuty.DRAINING: "is to hold nothing any more",
    NodeDuty.REMOVED: "is removed for good",
}

Answers = list[tuple[bytes, Message]]


def told_of(before: NodeInfo | None, after: NodeInfo) -> str:
    """A change of a node in words, for the log."""
    name = f"node {after.node}"
    if before is None:
        return f"{name} joined at {after.address}"
    if before.incarnation != after.incarnation:
        return f"{name} came back with another folder: its replicas are lost and will be replaced"
    if after.state == NodeState.DOWN:
        return f"{name} is silent and counts as down"
    if before.duty != after.duty:
        return f"{name} {_DUTIES[after.duty]}"
    if before.state == NodeState.DOWN and after.state == NodeState.UP:
        return f"{name} is up again at {after.address}"
    return f"{name} is now at {after.address}, zone {after.zone!r}, weight {after.weight:g}"


def wrong_with(register: Register, cluster: int) -> str | None:
    """Why no such node can belong to this cluster; None if it can."""
    if not versions.works_with(register.protocol):
        return versions.too_far(f"node {register.node}", register.protocol, "this coordinator")
    if register.cluster not in (0, cluster):
        return (
            f"the folder of node {register.node} belongs to cluster {register.cluster:016x}, this coordinator to "
            f"{cluster:016x}: give it the address of its own coordinator, or an empty folder to join this one"
        )
    if not 0 < len(register.node) <= NODE_NAME_CHARACTERS_MAX or len(register.zone) > NODE_NAME_CHARACTERS_MAX:
        return f"a node's id has 1 to {NODE_NAME_CHARACTERS_MAX} characters, its zone at most as many"
    if not isfinite(register.weight) or not 0 < register.weight <= WEIGHT_MAX:
        return f"a node's weight is above 0 and at most {WEIGHT_MAX:g}, not {register.weight}"
    return None


def registered(register: Register, held: NodeInfo | None) -> NodeInfo:
    """The node as it says it is, and as its operator has set it."""
    said = NodeInfo(register.node, register.address, register.incarnation, NodeState.UP, register.zone, register.weight)
    if held is None:
        return said
    return structs.replace(
        said,
        duty=held.duty,
        heir=held.heir,
        weight=held.weight if held.fixed_weight else said.weight,
        zone=held.zone if held.fixed_zone else said.zone,
        fixed_weight=held.fixed_weight,
        fixed_zone=held.fixed_zone,
    )


class Registrar:
    """The nodes that registered and wait for their place in the map, and what their reports show to be lost.

    `missing`: replicas whose node came back, in the same folder, without them.
    """

    def __init__(self, state: CoordinatorState, liveness: Liveness, reports: Reports) -> None:
        self.missing: set[ReplicaId] = set()
        self._state = state
        self._liveness = liveness
        self._reports = reports
        self.has_news = False  # something was heard that may call for a command; the coordinator takes it back
        self._waiting: dict[NodeId, tuple[bytes, Register]] = {}
        self._told: list[str] = []

    def clear(self) -> None:
        """Nobody registered."""
        self.missing.clear()
        self._waiting.clear()

    def told(self) -> list[str]:
        """What is worth a line in the log, since the last call."""
        told, self._told = self._told, []
        return told

    def register(self, source: bytes, register: Register) -> Answers:
        """Take a registration: it is answered once the map shows it, refused at once, or kept waiting.

        An id that may be in use waits for its holder to speak (refused) or to fall silent (taken).
        """
        held = self._state.map.nodes.get(register.node)
        wrong = wrong_with(register, self._state.map.cluster)
        if wrong is None and held is None and len(self._state.map.nodes) >= NODES_MAX:
            wrong = f"the cluster has {NODES_MAX} nodes and takes no more"
        if wrong is None and ((held is None and register.cluster) or (held and held.duty == NodeDuty.REMOVED)):
            wrong = f"node {register.node} was removed from the cluster; to join anew it needs an empty folder" + (
                "" if held is None else ", and another id until all it held is elsewhere"
            )
        if wrong is not None:
            return self._refuse(source, wrong)
        if self._liveness.is_taken(register, held):
            self._liveness.contest(source, register)
            return []
        if held is not None and held.incarnation == register.incarnation:
            self._note_missing(register)
        self._liveness.accept(source, register)
        self._reports.registered(register.node, register.reports, self._state.map)
        self._waiting[register.node] = (source, register)
        self.has_news = True
        return []

    def alive(self, source: bytes, alive: Alive) -> Answers:
        """Take a heartbeat and its reports; a node without a session is asked to register."""
        was_silent = not self._liveness.is_heard(alive.node)
        if not self._liveness.heard(source, alive.node, alive.incarnation):
            return [(source, Heard(alive.number, known=False))]
        self.missing -= {report.replica for report in alive.reports}  # a late Register knew nothing of them
        if self._reports.take(alive.node, alive.reports, self._state.map) or was_silent:
            self.has_news = True
        answers: Answers = [(source, Heard(alive.number, known=True))]
        contest = self._liveness.lost_contest(alive.node)
        if contest is not None:
            held = self._liveness.sessions[alive.node].address
            what = f"the id {alive.node} is in use by a node at {held}: choose another id, or stop that node first"
            answers.extend(self._refuse(contest.source, what))
        return answers

    def draft(self, draft: Draft) -> None:
        """Put the nodes as they are: registered, silent, heard again."""
        for _, register in self._waiting.values():
            draft.put_node(registered(register, draft.node(register.node)))
        for info in draft.nodes():
            draft.put_node(structs.replace(info, state=self._liveness.state_of(info)))

    def answers(self) -> Answers:
        """Welcome the registered nodes that the map shows by now."""
        answers: Answers = []
        for node, (source, register) in list(self._waiting.items()):
            held = self._state.map.nodes.get(node)
            if held is not None and held == structs.replace(registered(register, held), state=held.state):
                map_now = self._state.map
                welcome = Registered(map_now.cluster, map_now.snapshot(), versions.PROTOCOL_VERSION)
                answers.append((source, welcome))
                del self._waiting[node]
        return answers

    def _refuse(self, source: bytes, what: str) -> Answers:
        self._told = [*self._told[1 - TOLD_MAX :], f"refused a registration: {what}"]
        return [(source, RegisterRefused(what))]

    def _note_missing(self, register: Register) -> None:
        """Note the voters that the node should hold and no longer does. A learner, or a
        replica of a shard that a split has made, may not have come into being yet."""
        reported = {report.replica for report in register.reports}
        self.missing -= reported
        born_late = unborn(self._state.splits.values())
        absorbed = {plan.merge.source for plan in self._state.merges.values()}  # may be gone before the map says so
        shards = [info for info in self._state.map.shards.values() if info.shard not in absorbed]
        for info in shards:
            for voter in info.membership.voters:
                if (voter.node, voter.incarnation) != (register.node, register.incarnation):
                    continue
                is_expected = info.state == ShardState.ACTIVE and info.shard not in born_late
                was_there = is_expected or self._reports.has(voter)
                if was_there and voter.replica not in reported:
                    self.missing.add(voter.replica)
