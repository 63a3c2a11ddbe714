"""Nodes come, go and die, and their replicas move: the coordinator from outside, with fake nodes that obey."""

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from tests.core.cluster.town import CLIENT, Town
from zkv.core.cluster import messages as m
from zkv.core.cluster import moves, upkeep
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.operators import Cause
from zkv.core.cluster.shardmap import NodeDuty, NodeState
from zkv.core.cluster.standing import Standing
from zkv.core.message import Message
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId

FOUR = ("n1", "n2", "n3", "n4")


def serving(*names: str) -> Town:
    town = Town(*names)
    town.run_until(lambda: town.serves("default") and settled(town))
    town.run(4_000)
    return town


def settled(town: Town) -> bool:
    """No plan is left, and every group has three live voters and nobody else, as its map says."""
    return not town.state.operators and all(
        len(info.membership.voters) == 3
        and not info.membership.learners
        and all(map(town.is_alive, info.membership.voters))
        and town.groups[info.shard].info.membership == info.membership
        for info in town.map.shards
    )


def held(town: Town) -> Counter[str]:
    return Counter(voter.node for info in town.map.shards for voter in info.membership.voters)


def change(town: Town, action: str, node: str, number: int = 70, **more: object) -> Message | None:
    town.ask(m.ChangeNode(number, NodeId(node), action, **more))  # type: ignore[arg-type]
    town.turn()
    return town.answer_to(number)


def on(info: ShardInfo, node: str) -> bool:
    return any(voter.node == node for voter in info.membership.voters)


def never(action: str, but_of: int = 0) -> Callable[[object, Message], bool]:
    """Orders of that kind are lost, but those of one shard."""

    def passes(node: object, order: Message) -> bool:
        return not isinstance(order, m.ChangeMember) or order.action != action or order.shard == but_of

    return passes


def replicas(town: Town) -> list[tuple[str, int]]:
    return sorted((node.name, replica) for node in town.nodes.values() for replica in node.replicas)


def members(town: Town) -> list[tuple[str, int]]:
    return sorted((voter.node, voter.replica) for info in town.map.shards for voter in info.membership.voters)


# Joining -------------------------------------------------------------------------------------------------------------


def test_a_node_that_joins_gets_its_share_and_only_it_receives() -> None:
    town = serving("n1", "n2", "n3")
    before = {info.shard: {voter.node for voter in info.membership.voters} for info in town.map.shards}
    town.join("n4")
    town.run_until(lambda: held(town)["n4"] == 9 and settled(town), ms=60_000)
    assert sorted(held(town).values()) == [9, 9, 9, 9]
    for info in town.map.shards:
        assert {voter.node for voter in info.membership.voters} - before[info.shard] <= {"n4"}
    town.run(5_000)
    assert replicas(town) == members(town), "what was moved away is deleted"
    commands = len(town.commands)
    town.run(30_000)
    assert len(town.commands) == commands, "and nothing moves any more"


def test_no_more_moves_than_allowed_run_at_a_node_at_once() -> None:
    town = serving("n1", "n2", "n3")
    town.join("n4")
    most = 0
    while held(town)["n4"] < 9:
        town.turn()
        learning = [own.node for group in town.groups.values() for own in group.info.membership.learners]
        extra = [group for group in town.groups.values() if len(group.info.membership.voters) > 3]
        most = max(most, len(learning) + len(extra))
    assert most == town.map.tuning.moves_per_node == 2


def test_with_the_balance_off_a_join_moves_nothing_until_it_is_on() -> None:
    town = serving("n1", "n2", "n3")
    town.ask(m.ChangeTuning(60, balance=False))
    assert town.answer_to(60) == m.AdminDone(60, town.map.version)
    town.join("n4")
    town.run(20_000)
    assert held(town)["n4"] == 0
    town.ask(m.ChangeTuning(61, balance=True))
    town.run_until(lambda: held(town)["n4"] == 9 and settled(town), ms=60_000)


def test_three_joins_in_a_row_move_each_share_once() -> None:
    town = serving("n1", "n2", "n3")
    before = {info.shard: {voter.node for voter in info.membership.voters} for info in town.map.shards}
    for name in ("n4", "n5", "n6"):
        town.join(name)
        town.run(500)
    town.run_until(lambda: settled(town) and set(held(town).values()) == {6}, ms=90_000)
    learnt = [order for _, order in town.sent if isinstance(order, m.ChangeMember) and order.action == "learn"]
    moved = {(order.shard, order.member.replica) for order in learnt}
    assert len(moved) == 18, "half of 36 replicas, the least that there is"
    assert len(before) == 12


