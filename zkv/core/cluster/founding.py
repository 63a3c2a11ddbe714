"""How a group of coordinators begins: its first members agree on who they are, and on the replica of each.

The member of the least name decides, once every other has said that its folder is new, that it knows the same group,
and that it has heard this very folder of the one that decides. What is decided is on the founder's disk before anybody
hears of it. So a founder that loses its disk meanwhile finds that others belong to a group already, and founds no
second one; a founding that comes late is refused by who has heard of another folder of the founder (rule 1).
"""

from zkv.core.cluster.group import CoordinatorInfo, Found, Meet
from zkv.core.raft.messages import Member, Membership
from zkv.ids import NodeId, ReplicaId

FIRST_VERSION = 1  # of a membership: nobody has come or gone since the founding


class Founding:
    """What a coordinator without a replica knows of the others that it was told of."""

    def __init__(self, me: CoordinatorInfo, incarnation: int, given: tuple[CoordinatorInfo, ...]) -> None:
        self._me = me
        self._incarnation = incarnation
        self._given = tuple(sorted(given, key=lambda info: info.name))

    def decided(self, heard: dict[NodeId, Meet]) -> Membership | None:
        """The first members, if it is this coordinator's turn to say so and all agree."""
        if self._me.name != self._given[0].name:
            return None
        others = [heard.get(info.name) for info in self._given[1:]]
        if not all(other is not None and self._agrees(other) for other in others):
            return None
        folders = {self._me.name: self._incarnation} | {meet.name: meet.incarnation for meet in heard.values()}
        members = [
            Member(ReplicaId(number), info.name, folders[info.name]) for number, info in enumerate(self._given, 1)
        ]
        return Membership(FIRST_VERSION, tuple(members))

    def accepted(self, found: Found, heard: dict[NodeId, Meet]) -> Member | None:
        """This coordinator's place in a group that another has founded; None where the word is not for it."""
        founder, own = found.membership.voters[0], None
        for member in found.membership.voters:
            if member.node == self._me.name and member.incarnation == self._incarnation:
                own = member
        if own is None or found.membership.version != FIRST_VERSION:
            return None
        known = heard.get(founder.node)
        return own if known is None or known.incarnation == founder.incarnation else None

    def _agrees(self, other: Meet) -> bool:
        same = {info.name: info.address for info in other.given} == {info.name: info.address for info in self._given}
        return same and other.replica == 0 and (self._me.name, self._incarnation) in other.heard


def offer(meet: Meet, membership: Membership) -> Found | None:
    """What a member tells one that has no replica yet, although the group was founded with its folder."""
    if meet.replica or membership.version != FIRST_VERSION:
        return None
    named = any((voter.node, voter.incarnation) == (meet.name, meet.incarnation) for voter in membership.voters)
    return Found(meet.incarnation, membership) if named else None
