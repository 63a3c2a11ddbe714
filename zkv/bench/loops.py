"""How a process of load asks: closed and open loops over the bare driver, and many clients in one loop.

The inner loop is a callback: one reading of the clock, one append, one new request. What is counted is counted in bulk
between turns (`Recorder`).
"""

import resource
import selectors
import time
from collections.abc import Callable
from typing import Protocol

from zkv.bench.plan import Plan
from zkv.bench.recorder import Recorder
from zkv.bench.workloads import Stream, rows_of
from zkv.client.driver import Done, Driver
from zkv.client.turns import Turns, parse_addresses
from zkv.core.routing.admin import shard_map
from zkv.core.routing.operations import Request
from zkv.errors import Unavailable, ZkvError
from zkv.net.clock import now_ms

TIMEOUT_S = 10.0
Start = Callable[[], Recorder]  # says that this process is ready, and returns when it is told what to measure

_NAP_S = 0.0001  # between two looks for answers, while the next request is due in less than a poll can wait
_TICKS = 10  # so many parts a fleet is ticked in, one every _TICK_S
_TICK_S = 0.02
_FILES = 20  # of one client: its sockets, connections and context


class Asker(Protocol):
    """A Driver, as far as a loop needs it."""

    @property
    def outstanding(self) -> int:
        """Requests whose callback is still to be called."""
        ...

    def submit(self, request: Request[object], done: Done) -> None:
        """Ask; `done` is called with the result or the ZkvError."""
        ...

    def turn(self, *, most_ms: int = 100) -> None:
        """Wait for at most `most_ms`, call back, send."""
        ...

    def drain(self) -> None:
        """Return when nothing is outstanding."""
        ...


def closed_loop(addresses: str, stream: Stream, plan: Plan, start: Start) -> Recorder:
    """One client with `plan.outstanding` slots, each of which asks again as soon as it is answered."""
    with Driver(addresses, timeout_s=TIMEOUT_S) as driver:
        driver.ready()
        recorder = start()
        open_slots(driver.submit, stream.requests(), plan, recorder)
        clock, turn, look, end = time.perf_counter, driver.turn, recorder.look, recorder.end
        while (now := clock()) < end:
            look(now)
            turn()
        recorder.stop(now)
    return recorder


def open_loop(addresses: str, stream: Stream, plan: Plan, start: Start) -> Recorder:
    """One client that asks at its share of `plan.rate`, whatever the answers do."""
    with Driver(addresses, timeout_s=TIMEOUT_S) as driver:
        driver.ready()
        recorder = start()
        ask_at_rate(driver, stream.requests(), plan, recorder)
    return recorder


def ask_at_rate(driver: Asker, ask: Callable[[], Request[object]], plan: Plan, recorder: Recorder) -> None:
    """Latency counts from when a request was due, also where it could not be asked then.

    At most `plan.outstanding` are in flight: what is due beyond that waits, and its latency runs. What was due and was
    never asked is counted as the error `unsent`.
    """
    gap, most = plan.processes / plan.rate, plan.outstanding
    clock, end = time.perf_counter, recorder.end
    first, asked = clock(), 0
    while (now := clock()) < end:
        recorder.look(now)
        due = min(int((now - first) / gap) + 1, asked + most - driver.outstanding)
        for number in range(asked, due):
            driver.submit(ask(), _due(first + number * gap, plan, recorder))
        asked = max(asked, due)
        driver.turn(most_ms=0)
        _wait(driver, first + asked * gap - clock())
    recorder.stop(now)
    driver.drain()
    recorder.errors += ["unsent"] * max(0, int((end - first) / gap) - asked)


def fleet_loop(addresses: str, stream: Stream, plan: Plan, start: Start, clients: int) -> Recorder:
    """`clients` clients with connections of their own in one loop, each with `plan.outstanding` slots."""
    fleet = Fleet(addresses, clients)
    try:
        fleet.ready()
        recorder = start()
        ask = stream.requests()
        for member in fleet.members:
            open_slots(member.submit, ask, plan, recorder)
        fleet.turn_all()
        clock, end = time.perf_counter, recorder.end
        while (now := clock()) < end:
            recorder.look(now)
            fleet.turn()
        recorder.stop(now)
    finally:
        fleet.close()
    return recorder


