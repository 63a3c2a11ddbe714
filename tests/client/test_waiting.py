"""Results that another thread brings, and the order in which those who wait are woken."""

from threading import Thread

import pytest

from zkv.client.waiting import Relay, Waiting
from zkv.errors import Timeout

_SOON_S = 10


class Sleeper:
    """A thread that waits for a result, until it has one."""

    def __init__(self, relay: Relay) -> None:
        self.waiting: Waiting[object] = Waiting(relay)
        self.got: list[object] = []
        self._thread = Thread(target=self._wait, daemon=True)
        self._thread.start()
        while not self.waiting._awaited:
            pass

    def _wait(self) -> None:
        self.got.append(self.waiting.result())

    def wakes(self) -> bool:
        self._thread.join(_SOON_S)
        return not self._thread.is_alive()


def test_a_result_for_which_nobody_sleeps_yet_is_there_at_once() -> None:
    relay = Relay(lambda: None)
    waiting: Waiting[str] = Waiting(relay)
    assert not waiting.is_done
    waiting.bring("seven")
    assert waiting.is_done
    assert not relay, "there is nobody to wake"
    assert [waiting.result(), waiting.result()] == ["seven", "seven"]


def test_an_error_is_raised_each_time_it_is_asked_for() -> None:
    waiting: Waiting[str] = Waiting(Relay(lambda: None))
    waiting.bring(Timeout("late"))
    assert isinstance(waiting.error(), Timeout)
    assert not waiting.asked
    for _ in range(2):
        with pytest.raises(Timeout):
            waiting.result()


def test_one_push_wakes_all_who_sleep_and_the_last_says_that_it_is_the_last() -> None:
    ended: list[bool] = []
    relay = Relay(lambda: ended.append(True))
    sleepers = [Sleeper(relay) for _ in range(20)]
    for number, sleeper in enumerate(sleepers):
        sleeper.waiting.bring(number)
    assert not any(sleeper.got for sleeper in sleepers), "all wait for the push"
    relay.pass_on()
    assert all(sleeper.wakes() for sleeper in sleepers)
    assert [sleeper.got for sleeper in sleepers] == [[number] for number in range(20)]
    assert ended
    assert not relay


def test_who_is_interrupted_before_it_wakes_the_next_holds_nobody_up_for_long() -> None:
    relay = Relay(lambda: None)
    gone, other = Sleeper(relay), Sleeper(relay)
    lost: Waiting[object] = Waiting(relay)
    lost._awaited = True  # its thread meant to sleep, and was interrupted before it did
    for waiting in (lost, gone.waiting, other.waiting):
        waiting.bring("there")
    relay.pass_on()
    assert lost.is_done
    assert relay, "the chain is broken"
    relay.pass_on()  # as the I/O thread does in its next turn
    assert gone.wakes()
    assert other.wakes()


def test_at_the_end_everybody_is_woken() -> None:
    relay = Relay(lambda: None)
    sleepers = [Sleeper(relay) for _ in range(3)]
    for sleeper in sleepers:
        sleeper.waiting.bring("closed")
    relay.wake_all()
    assert all(sleeper.wakes() for sleeper in sleepers)
