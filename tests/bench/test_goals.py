"""The table of what zkv wants to reach: what is compared with what, and when that is enough."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from zkv.bench import ceiling, goals
from zkv.bench.goals import Effort, Goal, share_of
from zkv.bench.plan import Plan, Shell, Workload
from zkv.cli.main import run

TINY = Effort(
    turns=3, seconds=0.2, warmup=0.1, few_keys=10_000, many_keys=1_000, sustained_s=3.0, many_shards=13, many_clients=3
)
SHELL_COSTS = {Shell.driver: 1.0, Shell.aio: 0.8, Shell.sync: 0.4}


class Table:
    """Answers each measurement with a rate made of its plan, a little better each time."""

    def __init__(self) -> None:
        self.asked = 0

    def measure(self, plan: Plan) -> SimpleNamespace:
        self.asked += 1
        rate = 1_000 * plan.outstanding * plan.workload.operations * SHELL_COSTS[plan.shell]
        return SimpleNamespace(ops_per_s=rate + self.asked)


@contextmanager
def made_table(addresses: str, plan: Plan) -> Iterator[Table]:
    yield Table()


def unsaid(line: str) -> None:
    assert line


def test_a_share_is_of_medians() -> None:
    goal = share_of("x", [10.0, 90.0, 20.0], [40.0, 10.0, 1_000.0], wanted=0.5)
    assert (goal.measured, goal.over, goal.share, goal.reached) == (20, 40, 0.5, True)


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal(figure="x", measured=300.0, wanted=301.0), False),
        (Goal(figure="x", measured=300.0, wanted=300.0), True),
        (Goal(figure="x", measured=300.0, over=100.0, share=3.0, wanted=4.0), False),
        (Goal(figure="x", measured=2.9, wanted=3.0, at_most=True), True),
        (Goal(figure="x", measured=30.0, over=2.0, share=15.0, wanted=10.0, at_most=True), False),
    ],
)
def test_a_goal_is_reached_by_its_share_or_else_by_itself(goal: Goal, reached: bool) -> None:
    assert goal.reached is reached


def test_every_rate_is_compared_with_what_it_is_a_share_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(kind: ceiling.Kind, shape: ceiling.Shape) -> SimpleNamespace:
        return SimpleNamespace(ops_per_s=2_000 * shape.outstanding * (1 if kind is ceiling.Kind.durable else 2))

    monkeypatch.setattr(goals, "loaded_table", made_table)
    monkeypatch.setattr(ceiling, "measure", bare)
    found = {goal.figure: goal for goal in goals.rates("nowhere", TINY, unsaid)}
    shares = [round(goal.share, 2) for goal in found.values() if goal.share is not None]
    assert shares[0] == pytest.approx(0.5, abs=0.02)  # one put at a time
    assert shares[1:5] == [0.5, 0.5, 0.25, 0.25]
    assert shares[5:9] == [0.8, 0.8, 0.4, 0.4]
    assert shares[9:] == [round(800 / 512, 2), round(800 / 1024, 2)]
    assert found["scan of 100, 8 outstanding, rows/s"].measured == pytest.approx(800_000, abs=10)


def test_the_plans_of_a_comparison_differ_only_in_what_is_compared() -> None:
    plan = Plan(workload=Workload.put)
    assert goals.shape_of(plan) == ceiling.Shape(outstanding=64, seconds=3.0, keys=10_000, value_bytes=100)


def test_help_names_every_measurement(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--help"]) == 0
    said = capfd.readouterr().out
    assert [name for name in ("ceiling", "table", "growth", "sustained", "peers") if name not in said] == []
