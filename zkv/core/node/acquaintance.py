"""What one coordinator knows of the others: who they are, by which folder, where, and when they last spoke.

Each says so itself, all the time (`Meet`), so it is known again soon after every start, and a coordinator that comes
back with another folder is noticed (rule 1).
"""

from collections.abc import Mapping
from typing import Final

from zkv import limits
from zkv.core.cluster import versions
from zkv.core.cluster.group import CoordinatorInfo, GroupMessage, Meet
from zkv.core.raft.messages import Member, Membership
from zkv.ids import NodeId, ReplicaId

MEET_MS: Final = 500
TOLD_MAX: Final = 100
Row = dict[str, int | str | None]


class Acquaintance:
    """The other coordinators, by name. `given`: the group as the operator told it, `me` among it."""

    def __init__(self, me: NodeId, incarnation: int, given: tuple[CoordinatorInfo, ...]) -> None:
        self.info = next(info for info in given if info.name == me)
        self.met: dict[NodeId, Meet] = {}
        self._incarnation = incarnation
        self._given = given
        self._heard_ms: dict[NodeId, int] = {}
        self._due_ms = 0
        self._said: tuple[int, int] = (0, 0)
        self._told: dict[NodeId, str] = {}
        self._told_before: dict[NodeId, str] = {}

    def hear(self, meet: Meet, membership: Membership, now_ms: int) -> bool:
        """Another says who it is. False: somebody else of that name is there, which this one is not."""
        held = self.met.get(meet.name)
        if meet.name == self.info.name:
            return False
        voters = {(own.node, own.incarnation) for own in membership.voters}
        if held is not None and held.incarnation != meet.incarnation:
            is_member = (meet.name, meet.incarnation) in voters
            is_there = now_ms - self._heard_ms[meet.name] <= limits.NODE_DOWN_MS
            if is_there and not is_member:
                self._tell(meet.name, f"coordinator {meet.name} is there already: another of that name is ignored")
                return False
        if held is None or held.incarnation != meet.incarnation:
            self._due_ms = now_ms  # who waits for being heard need not wait long
            lost = any(name == meet.name for name, _ in voters) and (meet.name, meet.incarnation) not in voters
            if lost:
                self._tell(meet.name, f"coordinator {meet.name} has come with another folder: its member is lost")
        self.met[meet.name] = meet
        self._heard_ms[meet.name] = now_ms
        return True

    def refuse(self, meet: Meet) -> None:
        """It speaks a version too far from ours."""
        what = versions.too_far(f"refused coordinator {meet.name}: it", meet.protocol, "this coordinator")
        self._tell(meet.name, what)

    def introductions(
        self, now_ms: int, replica: ReplicaId, wanted: Mapping[NodeId, CoordinatorInfo]
    ) -> list[tuple[NodeId, GroupMessage]]:
        """What to say to each of the others now: now and then, and as soon as there is news."""
        state = (int(replica), len(self.met))
        if now_ms < self._due_ms and state == self._said:
            return []
        self._said = state
        self._due_ms = now_ms - now_ms % MEET_MS + MEET_MS
        heard = tuple((name, meet.incarnation) for name, meet in sorted(self.met.items()))
        name, protocol = self.info.name, versions.PROTOCOL_VERSION
        meet = Meet(name, self._incarnation, protocol, self.info, replica, self._given, heard)
        return [(other, meet) for other in self.addresses(wanted)]

    def next_ms(self) -> int:
        """When it next has something to say; a coordinator that is alone never has."""
        return self._due_ms if len(self._given) > 1 or self.met else self._due_ms + 10**12

    def addresses(self, wanted: Mapping[NodeId, CoordinatorInfo]) -> dict[NodeId, tuple[str, int]]:
        """Every other coordinator: where it listens, and its folder's incarnation, 0 where that is not known."""
        known = {info.name: info for info in self._given} | dict(wanted)
        known |= {name: meet.info for name, meet in self.met.items()}
        known.pop(self.info.name, None)
        folders = {name: meet.incarnation for name, meet in self.met.items()}
        return {name: (info.address, folders.get(name, 0)) for name, info in sorted(known.items())}

    def folders(self, now_ms: int) -> dict[NodeId, int]:
        """The folder of each that has spoken lately, and its own."""
        lately = {
            name: meet.incarnation
            for name, meet in self.met.items()
            if now_ms - self._heard_ms[name] <= limits.NODE_DOWN_MS
        }
        return lately | {self.info.name: self._incarnation}

    def rows(
        self,
        membership: Membership,
        wanted: Mapping[NodeId, CoordinatorInfo],
        progress: Mapping[ReplicaId, int],
        *,
        leading: bool,
        now_ms: int,
    ) -> list[Row]:
        """The group for people, as this one sees it: its members, and those that are to be."""
        there = self.folders(now_ms)
        roles = dict.fromkeys(membership.voters, "voter") | dict.fromkeys(membership.learners, "learner")
        rows = [self._row(member, role, wanted, progress, there) for member, role in roles.items()]
        for row in rows:
            if leading and row["name"] == self.info.name:
                row["role"] = "leader"
        placed = {row["name"] for row in rows}
        for name in sorted(set(wanted) - placed):
            state = "up" if name in there else "silent"
            address = wanted[name].address
            rows.append(
                {"name": name, "address": address, "role": "awaited", "replica": 0, "match": None, "state": state}
            )
        return rows

    def told(self) -> list[str]:
        """What is worth a line in the log since the last call: the newest of each coordinator, once."""
        if not self._told:
            return []
        told = [line for name, line in self._told.items() if self._told_before.get(name) != line]
        self._told_before |= self._told
        self._told = {}
        return told

    def _tell(self, name: NodeId, line: str) -> None:
        if len(self._told) < TOLD_MAX:
            self._told[name] = line

    def _row(
        self,
        member: Member,
        role: str,
        wanted: Mapping[NodeId, CoordinatorInfo],
        progress: Mapping[ReplicaId, int],
        there: Mapping[NodeId, int],
    ) -> Row:
        met = self.met.get(member.node)
        info = wanted.get(member.node) or (met.info if met is not None else None)
        state = "up" if there.get(member.node) == member.incarnation else "silent"
        if member.node in there and state != "up":
            state = "lost"
        if member.node not in wanted:
            state = "leaving"
        match = progress.get(member.replica)
        address = info.address if info is not None else ""
        row: Row = {"name": member.node, "address": address, "role": role, "replica": member.replica}
        return row | {"match": match, "state": state}