# Draining ------------------------------------------------------------------------------------------------------------


def test_a_drained_node_ends_with_nothing_and_no_group_ever_had_fewer_than_three_live_voters() -> None:
    town = serving(*FOUR)
    assert isinstance(change(town, "drain", "n2"), m.AdminDone)
    while not (settled(town) and held(town)["n2"] == 0):
        town.turn()
        assert town.now_ms < 200_000
        for group in town.groups.values():
            assert len(group.info.membership.voters) >= 3
            assert group.info.leader
    town.run(1_000)
    assert town.nodes["n2"].replicas == {}
    assert town.orders_to("n2", m.TransferLeader), "it hands over what it leads before it goes"


def test_a_node_without_which_there_are_too_few_is_not_drained() -> None:
    town = serving("n1", "n2", "n3")
    answer = change(town, "drain", "n2")
    assert isinstance(answer, m.AdminRefused)
    assert answer.error == "NotPossible"
    assert "without it there would be 2 nodes: add a node first" in answer.what
    assert town.map.nodes[1].duty == NodeDuty.SERVING


def test_a_shard_that_has_one_voter_more_amid_a_move_does_not_hinder_a_drain() -> None:
    town = serving("n1", "n2", "n3")
    town.join("n4")
    town.on_order = never("remove")
    town.run_until(lambda: any(len(info.membership.voters) == 4 for info in town.map.shards), ms=60_000)
    assert isinstance(change(town, "drain", "n1"), m.AdminDone)
    town.on_order = lambda node, order: True
    town.run_until(lambda: settled(town) and held(town)["n1"] == 0, ms=120_000)


def test_undrain_takes_back_what_has_begun_and_leaves_the_rest() -> None:
    town = serving(*FOUR)
    before = members(town)
    town.on_order = never("promote")
    change(town, "drain", "n2")
    town.run_until(lambda: any(group.info.membership.learners for group in town.groups.values()))
    change(town, "undrain", "n2", 71)
    town.run_until(lambda: settled(town), ms=20_000)
    assert members(town) == before
    town.run(3_000)
    assert replicas(town) == before


def test_new_tables_keep_clear_of_a_drained_node() -> None:
    town = serving(*FOUR)
    change(town, "drain", "n2")
    town.ask(m.CreateTable(80, 5, "t", 0, 3, 4))  # type: ignore[arg-type]
    town.run_until(lambda: town.serves("t"))
    assert all(voter.node != "n2" for info in town.shards_of("t") for voter in info.membership.voters)


def test_a_node_that_dies_while_it_is_filled_is_filled_when_it_is_back() -> None:
    town = serving(*FOUR)
    change(town, "drain", "n2")
    town.run_until(lambda: any(group.info.membership.learners for group in town.groups.values()))
    target = next(own.node for group in town.groups.values() for own in group.info.membership.learners)
    town.kill(target)
    town.run(5_000)
    town.restart(target)
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=60_000)


def test_a_replaced_node_gives_all_it_has_to_its_heir() -> None:
    town = serving(*FOUR)
    town.ask(m.ChangeTuning(60, balance=False))
    town.join("n5")
    town.run(1_000)
    had = {info.shard for info in town.map.shards if any(voter.node == "n2" for voter in info.membership.voters)}
    change(town, "replace", "n2", heir=NodeId("n5"))
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=60_000)
    got = {info.shard for info in town.map.shards if any(voter.node == "n5" for voter in info.membership.voters)}
    assert got == had


# Dying ---------------------------------------------------------------------------------------------------------------


def test_a_dead_nodes_replicas_are_rebuilt_after_the_grace_period_and_not_before() -> None:
    town = serving(*FOUR)
    town.ask(m.ChangeTuning(60, grace_ms=20_000))
    town.kill("n2")
    town.run(19_000)
    assert not town.state.operators
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=30_000)
    town.restart("n2")
    town.run(6_000)
    assert town.nodes["n2"].replicas == {} or held(town)["n2"] > 0
    assert replicas(town) == members(town), "what it had is deleted, by the word of its groups"


