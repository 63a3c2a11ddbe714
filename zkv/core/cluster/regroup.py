"""How the group of coordinators changes: who is wanted, and the next single step towards that.

Who is wanted is decided by command, and is in the replicated state. The steps are not: each follows from the members as
they are, so a leader that dies in the middle leaves nothing undone. A member whose folder is lost is replaced as a
node's replicas are (rule 1): a learner under an id that was never used, caught up, promoted, and only then the old one
goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.group import GROUP_MAX, ChangeCoordinators, CoordinatorInfo
from zkv.core.cluster.messages import AdminDone, AdminRefused
from zkv.core.cluster.pending import Answer, PendingRequests
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.commands import EFFECT_NONE, EFFECT_UNKNOWN
from zkv.ids import NodeId, ReplicaId

WAIT_MS: Final = 10_000  # a request not done by then is answered Timeout
WAITING_MAX: Final = 10
_ADDED_FROM: Final = 100  # replica ids below it are given at the founding

Wanted = Mapping[NodeId, CoordinatorInfo]


class Step(NamedTuple):
    """One change of the members: "learn", "promote" or "remove", as a replica takes it."""

    action: str
    member: Member


def next_step(membership: Membership, wanted: Wanted, folders: Mapping[NodeId, int]) -> Step | None:
    """What to do next; None: the members are who they should be, or nobody is there to be made one.

    `folders`: the folder of each coordinator that has spoken lately. A voter that is silent keeps its place.
    """
    for learner in membership.learners:
        fits = learner.node in wanted and folders.get(learner.node, learner.incarnation) == learner.incarnation
        return Step("promote" if fits else "remove", learner)
    sound = [own for own in membership.voters if folders.get(own.node, own.incarnation) == own.incarnation]
    placed = {own.node for own in sound}
    for name in sorted(wanted):
        if name not in placed and name in folders:
            return Step("learn", Member(new_id(membership), name, folders[name]))
    for own in membership.voters:
        if own.node not in wanted or (own not in sound and own.node in placed):
            return Step("remove", own)
    return None


def new_id(membership: Membership) -> ReplicaId:
    """An id never used before: each version of the members brings one newcomer at most (rule 1)."""
    return ReplicaId(_ADDED_FROM + membership.version)


def is_whole(membership: Membership, wanted: Wanted) -> bool:
    """Whether the members are those that are wanted, each once."""
    return not membership.learners and sorted(own.node for own in membership.voters) == sorted(wanted)


@dataclass(slots=True)
class _Waiting:
    change: ChangeCoordinators
    since_ms: int


class CoordinatorRequests(PendingRequests[_Waiting]):
    """Requests for one coordinator more or less. Done as soon as that is decided."""

    def __init__(self, state: CoordinatorState) -> None:
        super().__init__(most=WAITING_MAX, what="changes of the coordinators")
        self._state = state
        self.members = Membership(0, ())  # of the group, as they are: the owner keeps this up to date

    def take(self, source: bytes, change: ChangeCoordinators, now_ms: int) -> AdminRefused | None:
        """Keep the request until it can be answered; the refusal if it cannot be done, or if there are too many."""
        return self._keep(source, change.id, _Waiting(change, now_ms))

    def draft(self, draft: Draft) -> None:
        """Put the first that is asked for and not so yet: one at a time."""
        for waiting in self._waiting.values():
            if not self._is_so(waiting.change) and self._wrong_with(waiting.change) is None:
                wanted = dict(self._state.coordinators)
                name = waiting.change.info.name
                if waiting.change.action == "add":
                    wanted[name] = waiting.change.info
                else:
                    wanted.pop(name)
                draft.put_coordinators(wanted.values())
                return

    def _judge(self, waiting: _Waiting, now_ms: int) -> Answer | None:
        number = waiting.change.id
        if self._is_so(waiting.change):
            return AdminDone(number, self._state.map.version)
        wrong = self._wrong_with(waiting.change)
        if wrong is not None:
            return AdminRefused(number, "NotPossible", wrong, EFFECT_NONE)
        if now_ms - waiting.since_ms >= WAIT_MS:
            return AdminRefused(number, "Timeout", "the change is not made yet", EFFECT_UNKNOWN)
        return None

    def _is_so(self, change: ChangeCoordinators) -> bool:
        held = self._state.coordinators.get(change.info.name)
        return held == change.info if change.action == "add" else held is None

    def _wrong_with(self, change: ChangeCoordinators) -> str | None:
        name, wanted = change.info.name, self._state.coordinators
        if change.action == "add" and name in wanted:
            return f"there is a coordinator {name} already, at {wanted[name].address}"
        if change.action == "add" and any(change.info.address == held.address for held in wanted.values()):
            return f"another coordinator listens at {change.info.address}"
        if change.action == "add" and len(wanted) >= GROUP_MAX:
            return f"a group has {GROUP_MAX} coordinators at most"
        if change.action == "remove" and len(wanted) == 1:
            return f"{name} is the only coordinator"
        if not is_whole(self.members, wanted):
            return "the coordinators are being changed: one at a time"
        return None
