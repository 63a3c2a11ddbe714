"""What coordinators say to one another, and of their group to everybody else."""

from typing import Annotated

from msgspec import Meta as Bound

from zkv.core.cluster.shardmap import Address
from zkv.core.message import Message
from zkv.core.raft.messages import Member, Membership
from zkv.ids import NodeId, ReplicaId, ShardId

GROUP = ShardId(0)
GROUP_MAX = 7  # members, those that come and go counted
CoordinatorName = Annotated[NodeId, Bound(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.\-]+$")]


class CoordinatorInfo(Message, frozen=True, gc=False):
    """One coordinator: its name for life, where it takes requests, and where it broadcasts."""

    name: CoordinatorName
    address: Address
    publish: Address


class Meet(Message, tag=80, frozen=True, gc=False):
    """Coordinator to coordinator, all the time: who I am, and what I know of the group.

    `incarnation` names the sender's data folder. `replica` is the sender's member of the group; 0: it has none, for its
    folder is new. `given`: the group as its operator told it. `heard`: the others that it has heard, by name, and the
    folder of each.
    """

    name: CoordinatorName
    incarnation: int
    protocol: int
    info: CoordinatorInfo
    replica: ReplicaId
    given: tuple[CoordinatorInfo, ...]
    heard: tuple[tuple[NodeId, int], ...] = ()


class Found(Message, tag=81, frozen=True, gc=False):
    """Coordinator to a coordinator without a replica: the group begins with these members, you are one of them.

    Valid once, like an order to create a replica (rule 1): for the folder that it names.
    """

    incarnation: int
    membership: Membership


class Leave(Message, tag=82, frozen=True, gc=False):
    """Leading coordinator to a replica that the group has removed: delete yourself (rule 22).

    `version`: of the members that the leader has applied, `member` not among them.
    """

    member: Member
    version: int


class NotLeading(Message, tag=83, frozen=True, gc=False):
    """Coordinator to a client or node: I do not lead, and have done nothing (effect: none).

    `leader` is the address of who leads, "" where that is not known; `id` of what is answered, 0 where it has none.
    """

    id: int
    leader: str


class Whereabouts(Message, tag=33, frozen=True, gc=False):
    """Broadcast after each Beacon, by a group of several: where its coordinators are, as of this version of the map."""

    incarnation: int
    version: int
    coordinators: tuple[Address, ...]
    publishers: tuple[Address, ...]


class ChangeCoordinators(Message, tag=84, frozen=True, gc=False):
    """Client to coordinator: one member more, or one less. Done once it is decided; the group changes step by step.

    `action` "add": `info` is to be a member; "remove": the member of that name goes.
    """

    id: int
    action: Annotated[str, Bound(pattern="^(add|remove)$")]
    info: CoordinatorInfo


GroupMessage = Meet | Found | Leave