def test_a_node_that_returns_within_the_grace_period_moves_nothing() -> None:
    town = serving(*FOUR)
    before = members(town)
    town.kill("n2")
    town.run(50_000)
    town.restart("n2")
    town.run(30_000)
    assert members(town) == before
    assert not any(isinstance(order, m.ChangeMember) for _, order in town.sent[-200:])


def test_a_node_that_returns_while_its_replicas_are_rebuilt_keeps_those_not_rebuilt_yet() -> None:
    town = serving(*FOUR)
    town.ask(m.ChangeTuning(60, grace_ms=5_000, balance=False))
    town.on_order = never("promote", but_of=next(info.shard for info in town.map.shards if on(info, "n2")))
    town.kill("n2")
    town.run_until(lambda: held(town)["n2"] == 8)
    town.restart("n2")
    town.run_until(lambda: settled(town), ms=30_000)
    town.run(3_000)
    assert held(town)["n2"] == 8
    assert replicas(town) == members(town)


def test_a_coordinator_that_has_just_begun_gives_everybody_the_whole_grace_period() -> None:
    town = serving(*FOUR)
    town.ask(m.ChangeTuning(60, grace_ms=10_000))
    town.kill("n2")
    town.run(9_000)
    town.start_coordinator()
    for node in town.nodes.values():
        node.registered = False
    town.run(9_000)
    assert not town.state.operators
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=30_000)


def test_a_node_gone_for_good_is_rebuilt_at_once_and_leaves_the_map() -> None:
    town = serving(*FOUR)
    town.kill("n2")
    town.run(3_000)
    assert isinstance(change(town, "remove", "n2"), m.AdminDone)
    town.run_until(lambda: settled(town) and all(node.node != "n2" for node in town.map.nodes), ms=30_000)
    assert "node n2 belongs to the cluster no longer" in town.events
    town.restart("n2")
    town.run(500)
    assert "was removed from the cluster" in town.nodes["n2"].refused


def test_a_node_that_is_up_and_holds_something_is_not_removed() -> None:
    town = serving(*FOUR)
    assert change(town, "remove", "n2") is None, "it may have just been stopped"
    town.run(2_000)
    answer = town.answer_to(70)
    assert isinstance(answer, m.AdminRefused)
    assert answer.what == "n2 is up and holds replicas: drain it first, or stop it if it is gone for good"


def test_a_node_that_was_stopped_a_moment_ago_is_removed_once_that_is_noticed() -> None:
    town = serving(*FOUR)
    town.kill("n2")
    assert change(town, "remove", "n2") is None
    town.run(2_500)
    assert isinstance(town.answer_to(70), m.AdminDone)


def test_a_node_whose_loss_would_lose_rows_is_not_removed() -> None:
    town = serving(*FOUR)
    town.kill("n2")
    town.kill("n3")
    town.run(3_000)
    answer = change(town, "remove", "n2")
    assert isinstance(answer, m.AdminRefused)
    assert "has no live majority without n2: its rows would be lost" in answer.what


def test_a_voter_that_dies_during_a_move_is_replaced_by_what_was_on_its_way() -> None:
    town = serving(*FOUR, "n5")
    town.ask(m.ChangeTuning(60, grace_ms=5_000, balance=False))
    change(town, "drain", "n2")
    town.run_until(lambda: any(group.info.membership.learners for group in town.groups.values()))
    group = next(group for group in town.groups.values() if group.info.membership.learners)
    victim = next(own.node for own in group.info.membership.voters if own.node != "n2")
    town.kill(victim)
    town.run_until(lambda: held(town)[victim] == 0 and held(town)["n2"] == 0 and settled(town), ms=90_000)


def test_a_move_gives_up_its_replica_only_where_as_many_as_the_table_wants_stay() -> None:
    town = serving(*FOUR)
    orders: list[object] = []
    town.on_order = lambda node, order: orders.append(order) is None
    change(town, "drain", "n2")
    town.run_until(lambda: held(town)["n2"] == 0 and settled(town), ms=60_000)
    kept = [order.kept for order in orders if isinstance(order, m.ChangeMember) and order.action == "remove"]
    assert kept
    assert set(kept) == {3}


