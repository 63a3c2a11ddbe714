"""Which coordinator is asked: the one that leads, and none that is silent for so long that a node may count as down."""

from zkv import limits
from zkv.core.cluster.choice import SILENT_MS, Choice


def test_who_is_asked_stays_until_it_is_silent_for_too_long() -> None:
    choice = Choice(["a:1", "b:1"])
    asked = []
    for at_ms in range(0, 1_500, limits.REGISTER_MS):
        asked.append(choice.ask(at_ms))
        if at_ms < 500:
            choice.answered("a:1")
    assert asked == ["a:1"] * 5 + ["b:1"]
    assert choice.left == "a:1"
    assert SILENT_MS + limits.REGISTER_MS < limits.NODE_DOWN_MS


def test_an_answer_of_another_does_not_speak_for_who_is_asked() -> None:
    choice = Choice(["a:1", "b:1"])
    choice.ask(0)
    choice.answered("b:1")
    assert choice.ask(SILENT_MS) == "b:1"


def test_who_does_not_lead_sends_on_to_who_does() -> None:
    choice = Choice(["a:1", "b:1"])
    choice.redirected("a:1", "c:1")
    assert choice.current == "c:1"
    choice.redirected("a:1", "b:1")
    assert choice.current == "c:1", "a late word of who is asked no more"
    choice.redirected("c:1", "")
    assert choice.current == "a:1", "c knows of no leader: the next"
    choice.redirected("a:1", "a:1")
    assert choice.current == "b:1", "nobody is sent to who has just said that it does not lead"


def test_only_who_can_be_reached_is_chosen_and_then_kept() -> None:
    choice = Choice(["a:1", "b:1", "c:1"])
    assert choice.among(["b:1", "c:1"]) == "b:1"
    assert choice.among(["a:1", "b:1"]) == "b:1"
    assert choice.among([]) is None


def test_what_is_learnt_does_not_move_who_is_asked() -> None:
    choice = Choice(["a:1", "b:1"])
    choice.pass_over()
    choice.learn(["c:1", "a:1"])
    assert (choice.current, choice.addresses) == ("b:1", ["a:1", "b:1", "c:1"])
