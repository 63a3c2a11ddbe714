"""`zkv sim` as its user meets it: what it prints, and how it ends."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from zkv.cli.main import run
from zkv.sim import run as runs
from zkv.sim.plan import Plan
from zkv.sim.report import Report

QUICK = ["--plan", '{"burst_ms":500}']


def test_one_run_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "--seed", "3", *QUICK]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("seed 3: passed, trace ")
    assert shown[1].strip().split()[1:3] == ["s", "simulated,"]


def test_many_runs_are_one_line_and_their_reports_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "--seed", "3", "--runs", "3", "--jobs", "2", "--json", *QUICK]) == 0
    shown = capsys.readouterr()
    reports = [json.loads(line) for line in shown.out.splitlines()]
    assert [(report["seed"], report["result"]) for report in reports] == [(3, "passed"), (4, "passed"), (5, "passed")]
    assert shown.err.startswith("3 runs, 0 not passed, ")


def test_trace_tells_a_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "--seed", "3", "--trace", *QUICK]) == 0
    shown = capsys.readouterr().out
    for part in ("the tables are ready", "leads shard", "faults end"):
        assert part in shown


@pytest.mark.parametrize("result", ["failed", "unknown"])
def test_what_did_not_pass_ends_the_search_with_its_seed(
    result: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runs.simulate

    def simulate(seed: int, plan: Plan) -> Report:
        report = real(seed, plan)
        return replace(report, result=result) if seed == 4 else report  # type: ignore[arg-type]

    monkeypatch.setattr("zkv.sim.search.simulate", simulate)
    assert run(["sim", "--seed", "3", "--runs", "9", *QUICK]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"seed 4: {result}")
    assert shown.err.startswith("2 runs, 1 not passed")


def test_a_plan_that_cannot_be_read_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "--plan", '{"burst":1}']) == 2
    assert capsys.readouterr().err.startswith("zkv: a plan cannot be read: Object contains unknown field `burst`")


def test_a_day_of_placement_is_shown_drawn_and_printed_as_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = ["sim-placement", "--nodes", "8", "--shards", "60", "--still", "1", "--moving", "1", "--rest", "0"]
    picture = tmp_path / "day.png"
    assert run([*small, "--plot", str(picture)]) == 0
    assert "0 shards moved twice in their cooling time" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run([*small, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [hour["load"] for hour in told["hours"]] == ["start", "still", "moving"]
    assert told["day"]["nodes"] == 8
    assert told["moves"] == sum(hour["moves"] for hour in told["hours"]) > 0