def test_a_change_of_a_node_that_another_change_removes_at_the_same_time_is_refused() -> None:
    town = serving(*FOUR)
    town.ask(m.ChangeTuning(60, balance=False))
    town.join("n5")
    town.run_until(lambda: "n5" in town.state.map.nodes)
    town.kill("n5")
    town.run_until(lambda: town.state.map.nodes[NodeId("n5")].state == NodeState.DOWN, ms=60_000)
    town.coordinator.receive(CLIENT, m.ChangeNode(70, NodeId("n5"), "drain"))
    town.ask(m.ChangeNode(71, NodeId("n5"), "remove"))
    town.run(1_000)
    assert "n5" not in town.state.map.nodes
    assert isinstance(town.answer_to(71), m.AdminDone)
    refused = town.answer_to(70)
    assert isinstance(refused, m.AdminRefused)
    assert refused.what == "n5 was removed meanwhile"


# Operators -----------------------------------------------------------------------------------------------------------


def test_a_cancelled_operator_is_taken_back_and_its_shard_is_left_alone() -> None:
    town = serving(*FOUR)
    change(town, "drain", "n2")
    town.run_until(lambda: any(group.info.membership.learners for group in town.groups.values()))
    shard = next(group.info.shard for group in town.groups.values() if group.info.membership.learners)
    plan = next(plan for plan in town.state.operators.values() if plan.shard == shard)
    town.ask(m.CancelOperator(90, plan.id))
    town.run(1_000)
    assert isinstance(town.answer_to(90), m.AdminDone)
    town.run_until(lambda: held(town)["n2"] == 1 and settled(town), ms=60_000)
    town.run(5_000)
    assert held(town)["n2"] == 1
    change(town, "undrain", "n2", 91)
    change(town, "drain", "n2", 92)
    town.run_until(lambda: held(town)["n2"] == 0 and settled(town), ms=60_000)


def test_what_rebuilds_a_lost_replica_cannot_be_cancelled_nor_can_what_is_not_there() -> None:
    town = serving(*FOUR)
    town.wipe("n2")
    town.run_until(lambda: bool(town.state.operators))
    plan = next(iter(town.state.operators.values()))
    assert plan.cause == Cause.LOST
    town.ask(m.CancelOperator(90, plan.id))
    town.ask(m.CancelOperator(91, 999))
    first, second = town.answer_to(90), town.answer_to(91)
    assert isinstance(first, m.AdminRefused)
    assert "rebuilds a replica that is gone" in first.what
    assert isinstance(second, m.AdminRefused)
    assert second.what == "there is no operator 999"


@pytest.mark.parametrize("stop_after", range(0, 60, 3))
def test_a_drain_survives_a_coordinator_that_dies_at_any_moment(stop_after: int) -> None:
    town = serving(*FOUR)
    change(town, "drain", "n2")
    for _ in range(stop_after):
        town.turn()
    town.start_coordinator()
    for node in town.nodes.values():
        node.registered = False
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=60_000)
    town.run(3_000)
    assert replicas(town) == members(town)


def test_a_removed_replica_goes_by_the_word_of_its_group() -> None:
    town = serving(*FOUR)
    change(town, "drain", "n2")
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=60_000)
    town.run_until(lambda: not town.nodes["n2"].replicas, ms=5_000)
    assert any(isinstance(order, m.DismissReplica) for _, order in town.sent)


def test_a_removed_replica_stays_until_a_majority_of_the_others_knows_of_its_removal() -> None:
    """Who does not know counts by it still, and may need its word to be elected when another is lost."""
    town = serving(*FOUR)
    town.silent = {"n1", "n3", "n4"}
    change(town, "drain", "n2")
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=60_000)
    town.run(2_000)
    assert not any(isinstance(order, m.DismissReplica) for _, order in town.sent)
    assert town.nodes["n2"].replicas
    town.silent.clear()
    town.run_until(lambda: not town.nodes["n2"].replicas, ms=2_000)


def test_a_late_order_leaves_no_learner_behind() -> None:
    """The order to learn is on its way when the plan is cancelled; nothing has changed for it, so it is done."""
    town = serving(*FOUR)
    late: list[m.ChangeMember] = []

    def holds_back(node: object, order: Message) -> bool:
        if isinstance(order, m.ChangeMember) and order.action == "learn" and not late:
            late.append(order)
            return False
        return True

    town.on_order = holds_back
    change(town, "drain", "n2")
    (order,) = late
    change(town, "undrain", "n2", 71)
    town.run(1_000)
    town.groups[order.shard].change(order)
    town.run_until(lambda: order.member in town.members_of(order.shard), ms=100)
    town.run_until(lambda: settled(town), ms=10_000)


