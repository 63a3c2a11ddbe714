"""Range tables are evened out by bytes and requests: what leaders say, the plans and orders it comes to."""

from collections import Counter

import pytest

from tests.core.cluster.town import RANGE, Town, create
from zkv.core.cluster import messages as m
from zkv.core.cluster.evening import EVERY_MS, FIRST_MS
from zkv.core.cluster.operators import Cause, ReplaceReplica
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId, ShardId

MIB = 1024 * 1024
SPLITS = tuple(b"%c" % letter for letter in range(ord("b"), ord("j")))  # nine shards


class Ranges(Town):
    """A town with a range table, whose leaders say how large and how busy their shards are every two seconds."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.bytes: dict[ShardId, int] = {}
        self.requests: dict[ShardId, int] = {}
        self.size, self.asked = 40 * MIB, 100
        self.plans: list[ReplaceReplica] = []
        self._seen: set[int] = set()
        self.run_until(lambda: self.serves("default"))
        self.ask(create(1, "ordered", partitioner=RANGE, splits=SPLITS))
        self.run_until(lambda: self.serves("ordered"))

    def turn(self, ms: int = 50) -> None:
        super().turn(ms)
        if self.now_ms % 2_000 == 0:
            for info in self.state.map.shards.values():
                self._say(info)
        for number, plan in self.state.operators.items():
            if number not in self._seen and self.is_ordered(plan.shard):
                self._seen.add(number)
                self.plans.append(plan)

    def is_ordered(self, shard: ShardId) -> bool:
        return any(info.shard == shard for info in self.shards_of("ordered"))

    def held(self) -> Counter[str]:
        """Replicas of the range table by node."""
        return Counter(voter.node for info in self.shards_of("ordered") for voter in info.membership.voters)

    def led(self) -> Counter[str]:
        return Counter(leader.node for info in self.shards_of("ordered") if (leader := info.leading()) is not None)

    def _say(self, info: ShardInfo) -> None:
        leader = self.groups[info.shard].info.leading() if info.shard in self.groups else None
        node = self.nodes.get(leader.node) if leader is not None else None
        if node is None or not node.alive or not self.is_ordered(info.shard):
            return
        size, asked = self.bytes.get(info.shard, self.size), self.requests.get(info.shard, self.asked)
        told = m.ShardSize(info.shard, info.range_version, b"", size, asked)
        self.coordinator.receive(node.source, m.ShardSizes(NodeId(node.name), (told,)))


def of_three() -> Ranges:
    """Three nodes hold all; a fourth has just joined."""
    town = Ranges("n1", "n2", "n3")
    town.run(EVERY_MS)
    town.join("n4")
    return town


def test_a_node_that_joins_is_given_bytes_until_it_has_its_share_and_then_nothing_moves() -> None:
    town = of_three()
    town.run(FIRST_MS + 12 * EVERY_MS)
    assert town.held()["n4"] in (6, 7)  # of 27 replicas, all of one size
    assert all(plan.fresh.node == "n4" and plan.cause == Cause.BALANCE for plan in town.plans)
    assert town.plans[0].why == "n1 holds 1.33 times its share (387M), n4 0.00 times (0)"
    done = len(town.plans)
    town.run(60 * EVERY_MS)
    assert len(town.plans) == done
    assert not town.state.operators


def test_where_one_shard_has_nearly_all_the_bytes_the_small_ones_go() -> None:
    town = of_three()
    large = town.shards_of("ordered")[0].shard
    town.size, town.bytes = MIB, {large: 10_000 * MIB}
    town.run(FIRST_MS + 6 * EVERY_MS)
    moved = Counter(plan.shard for plan in town.plans)
    assert moved
    assert moved[large] <= 1


def test_no_more_replicas_at_once_than_allowed_move_to_a_node() -> None:
    town = of_three()
    most = 0
    for _ in range(1_500):
        town.turn()
        most = max(most, sum(town.is_ordered(plan.shard) for plan in town.state.operators.values()))
    assert most == town.state.map.tuning.moves_per_node


def test_with_the_balance_off_nothing_moves_until_it_is_on() -> None:
    town = of_three()
    town.ask(m.ChangeTuning(70, balance=False))
    town.run(FIRST_MS + 3 * EVERY_MS)
    assert town.plans == []
    town.ask(m.ChangeTuning(71, balance=True))
    town.run(3 * EVERY_MS)
    assert town.plans != []


def test_while_a_node_is_drained_or_away_nothing_is_evened_out() -> None:
    town = of_three()
    town.kill("n3")
    town.run(FIRST_MS)
    assert town.plans == []
    town.restart("n3")
    town.run(2_000)
    town.ask(m.ChangeNode(70, NodeId("n3"), "drain"))
    town.run(EVERY_MS)
    assert all(plan.cause == Cause.DRAIN for plan in town.plans)
    assert town.held()["n3"] == 0


def test_a_coordinator_that_has_just_begun_to_lead_waits_until_it_has_heard_the_figures() -> None:
    town = of_three()
    for name in town.nodes:
        town.restart(name)
    town.start_coordinator()
    began_ms = town.now_ms
    town.run_until(lambda: bool(town.plans), FIRST_MS + 3 * EVERY_MS)
    assert town.now_ms - began_ms >= FIRST_MS


def test_a_plan_that_was_cancelled_leaves_its_shard_where_it_is() -> None:
    town = of_three()
    town.on_order = lambda node, order: not (isinstance(order, m.ChangeMember) and town.is_ordered(order.shard))
    town.run_until(lambda: bool(town.plans), FIRST_MS + 3 * EVERY_MS)
    plan = town.plans[0]
    town.ask(m.CancelOperator(70, plan.id))
    town.on_order = lambda node, order: True
    town.run(4 * EVERY_MS)
    assert [own.id for own in town.plans if own.shard == plan.shard] == [plan.id]


def test_leads_follow_the_requests() -> None:
    """Three of the nine shards are asked nearly all there is: each node is to lead one of them."""
    town = Ranges("n1", "n2", "n3")
    hot = [info.shard for info in town.shards_of("ordered")][:3]
    town.requests = dict.fromkeys(hot, 10_000)
    for shard in hot:
        group = town.groups[shard]
        first = next(voter for voter in group.info.membership.voters if voter.node == "n1")
        group.change_leader(first.replica)
    town.run(FIRST_MS + 6 * EVERY_MS)
    leaders = {leader.node for info in town.shards_of("ordered") if info.shard in hot and (leader := info.leading())}
    assert leaders == {"n1", "n2", "n3"}
    assert town.plans == []
    asked = len(town.orders_to("n1", m.TransferLeader))
    town.run(30 * EVERY_MS)
    assert len(town.orders_to("n1", m.TransferLeader)) == asked


def test_idle_leads_are_spread_by_number() -> None:
    town = Ranges("n1", "n2", "n3")
    town.asked = 0
    for info in town.shards_of("ordered"):
        first = next(voter for voter in info.membership.voters if voter.node == "n1")
        town.groups[info.shard].change_leader(first.replica)
    town.run(FIRST_MS + 12 * EVERY_MS)
    assert max(town.led().values()) <= 4


def test_what_nobody_has_counted_is_taken_to_be_as_the_others_are() -> None:
    """A node of the version before says no requests, one that is never idle no bytes."""
    town = of_three()
    for info in town.shards_of("ordered")[:4]:
        town.bytes[info.shard] = town.requests[info.shard] = -1
    town.run(FIRST_MS + 12 * EVERY_MS)
    assert town.held()["n4"] in (6, 7)


@pytest.mark.parametrize("heavy", ["n1", "n4"])
def test_a_heavier_node_is_given_more(heavy: str) -> None:
    town = of_three()
    town.run_until(lambda: "n4" in town.state.map.nodes)
    town.ask(m.ChangeNode(70, NodeId(heavy), "set", weight=3.0))
    town.run(FIRST_MS + 20 * EVERY_MS)
    assert town.held()[heavy] == 9  # of each shard one


def test_a_plan_says_what_a_node_that_is_to_serve_again_would_get_and_that_is_what_it_gets() -> None:
    town = of_three()
    town.run(FIRST_MS + 12 * EVERY_MS)
    town.ask(m.ChangeNode(70, NodeId("n4"), "drain"))
    town.run_until(lambda: town.held()["n4"] == 0, 60_000)
    town.run(2_000)
    town.ask(m.PlanRequest(71, m.ChangeNode(0, NodeId("n4"), "undrain")))
    plan = town.answer_to(71)
    assert isinstance(plan, m.PlanAnswer)
    moves = [move for move in plan.moves if town.is_ordered(move.shard)]
    assert {move.target for move in moves} == {"n4"}
    assert len(moves) in (6, 7)
    assert "times its share" in moves[0].why
    assert town.held()["n4"] == 0
    town.ask(m.ChangeNode(72, NodeId("n4"), "undrain", plan=plan.plan))
    town.run(FIRST_MS + 70 * EVERY_MS)
    assert abs(town.held()["n4"] - len(moves)) <= 1
