"""Each plan, rerun from each step at which it can be interrupted."""

import pytest
from msgspec import structs

from tests.core.cluster.made import member, membership, shard
from zkv.core.cluster.messages import ChangeMember, TransferLeader
from zkv.core.cluster.operators import (
    Cause,
    ReplaceReplica,
    extra_learners,
    listed,
    listed_state,
    lost_again,
    next_step,
    order_for,
    redirected,
    undone,
)
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.descriptor import ShardState
from zkv.ids import NodeId, ReplicaId, ShardId

FRESH = member(9, "n3", 333)
PLAN = ReplaceReplica(1, ShardId(1), (member(3),), FRESH, "lost")


class Group:
    """A shard's members as its leader changes them: only by orders that expect the version that is."""

    def __init__(self, start: Membership) -> None:
        self.members = start

    def order(self, order: ChangeMember) -> bool:
        if order.expected != self.members.version:
            return False
        voters, learners = self.members.voters, self.members.learners
        match order.action:
            case "learn":
                learners = (*learners, order.member)
            case "promote":
                learners = tuple(own for own in learners if own != order.member)
                voters = (*voters, order.member)
            case _:
                voters = tuple(own for own in voters if own != order.member)
                learners = tuple(own for own in learners if own != order.member)
        self.members = Membership(self.members.version + 1, voters, learners)
        return True


def run(plan: ReplaceReplica, group: Group, most: int = 20) -> list[str]:
    """Do steps until the plan is done; the steps taken."""
    steps: list[str] = []
    while order := order_for(plan, shard(1, members=group.members)):
        assert len(steps) < most
        assert isinstance(order, ChangeMember)
        assert group.order(order)
        steps.append(f"{order.action} {order.member.replica}")
    return steps


def test_a_replica_is_replaced_through_a_learner_and_the_old_one_goes_last() -> None:
    group = Group(membership(4))
    assert run(PLAN, group) == ["learn 9", "promote 9", "remove 3"]
    assert group.members == Membership(7, (member(1), member(2), FRESH))


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_plan_taken_up_after_any_step_goes_on_with_the_next(done: int) -> None:
    group, steps = Group(membership(4)), ["learn 9", "promote 9", "remove 3"]
    for _ in range(done):
        order = order_for(PLAN, shard(1, members=group.members))
        assert order is not None
        group.order(order)
    assert run(PLAN, group) == steps[done:]
    assert next_step(PLAN, group.members).step == "done"
    assert group.members.version == 7


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_order_of_an_earlier_step_that_comes_late_or_twice_does_nothing(done: int) -> None:
    group = Group(membership(4))
    for _ in range(done):
        order = order_for(PLAN, shard(1, members=group.members))
        assert order is not None
        assert group.order(order)
        assert not group.order(order)
    stale = order_for(PLAN, shard(1, members=membership(3)))
    assert stale is not None
    assert not group.order(stale)


@pytest.mark.parametrize(("done", "steps"), [
    (0, ["learn 10", "promote 10", "remove 3"]),
    (1, ["remove 9", "learn 10", "promote 10", "remove 3"]),
    (2, ["learn 10", "promote 10", "remove 3", "remove 9"]),
    (3, ["learn 10", "promote 10", "remove 9"]),
])  # fmt: skip
def test_a_fresh_replica_lost_after_any_step_is_replaced_by_another(done: int, steps: list[str]) -> None:
    group = Group(membership(4))
    for _ in range(done):
        order = order_for(PLAN, shard(1, members=group.members))
        assert order is not None
        group.order(order)
    again = lost_again(PLAN, member(10, "n3", 444))
    assert run(again, group) == steps
    assert set(group.members.voters) == {member(1), member(2), member(10, "n3", 444)}
    assert group.members.learners == ()


def test_no_step_leaves_fewer_live_voters_than_there_were() -> None:
    group = Group(membership(4))
    while order := order_for(PLAN, shard(1, members=group.members)):
        group.order(order)
        live = [own for own in group.members.voters if own not in PLAN.lost]
        assert len(live) > len(group.members.voters) // 2


# A plan to move a replica that is of use, and back -------------------------------------------------------------------

MOVE = ReplaceReplica(2, ShardId(1), (member(1),), FRESH, "n1 is drained", Cause.DRAIN)