def test_a_replica_that_a_late_order_has_removed_is_never_asked_for_again() -> None:
    town = serving(*FOUR)
    town.on_order = never("promote")
    change(town, "drain", "n2")
    town.run_until(lambda: any(plan.joined for plan in town.state.operators.values()))
    plan = next(plan for plan in town.state.operators.values() if plan.joined)
    version = town.groups[plan.shard].info.membership.version
    town.groups[plan.shard].change(m.ChangeMember(plan.shard, version, "remove", plan.fresh))
    town.on_order = lambda node, message: True
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=60_000)
    assert plan.fresh.replica not in [replica for _, replica in members(town)]


# Plans ---------------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_will_move_and_that_is_what_moves() -> None:
    town = serving(*FOUR)
    town.ask(m.PlanRequest(40, m.ChangeNode(0, NodeId("n2"), "drain")))
    plan = town.answer_to(40)
    assert isinstance(plan, m.PlanAnswer)
    assert {move.source for move in plan.moves} == {"n2"}
    assert len(plan.moves) == held(town)["n2"]
    assert town.map.version == plan.version
    assert change(town, "drain", "n2", 41, plan=plan.plan) == m.AdminDone(41, plan.version + 1)
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=60_000)
    now = {info.shard: {voter.node for voter in info.membership.voters} for info in town.map.shards}
    assert all(move.target in now[move.shard] for move in plan.moves)


def test_a_plan_that_was_made_from_another_map_is_refused() -> None:
    town = serving(*FOUR)
    town.ask(m.PlanRequest(40, m.ChangeNode(0, NodeId("n2"), "drain")))
    plan = town.answer_to(40)
    assert isinstance(plan, m.PlanAnswer)
    town.join("n5")
    town.run(500)
    answer = change(town, "drain", "n2", 41, plan=plan.plan)
    assert isinstance(answer, m.AdminRefused)
    assert answer.what == "the map has changed since the plan was made: plan again"


# Weight and zone -----------------------------------------------------------------------------------------------------


def test_a_heavier_node_gets_more_and_keeps_its_weight_over_a_restart() -> None:
    town = serving(*FOUR)
    change(town, "set", "n1", weight=3.0)
    town.run_until(lambda: held(town)["n1"] == 12 and settled(town), ms=60_000)
    town.restart("n1")
    town.run(2_000)
    info = next(node for node in town.map.nodes if node.node == "n1")
    assert (info.weight, info.fixed_weight) == (3.0, True)


def test_replicas_move_apart_when_zones_are_told() -> None:
    town = serving(*FOUR)
    for number, (name, zone) in enumerate([("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "c")]):
        change(town, "set", name, 100 + number, zone=zone)
    zones = {"n1": "a", "n2": "a", "n3": "b", "n4": "c"}

    def apart() -> bool:
        return all(len({zones[own.node] for own in info.membership.voters}) == 3 for info in town.map.shards)

    town.run_until(lambda: apart() and settled(town), ms=90_000)


# What it costs --------------------------------------------------------------------------------------------------------


def test_where_only_leaders_change_nothing_is_reckoned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    town = serving(*FOUR)
    reckoned: list[bool] = []

    def counts(draft: Draft, standing: Standing, *, even: bool) -> list[moves.Move]:
        reckoned.append(even)
        return moves.wanted_moves(draft, standing, even=even)

    monkeypatch.setattr(upkeep, "wanted_moves", counts)
    for group in list(town.groups.values()):
        heir = next(own for own in group.info.membership.voters if own.replica != group.info.leader)
        group.info = msgspec.structs.replace(group.info, leader=heir.replica, term=group.info.term + 1)
        town.run(200)
    assert reckoned == []
    change(town, "drain", "n2")
    assert reckoned


def test_in_a_large_cluster_all_is_reckoned_only_now_and_then_and_still_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PAUSE_SHARDS", 4)  # twelve shards: every 9 s
    town = serving(*FOUR)
    change(town, "drain", "n2")
    town.run_until(lambda: settled(town) and held(town)["n2"] == 0, ms=90_000)
