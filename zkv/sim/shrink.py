"""From a run that fails to a smaller one that fails in the same way: fewer faults, clients and operations.

Each step leaves something out and runs the seed again; what is not needed stays out (Zeller's ddmin). It is as
deterministic as the runs are. What is left is a plan, which replays like a seed.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from zkv.sim.plan import Plan
from zkv.sim.report import Report
from zkv.sim.run import simulate
from zkv.sim.swarm import WEATHER

_SAME_CHARACTERS = 40  # of a failure's text: so much says which invariant it was

T = TypeVar("T")


class Shrinking:
    """One failing run on its way to a smaller one. `tell` takes a line for each thing that was left out."""

    def __init__(self, report: Report, plan: Plan, tell: Callable[[str], None]) -> None:
        assert report.failures, "only a run that failed can be shrunk"
        self.plan = plan
        self.report = report
        self.runs = 0
        self._tell = tell
        self._failure = _kind_of(report)

    def shrink(self) -> None:
        """Leave out all that can be; `plan` and `report` are then of the smallest run found."""
        while self.plan.bursts > 1 and self._still_fails(replace(self.plan, bursts=self.plan.bursts - 1)):
            self._tell(f"{self.plan.bursts} bursts")
        plan, used = self.plan, self.report.kinds
        kinds = [kind for kind in used if kind in self.report.faults or kind in WEATHER]
        self._fewer(kinds, lambda kept: replace(plan, without=(*plan.without, *_others(used, kept))), "kinds of fault")
        plan = self.plan
        numbers = [number for number in range(1, plan.clients + 1) if number not in plan.without_clients]
        self._fewer(
            numbers,
            lambda kept: replace(plan, without_clients=(*plan.without_clients, *_others(numbers, kept))),
            "clients",
        )
        self._fewer_operations()
        self._fewer_strikes()
        self._fewer_operations()

    def _fewer_strikes(self) -> None:
        plan, strikes = self.plan, self.report.strikes
        self._fewer(strikes, lambda kept: replace(plan, skip=(*plan.skip, *_others(strikes, kept))), "strikes")

    def _fewer_operations(self) -> None:
        most = self.plan.operations or self.report.operations
        for eighths in (4, 6, 7):
            while (fewer := most * eighths // 8) and self._still_fails(replace(self.plan, operations=fewer)):
                most = fewer
                self._tell(f"at most {most} operations of each client")

    def _fewer(self, items: Sequence[T], plan_with: Callable[[Sequence[T]], Plan], what: str) -> None:
        """Keep as few of `items` as still fail, leaving out ever smaller stretches of them."""
        kept, stretch = list(items), len(items)
        while stretch:
            at = 0
            while at < len(kept):
                fewer = kept[:at] + kept[at + stretch :]
                if self._still_fails(plan_with(fewer)):
                    kept = fewer
                    self._tell(f"{len(kept)} {what}: {', '.join(map(str, kept)) or 'none'}")
                else:
                    at += stretch
            stretch //= 2

    def _still_fails(self, plan: Plan) -> bool:
        self.runs += 1
        report = simulate(self.report.seed, plan)
        fails = _kind_of(report) == self._failure
        if fails:
            self.plan, self.report = plan, report
        return fails


def _others(items: Sequence[T], kept: Sequence[T]) -> tuple[T, ...]:
    return tuple(item for item in items if item not in kept)


def _kind_of(report: Report) -> str:
    """What sort of failure it is: its first words, without numbers; "" for none."""
    return re.sub("[0-9]+", "N", report.failures[0])[:_SAME_CHARACTERS] if report.failures else ""
