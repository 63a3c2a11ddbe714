"""Who of the coordinators leads, as one of them sees it: when its own time begins, when it ends, what it may say.

A leader begins once it holds a lease: then an entry of its own term is applied, and with it everything that was ever
committed. It ends with its term. While it leads and its lease has lapsed, for it has not heard from a majority for a
moment, it listens and says nothing: another may lead already, and know more. What the nodes tell goes on being noted,
so that the moment costs nobody's registration.
"""

from enum import Enum

from zkv.core.node.residents import Hosted, M
from zkv.core.raft.replica import Role
from zkv.ids import NodeId


class Change(Enum):
    """What a look has found."""

    NONE = 0
    BEGAN = 1
    ENDED = 2
    BEGAN_ANEW = 3  # ended, and won again, between two looks


class Succession:
    """This coordinator's part in the order of leaders."""

    def __init__(self) -> None:
        self.sure = False  # it leads, and nobody else can
        self._term = 0  # that it leads; 0: none

    @property
    def leading(self) -> bool:
        """Whether it leads, its lease apart."""
        return self._term != 0

    def look(self, hosted: Hosted[M] | None) -> Change:
        """Its replica is as it is now, at the time of this turn."""
        replica = hosted.replica if hosted is not None and not hosted.gone else None
        before, term = self._term, 0
        self.sure = False
        if replica is not None and replica.role is Role.LEADER:
            self.sure = replica.holds_lease()
            term = replica.term if self.sure or replica.term == before else 0
        self._term = term
        if term == before:
            return Change.NONE
        if not before:
            return Change.BEGAN
        return Change.ENDED if not term else Change.BEGAN_ANEW


def leader_known(hosted: Hosted[M] | None) -> NodeId:
    """Whom a member believes to lead: only one that it has heard within an election timeout; "" if none."""
    replica = hosted.replica if hosted is not None and not hosted.gone else None
    member = replica.leader_member if replica is not None else None
    if replica is None or member is None or not (replica.hears_leader or replica.role is Role.LEADER):
        return NodeId("")
    return member.node
