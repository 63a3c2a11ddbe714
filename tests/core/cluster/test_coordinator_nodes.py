"""Nodes at the coordinator: who registers, who is refused, and who counts as down."""

import msgspec
import pytest

from tests.core.cluster.town import CLIENT, Town, serving, state_of
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster import versions
from zkv.core.cluster.shardmap import MapDelta, NodeState
from zkv.ids import NodeId


def test_a_registered_node_is_told_the_map_in_which_it_stands() -> None:
    town = serving()
    town.join("n4")
    town.turn()
    (welcome,) = town.orders_to("n4", m.Registered)
    assert isinstance(welcome, m.Registered)
    assert NodeId("n4") in {node.node for node in welcome.map.nodes}
    assert (welcome.map.coordinators, welcome.map.publishers) == (("c:1",), ("c:2",))
    assert "node n4 joined at n4:1" in town.events


def test_a_silent_node_counts_as_down_and_a_heard_one_as_up() -> None:
    town = serving()
    town.kill("n2")
    town.run(limits.NODE_DOWN_MS - 100)
    assert state_of(town, "n2") == NodeState.UP
    town.run(200)
    assert state_of(town, "n2") == NodeState.DOWN
    assert {state_of(town, name) for name in ("n1", "n3")} == {NodeState.UP}
    town.restart("n2")
    town.run(100)
    assert state_of(town, "n2") == NodeState.UP
    assert town.events[-2:] == ["node n2 is silent and counts as down", "node n2 is up again at n2:1"]


def test_a_node_that_was_only_slow_is_up_again_by_its_heartbeat() -> None:
    town = serving()
    town.kill("n2")
    town.run(2_000)
    town.nodes["n2"].alive = True
    town.turn()
    assert state_of(town, "n2") == NodeState.UP


def test_after_a_pause_of_its_own_the_coordinator_waits_before_it_declares_anybody_down() -> None:
    town = serving()
    town.kill("n3")
    town.now_ms += 60_000
    town.run(limits.NODE_DOWN_MS - 100)
    assert {node.state for node in town.map.nodes} == {NodeState.UP}
    town.run(300)
    assert {name: state_of(town, name) for name in town.nodes} == {
        "n1": NodeState.UP,
        "n2": NodeState.UP,
        "n3": NodeState.DOWN,
    }


def test_an_unknown_heartbeat_is_answered_with_register_again() -> None:
    town = Town()
    town.turn()
    town.coordinator.receive(b"x", m.Alive(NodeId("n1"), 5, 17))
    assert town.coordinator.outbox() == [(b"x", m.Heard(17, known=False))]


def test_a_heartbeat_from_another_folder_is_answered_with_register_again() -> None:
    town = serving()
    town.coordinator.receive(b"x", m.Alive(NodeId("n1"), 5, 17))
    assert (b"x", m.Heard(17, known=False)) in town.coordinator.outbox()


def test_a_node_that_moves_is_published_under_its_new_address() -> None:
    town = serving()
    town.kill("n1")
    town.run(2_000)
    town.nodes["n1"].address = "elsewhere:9"
    town.restart("n1")
    town.run(200)
    assert town.state.map.nodes[NodeId("n1")].address == "elsewhere:9"
    assert town.nodes["n1"].registered


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster": 12345}, "belongs to cluster 0000000000003039"),
        ({"protocol": 4}, "node n9 speaks protocol 4, this coordinator 2: more than one version apart"),
        ({"weight": 0.0}, "above 0"),
        ({"weight": float("nan")}, "above 0"),
        ({"zone": "z" * 65}, "1 to 64 characters"),
        ({"node": ""}, "1 to 64 characters"),
    ],
    ids=["cluster", "protocol", "no weight", "not a number", "zone", "name"],
)
def test_a_node_that_does_not_belong_is_refused_in_words(change: dict[str, object], words: str) -> None:
    town = serving()
    version = town.state.map.version
    good = m.Register(NodeId("n9"), 5, 0, "n9:1", "", 1.0, 1, ())
    town.coordinator.receive(CLIENT, msgspec.structs.replace(good, **change))
    town.run(200)
    (answer,) = town.answers
    assert isinstance(answer, m.RegisterRefused)
    assert words in answer.what
    assert town.state.map.version == version
    assert any(event.startswith("refused a registration: ") and words in event for event in town.events)


def test_a_second_node_under_a_living_id_is_refused_and_the_first_stays() -> None:
    town = serving()
    version = town.state.map.version
    stranger = m.Register(NodeId("n1"), 5, 0, "other:1", "", 1.0, 1, ())
    for _ in range(20):
        town.coordinator.receive(CLIENT, stranger)
        town.turn()
    refusals = [answer for answer in town.answers if isinstance(answer, m.RegisterRefused)]
    assert refusals
    assert "the id n1 is in use by a node at n1:1" in refusals[0].what
    assert town.state.map.version == version
    assert town.nodes["n1"].registered


def test_a_new_folder_under_an_id_whose_node_has_just_died_waits_and_is_taken() -> None:
    town = serving()
    town.kill("n1")
    town.turn()
    town.wipe("n1")
    took = town.run_until(lambda: town.nodes["n1"].registered)
    assert limits.NODE_DOWN_MS - 200 <= took <= limits.NODE_DOWN_MS + 300
    assert town.nodes["n1"].refused == ""


def test_a_coordinator_just_started_does_not_give_a_living_nodes_id_away() -> None:
    town = serving()
    town.start_coordinator()
    stranger = m.Register(NodeId("n1"), 5, 0, "other:1", "", 1.0, 1, ())
    town.coordinator.receive(CLIENT, stranger)
    town.run(3_000)
    assert town.state.map.nodes[NodeId("n1")].incarnation == town.nodes["n1"].incarnation
    assert town.state.operators == {}


def test_a_node_one_version_ahead_is_taken_and_told_the_coordinators_own_version() -> None:
    town = serving()
    town.coordinator.receive(CLIENT, m.Register(NodeId("n9"), 5, 0, "n9:1", "", 1.0, versions.PROTOCOL_VERSION + 1, ()))
    town.run(200)
    (answer,) = [answer for answer in town.answers if isinstance(answer, m.Registered)]
    assert (answer.protocol, NodeId("n9") in town.state.map.nodes) == (versions.PROTOCOL_VERSION, True)


def test_who_leads_next_says_the_last_change_again_for_its_leader_may_have_died_before_that() -> None:
    town = serving()
    last = town.commands[-1].delta
    for _ in range(2):
        town.coordinator.stop_leading()
        town.coordinator.start_leading()
        said = [news for news in town.coordinator.broadcasts() if isinstance(news, MapDelta)]
        assert said == [last], "one change at a time is under way, so no other can be in doubt"
