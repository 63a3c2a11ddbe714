"""How a group of coordinators begins: once, with the folders that all have heard of."""

from msgspec.structs import replace

from zkv.core.cluster.founding import Founding, offer
from zkv.core.cluster.group import CoordinatorInfo, Found, Meet
from zkv.core.raft.messages import Member, Membership
from zkv.ids import NodeId, ReplicaId

A, B, C = (NodeId(name) for name in "abc")
GIVEN = tuple(CoordinatorInfo(name, f"{name}:1", f"{name}:2") for name in (C, A, B))
FOLDERS = {A: 11, B: 22, C: 33}
MEMBERS = Membership(1, tuple(Member(ReplicaId(number), name, FOLDERS[name]) for number, name in enumerate("abc", 1)))


def meet(name: NodeId, heard: dict[NodeId, int] = FOLDERS, **parts: object) -> Meet:
    info = next(info for info in GIVEN if info.name == name)
    others = tuple((other, folder) for other, folder in heard.items() if other != name)
    return replace(Meet(name, FOLDERS[name], 1, info, ReplicaId(0), GIVEN, others), **parts)


def founding(name: NodeId) -> Founding:
    return Founding(next(info for info in GIVEN if info.name == name), FOLDERS[name], GIVEN)


def test_the_least_name_founds_when_all_agree() -> None:
    heard = {B: meet(B), C: meet(C)}
    assert founding(A).decided(heard) == MEMBERS
    assert founding(B).decided({A: meet(A), C: meet(C)}) is None, "it is not b's turn"


def test_nobody_founds_alone_what_is_to_be_a_group() -> None:
    assert founding(A).decided({}) is None
    assert founding(A).decided({B: meet(B)}) is None


def test_one_that_is_alone_founds_at_once() -> None:
    (own,) = (info for info in GIVEN if info.name == C)
    assert Founding(own, 33, (own,)).decided({}) == Membership(1, (Member(ReplicaId(1), C, 33),))


def test_who_has_a_replica_is_of_a_group_already() -> None:
    heard = {B: meet(B, replica=ReplicaId(2)), C: meet(C)}
    assert founding(A).decided(heard) is None


def test_who_was_told_of_another_group_does_not_agree() -> None:
    assert founding(A).decided({B: meet(B, given=GIVEN[:2]), C: meet(C)}) is None


def test_a_founder_that_lost_its_folder_waits_until_the_others_have_heard_of_the_new_one() -> None:
    before = FOLDERS | {A: 10}
    assert founding(A).decided({B: meet(B, heard=before), C: meet(C)}) is None


def test_a_word_of_the_founding_is_for_one_folder() -> None:
    found = Found(22, MEMBERS)
    assert founding(B).accepted(found, {A: meet(A)}) == MEMBERS.voters[1]
    assert founding(B).accepted(found, {}) == MEMBERS.voters[1]
    other = Founding(founding(B)._me, 23, GIVEN)
    assert other.accepted(found, {A: meet(A)}) is None, "another folder"
    late = meet(A, incarnation=12)
    assert founding(B).accepted(found, {A: late}) is None, "the founder has another folder by now"


def test_members_tell_who_was_named_and_has_no_replica_yet() -> None:
    assert offer(meet(C), MEMBERS) == Found(33, MEMBERS)
    assert offer(meet(C, replica=ReplicaId(3)), MEMBERS) is None
    assert offer(meet(C, incarnation=34), MEMBERS) is None, "its folder is lost: it is replaced, not founded again"
    assert offer(meet(C), replace(MEMBERS, version=2)) is None, "the log has gone on: it learns from that"