def open_slots(
    submit: Callable[[Request[object], Done], None],
    ask: Callable[[], Request[object]],
    plan: Plan,
    recorder: Recorder,
) -> None:
    """Ask for the first time in each of `plan.outstanding` slots."""
    clock, end = time.perf_counter, recorder.end
    latencies, errors = recorder.latencies, recorder.errors
    batched = plan.workload.operations > 1

    def open_slot() -> None:
        begun = clock()

        def answered(result: object) -> None:
            nonlocal begun
            now = clock()
            if isinstance(result, ZkvError):
                errors.append(type(result).__name__)
            else:
                latencies.append(now - begun)
                if batched:
                    recorder.rows += rows_of(result)
            if now < end:
                begun = now
                submit(ask(), answered)

        submit(ask(), answered)

    for _ in range(plan.outstanding):
        open_slot()


def _due(moment: float, plan: Plan, recorder: Recorder) -> Done:
    """What is called with the answer to the request that was due at `moment`."""

    def answered(result: object) -> None:
        if moment < recorder.begin:
            return
        if isinstance(result, ZkvError):
            recorder.errors.append(type(result).__name__)
            return
        recorder.latencies.append(time.perf_counter() - moment)
        if plan.workload.operations > 1:
            recorder.rows += rows_of(result)

    return answered


def _wait(driver: Asker, left_s: float) -> None:
    """Wait for what comes first: an answer, or the next request to be due. A poll knows whole milliseconds only."""
    if left_s >= 0.002:
        driver.turn(most_ms=int(left_s * 1_000))
    elif left_s > 0:
        time.sleep(min(left_s, _NAP_S))


class Member:
    """One client of a fleet."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.turns = Turns(addresses, direct=True)

    def submit(self, request: Request[object], done: Done) -> None:
        """Ask; it leaves with the member's turn."""
        now = now_ms()
        self.turns.router.submit(request, done, now + int(TIMEOUT_S * 1_000), now)

    def turn(self) -> None:
        """Take what is there, call back, send; again until nothing is there, so that the next to come wakes us."""
        turns = self.turns
        while True:
            now = turns.receive(turns.waiting.ready(0))
            for token, result in turns.finished():
                token(result)  # type: ignore[operator]  # tokens are the callbacks that `submit` took
            turns.send(now)
            if not turns.waiting.here():
                return


class Fleet:
    """Clients of one loop, woken by one FD each."""

    def __init__(self, addresses: str, count: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count * _FILES:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(count * _FILES, hard), hard))
        self._selector = selectors.DefaultSelector()
        self._tick_at = time.perf_counter()
        self._ticked = 0
        self.members = [Member(parse_addresses((addresses,))) for _ in range(count)]
        for member in self.members:
            self._selector.register(member.turns.waiting, selectors.EVENT_READ, member)

    def ready(self) -> None:
        """Return once every member has the map. Raises Unavailable."""
        arrived: list[object] = []
        for member in self.members:
            member.submit(shard_map(), arrived.append)
        self.turn_all()
        while len(arrived) < len(self.members):
            self.turn()
        failed = [result for result in arrived if isinstance(result, ZkvError)]
        if failed:
            raise Unavailable(f"{len(failed)} of {len(self.members)} clients could not connect: {failed[0]}")

    def turn(self) -> None:
        """Sleep until some member has something to do, and let it."""
        for key, _ in self._selector.select(_TICK_S):
            key.data.turn()
        now = time.perf_counter()
        if now >= self._tick_at:
            self._tick_at = now + _TICK_S
            self._ticked = (self._ticked + 1) % _TICKS
            for member in self.members[self._ticked :: _TICKS]:
                member.turn()

    def turn_all(self) -> None:
        """A turn of every member, for what was submitted."""
        for member in self.members:
            member.turn()

    def close(self) -> None:
        """Close every client."""
        self._selector.close()
        for member in self.members:
            member.turns.close(clean=False)