@pytest.mark.parametrize(("done", "steps"), [(0, []), (1, ["remove 9"]), (2, ["remove 9"]), (3, [])])
def test_a_move_that_is_turned_back_after_any_step_leaves_three_voters(done: int, steps: list[str]) -> None:
    group = Group(membership(4))
    for _ in range(done):
        order = order_for(MOVE, shard(1, members=group.members))
        assert isinstance(order, ChangeMember)
        group.order(order)
    back = (
        undone(MOVE, group.members) if done < 3 else structs.replace(MOVE, lost=(FRESH,), fresh=member(1), undone=True)
    )
    assert back is not None
    assert (back.source, back.target) == (member(1), FRESH)
    assert run(back, group) == steps, "after the last step the old one is gone, and is never asked for again"
    assert len(group.members.voters) == 3
    assert group.members.learners == ()


def test_who_leads_hands_over_before_it_goes_and_only_who_is_of_use_waits_for_all_others() -> None:
    members = Membership(6, (member(1), member(2), member(3), FRESH))
    led = shard(1, members=members, leader=1)
    assert order_for(MOVE, led) == TransferLeader(ShardId(1), FRESH.replica)
    assert order_for(MOVE, shard(1, members=members, leader=2)) == ChangeMember(ShardId(1), 6, "remove", member(1), 3)
    lost = structs.replace(MOVE, cause=Cause.LOST)
    assert order_for(lost, shard(1, members=members, leader=2)) == ChangeMember(ShardId(1), 6, "remove", member(1), 0)
    back = undone(MOVE, members)
    assert back is not None
    assert order_for(back, shard(1, members=members, leader=2)) == ChangeMember(ShardId(1), 6, "remove", FRESH, 3)


def test_no_voter_goes_where_none_is_too_many_whatever_the_plan_has_come_to_want() -> None:
    """A removal that was ordered for an earlier purpose of the plan took another voter."""
    three = Membership(7, (member(1), member(2), FRESH))
    for plan in (MOVE, structs.replace(MOVE, cause=Cause.LOST), undone(MOVE, three)):
        assert plan is not None
        assert order_for(plan, shard(1, members=three), wanted=3) is None
        assert next_step(plan, three, wanted=3).step == "done"
        four = Membership(7, (*three.voters, member(3)))
        assert order_for(plan, shard(1, members=four), wanted=3) is not None


def test_a_plan_under_way_serves_for_a_voter_that_dies_meanwhile() -> None:
    members = Membership(5, (member(1), member(2), member(3)), (FRESH,))
    other = redirected(MOVE, member(3), Cause.DEAD, "n3 is gone")
    group = Group(members)
    assert run(other, group) == ["promote 9", "remove 3"]
    assert set(group.members.voters) == {member(1), member(2), FRESH}


def test_a_learner_that_no_plan_names_is_one_too_many() -> None:
    members = Membership(5, (member(1), member(2), member(3)), (FRESH, member(8)))
    assert extra_learners(shard(1, members=members), (MOVE,)) == (member(8),)
    assert extra_learners(shard(1, members=members), ()) == (FRESH, member(8))


def test_a_plan_is_listed_with_what_it_does_next() -> None:
    assert listed(PLAN, shard(1, members=membership(4))) == ("replace-replica", 1, "learn", "n3", "lost", 1, "n3")
    learning = Membership(5, (member(1), member(2), member(3)), (FRESH,))
    assert listed(PLAN, shard(1, members=learning)).step == "promote"
    assert listed(PLAN, None).step == "done"


def test_shards_on_their_way_in_and_out_are_listed_by_their_state() -> None:
    creating, dropping = (shard(1, state=state) for state in (ShardState.CREATING, ShardState.DROPPING))
    assert listed_state(creating, NodeId("n2")) == ("create-shard", 1, "create", "n2", "its table is new", 0, None)
    assert listed_state(dropping, None) == ("drop-shard", 1, "drop", None, "its table is dropped", 0, None)
    assert listed_state(shard(1), None) is None


def test_a_member_is_the_same_only_on_the_same_folder() -> None:
    other_folder = Member(ReplicaId(9), NodeId("n3"), 334)
    assert next_step(PLAN, Membership(5, (member(1), member(2), member(3)), (other_folder,))).step == "learn"
