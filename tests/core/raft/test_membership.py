"""What the next membership may be."""

import pytest

from zkv.core.raft.membership import changed, decode_membership, encode_membership, find
from zkv.core.raft.messages import Member, Membership
from zkv.ids import NodeId, ReplicaId

ONE, TWO, THREE, FOUR = (Member(ReplicaId(n), NodeId(f"node{n}"), n) for n in (1, 2, 3, 4))
GROUP = Membership(5, (ONE, TWO), (THREE,))


@pytest.mark.parametrize(
    ("change", "member", "wanted"),
    [
        ("learn", FOUR, Membership(6, (ONE, TWO), (THREE, FOUR))),
        ("learn", TWO, GROUP),
        ("learn", THREE, GROUP),
        ("promote", THREE, Membership(6, (ONE, TWO, THREE), ())),
        ("promote", ONE, GROUP),
        ("promote", FOUR, "replica 4 is no learner of this group"),
        ("remove", TWO, Membership(6, (ONE,), (THREE,))),
        ("remove", THREE, Membership(6, (ONE, TWO), ())),
        ("remove", FOUR, GROUP),
        ("rename", ONE, "no such change: 'rename'"),
    ],
)
def test_one_step_at_a_time_and_none_where_it_is_so_already(
    change: str, member: Member, wanted: Membership | str
) -> None:
    assert changed(GROUP, change, member) == wanted


def test_a_promoted_learner_is_the_member_that_learnt_whatever_the_order_says_of_its_node() -> None:
    moved = Member(THREE.replica, NodeId("elsewhere"), 99)
    after = changed(GROUP, "promote", moved)
    assert isinstance(after, Membership)
    assert find(after, THREE.replica) == THREE


def test_the_only_voter_cannot_be_removed() -> None:
    assert changed(Membership(1, (ONE,), (TWO,)), "remove", ONE) == "replica 1 is the only voter"


def test_a_payload_reads_back_and_garbage_is_a_value_error() -> None:
    assert decode_membership(encode_membership(GROUP)) == GROUP
    for garbage in (b"", b"\xff", b"\x91\x01", encode_membership([1, 2, 3])):
        with pytest.raises(ValueError):
            decode_membership(garbage)
