"""The same seed and plan give the same run, in any process."""

import json
import os
import subprocess
import sys

import pytest

from zkv.sim.plan import Plan, encode_plan
from zkv.sim.run import simulate

SHORT = Plan(burst_ms=1_500)
RESTING = Plan(bursts=2, burst_ms=300, calm_ms=20_000)  # long enough for shards to fall asleep


def traces_in_another_process(hash_seed: str, seeds: range, plan: Plan) -> list[str]:
    command = [sys.executable, "-m", "zkv.cli.main", "sim", "--json", "--keep-going", "--plan", encode_plan(plan)]
    ended = subprocess.run(
        [*command, "--seed", str(seeds.start), "--runs", str(len(seeds))],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    return [json.loads(line)["trace"] for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("plan", [SHORT, RESTING], ids=["trouble", "rest"])
def test_a_seed_replays_exactly_in_processes_that_hash_differently(plan: Plan) -> None:
    seeds = range(1, 6)
    here = [simulate(seed, plan).trace for seed in seeds]
    assert len(set(here)) == len(here), "the trace tells runs apart"
    for hash_seed in ("0", "4711"):
        assert traces_in_another_process(hash_seed, seeds, plan) == here


def test_to_listen_to_the_story_changes_nothing() -> None:
    lines: list[str] = []
    assert simulate(12, SHORT, story=lines.append).trace == simulate(12, SHORT).trace
    assert any(" leads shard " in line for line in lines)


@pytest.mark.parametrize("seed", [21, 22, 23])
def test_what_the_plan_leaves_out_does_not_change_the_draws_of_the_rest(seed: int) -> None:
    whole = simulate(seed, SHORT)
    fewer = simulate(seed, Plan(burst_ms=1_500, without=tuple(whole.kinds[:1])))
    assert fewer.kinds == whole.kinds[1:]
    left_out = simulate(seed, Plan(burst_ms=1_500, skip=tuple(whole.strikes)))
    assert set(left_out.strikes) & set(whole.strikes) == set()
