"""A run that fails is made smaller while it still fails in the same way; here with a fault planted in the product."""

import pytest

from zkv.core.shard.sessions import Session
from zkv.sim.plan import Plan, decode_plan, encode_plan
from zkv.sim.run import simulate
from zkv.sim.shrink import Shrinking

PLAN = Plan(burst_ms=2_000)


def test_a_planted_fault_is_shrunk_to_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "result", lambda session, sequence: None)  # every retry is applied again
    reports = (simulate(seed, PLAN) for seed in range(1, 100))
    report = next(report for report in reports if report.failures and len(report.kinds) > 3)
    told: list[str] = []
    shrinking = Shrinking(report, PLAN, told.append)
    shrinking.shrink()
    found = decode_plan(encode_plan(shrinking.plan))
    smallest = simulate(report.seed, found)
    assert smallest.trace == shrinking.report.trace
    assert smallest.failures[0].split()[:2] == report.failures[0].split()[:2]
    assert len(smallest.kinds) < len(report.kinds)
    assert len(found.without_clients) >= 2
    assert 0 < found.operations < report.operations
    assert f"at most {found.operations} operations of each client" in told
