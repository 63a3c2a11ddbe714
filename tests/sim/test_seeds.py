"""A slice of seeds, and those that once found something. `zkv sim --runs 1000` goes on from here."""

import re
from pathlib import Path

import pytest

from zkv.sim.elastic import ELASTIC
from zkv.sim.group import GROUP
from zkv.sim.plan import Plan, decode_plan
from zkv.sim.run import SETTLE_US, simulate
from zkv.sim.swarm import KINDS, STRIKING
from zkv.sim.world import MS

SLICE = range(1, 33)
ELASTIC_SLICE = range(302, 311)
GROUP_SLICE = range(2, 7)
_REGRESSION = re.compile(r"(\d+) (\{.*?\}) (.+)")


def regressions() -> list[tuple[int, str, str]]:
    lines = (Path(__file__).parent / "regressions.txt").read_text().splitlines()
    found = [_REGRESSION.fullmatch(line) for line in lines if line[:1] != "#"]
    return [(int(one[1]), one[2], one[3]) for one in found if one is not None]


def test_every_line_of_the_list_is_a_seed() -> None:
    lines = (Path(__file__).parent / "regressions.txt").read_text().splitlines()
    assert len(regressions()) == sum(line[:1] != "#" for line in lines)


@pytest.mark.parametrize(("seed", "plan", "why"), regressions(), ids=[f"{one[0]}" for one in regressions()])
def test_a_seed_that_once_failed_passes(seed: int, plan: str, why: str) -> None:
    report = simulate(seed, decode_plan(plan))
    assert report.passed, f"{why}: {report.failures}"


def test_a_slice_of_seeds_passes_and_uses_every_kind_of_fault() -> None:
    kinds: set[str] = set()
    struck: set[str] = set()
    for seed in SLICE:
        report = simulate(seed)
        assert report.passed, f"seed {seed}: {report.failures}"
        assert report.healed_ms <= 2 * SETTLE_US // MS
        assert report.operations > 50
        kinds |= set(report.kinds)
        struck |= set(report.faults)
    assert kinds == set(KINDS)
    assert struck == set(STRIKING)


def test_peace_between_two_bursts_is_simulated_and_stays_peaceful() -> None:
    plan = Plan(bursts=2, burst_ms=3_000, calm_ms=20_000)
    for seed in (201, 202):
        report = simulate(seed, plan)
        assert report.passed, f"seed {seed}: {report.failures}"
        assert report.simulated_ms > 26_000


def test_without_faults_nothing_fails_and_nobody_waits() -> None:
    report = simulate(1, Plan(burst_ms=3_000, quiet=True))
    assert report.passed, report.failures
    assert (report.faults, report.kinds) == ({}, [])
    assert set(report.outcomes) <= {"done", "ConditionFailed"}


def test_nodes_come_and_go_and_everything_ends_where_it_belongs() -> None:
    struck: set[str] = set()
    for seed in ELASTIC_SLICE:
        report = simulate(seed, Plan(elastic=True))
        assert report.passed, f"seed {seed}: {report.failures}"
        struck |= set(report.faults)
    assert struck >= set(ELASTIC)


def test_groups_of_coordinators_lose_members_and_folders_and_heal() -> None:
    struck: set[str] = set()
    for seed in GROUP_SLICE:
        report = simulate(seed, Plan(coordinators=3, elastic=seed % 3 == 0))
        assert report.passed, f"seed {seed}: {report.failures}"
        struck |= set(report.faults)
    assert struck >= {*GROUP, "coordinator", "coordinator disk"}


def test_what_an_elastic_run_adds_does_not_change_what_a_seed_draws_beside_it() -> None:
    usual, elastic = (simulate(seed, Plan(elastic=elastic)) for seed, elastic in ((8, False), (8, True)))
    assert [kind for kind in elastic.kinds if kind not in ELASTIC] == usual.kinds
    assert elastic.weather == usual.weather
