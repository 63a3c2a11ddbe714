"""What counts and what does not, and that an open loop leaves out nothing that was due."""

import time

from zkv.bench.histogram import Histogram
from zkv.bench.loops import ask_at_rate, open_slots
from zkv.bench.plan import Plan, Workload
from zkv.bench.recorder import Recorder
from zkv.client.driver import Done
from zkv.core.routing import operations
from zkv.core.routing.operations import Request
from zkv.errors import Overloaded


def ask() -> Request[object]:
    return operations.get(b"key")


class Stalling:
    """A driver's stand-in that answers nothing until a moment, and everything at once from then on."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._waiting: list[Done] = []
        self.most_outstanding = 0

    @property
    def outstanding(self) -> int:
        return len(self._waiting)

    def submit(self, request: Request[object], done: Done) -> None:
        self._waiting.append(done)
        self.most_outstanding = max(self.most_outstanding, self.outstanding)

    def turn(self, *, most_ms: int = 100) -> None:
        if time.perf_counter() >= self._until:
            self.drain()

    def drain(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(b"value")


def test_what_came_before_the_beginning_is_thrown_away_and_each_second_has_its_line() -> None:
    recorder = Recorder(begin=10.0, end=12.0)
    recorder.latencies += [5.0] * 600
    recorder.errors.append("Timeout")
    recorder.look(9.5)
    recorder.look(10.25)  # the first look after the beginning: it begins here
    recorder.latencies += [0.001] * 600 + [0.002] * 100
    recorder.look(10.5)
    recorder.errors += ["Timeout", "Overloaded"]
    recorder.look(11.25)
    recorder.latencies.append(0.004)
    recorder.stop(12.25)
    outcome = recorder.outcome()
    assert (outcome.seconds, outcome.requests, outcome.rows) == (2.0, 701, 701)
    assert outcome.errors == {"Timeout": 1, "Overloaded": 1}
    assert [(second.at, second.requests, second.errors) for second in outcome.timeline] == [(1, 700, 2)]
    assert Histogram(outcome.latencies).total == 701


def test_a_closed_loop_counts_failures_by_name_and_goes_on() -> None:
    recorder = Recorder(begin=0.0, end=time.perf_counter() + 60.0)
    driver = Stalling(until=0.0)
    open_slots(driver.submit, ask, Plan(workload=Workload.get, outstanding=2), recorder)
    failing, driver._waiting = driver._waiting, []
    failing[0](Overloaded("full"))
    failing[1](b"value")
    assert recorder.errors == ["Overloaded"]
    assert len(recorder.latencies) == 1
    assert driver.outstanding == 2  # both slots have asked again


def test_an_open_loop_counts_what_was_due_while_nothing_was_answered() -> None:
    """A closed loop with as many in flight would see ten slow requests here, and forget all that came due meanwhile."""
    begin = time.perf_counter()
    recorder = Recorder(begin=begin, end=begin + 0.5)
    driver = Stalling(until=begin + 0.3)
    plan = Plan(workload=Workload.get, outstanding=10, rate=1_000.0)
    ask_at_rate(driver, ask, plan, recorder)
    outcome = recorder.outcome()
    assert driver.most_outstanding == 10
    assert outcome.requests + outcome.errors.get("unsent", 0) in range(480, 502)
    slow = sum(count for bucket, count in outcome.latencies.items() if Histogram({bucket: 1}).most > 0.1)
    assert slow >= 150


def test_what_was_never_asked_is_an_error() -> None:
    begin = time.perf_counter()
    recorder = Recorder(begin=begin, end=begin + 0.2)
    ask_at_rate(Stalling(until=begin + 60.0), ask, Plan(workload=Workload.get, outstanding=5, rate=1_000.0), recorder)
    outcome = recorder.outcome()
    assert outcome.requests == 5
    assert outcome.errors["unsent"] in range(190, 197)
