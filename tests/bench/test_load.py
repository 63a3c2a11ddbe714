"""The measurements measure: on a real cluster, for a moment each."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zkv.bench import goals, upkeep
from zkv.bench.goals import Effort, Goal, Say
from zkv.bench.load import loaded_table, run_load
from zkv.bench.plan import BATCH, Plan, Shell, Workload
from zkv.cli.main import run
from zkv.testing import Cluster

KEYS, SECONDS = 500, 0.2
ONCE = Effort(
    turns=1, seconds=0.3, warmup=0.1, few_keys=500, many_keys=2_000, sustained_s=2.0, many_shards=13, many_clients=3
)  # just enough to see that it measures


def plan(workload: Workload = Workload.put, **changes: object) -> Plan:
    fields: dict[str, object] = {"outstanding": 8, "seconds": SECONDS, "warmup": 0.05, "keys": KEYS, "value_bytes": 20}
    return Plan(workload=workload, **(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("workload", list(Workload))
def test_a_load_is_measured_on_a_table_that_is_gone_afterwards(workload: Workload, zkv_cluster: Cluster) -> None:
    result = run_load(zkv_cluster.address, plan(workload))
    assert result.ops_per_s * result.seconds >= 8 * workload.operations
    assert result.errors == {}
    assert 0 < result.p50_ms <= result.p90_ms <= result.p99_ms <= result.p999_ms <= result.max_ms
    assert (result.workload, result.nodes, result.batch) == (workload.value, 3, workload.operations)
    assert set(result.leaders) <= {"node1", "node2", "node3"}
    with zkv_cluster.client() as client:
        assert [table.name for table in client.shard_map().tables] == ["default"]


@pytest.mark.parametrize(
    "changes",
    [
        {"shell": Shell.aio},
        {"shell": Shell.sync},
        {"shell": Shell.aio, "workload": Workload.scan, "outstanding": 2},
        {"shell": Shell.sync, "workload": Workload.mget, "outstanding": 2},
        {"clients": 5, "outstanding": 1},
        {"clients": 3, "processes": 2, "outstanding": 2},
        {"rate": 200.0},
        {"w": "1", "r": "any", "workload": Workload.a},
        {"shards": 3, "workload": Workload.scan},
    ],
    ids=str,
)
def test_every_way_of_asking_is_answered(changes: dict[str, object], zkv_cluster: Cluster) -> None:
    asked = plan(**changes)  # type: ignore[arg-type]
    result = run_load(zkv_cluster.address, asked)
    assert result.ops_per_s * result.seconds >= asked.clients
    assert result.errors == {}
    assert (result.clients, result.processes, result.shell) == (asked.clients, asked.processes, asked.shell)


def test_an_open_loop_asks_as_often_as_it_was_told(zkv_cluster: Cluster) -> None:
    result = run_load(zkv_cluster.address, plan(rate=50.0, seconds=1.0))
    assert result.ops_per_s in range(40, 52)


def test_failures_are_counted_and_end_nothing(zkv_cluster: Cluster) -> None:
    result = run_load(zkv_cluster.address, plan(w="5", outstanding=1))
    assert result.ops_per_s == 0
    assert set(result.errors) == {"InvalidRequest"}


def test_what_an_operation_costs_is_told_for_every_process(zkv_cluster: Cluster) -> None:
    with loaded_table(zkv_cluster.address, plan()) as table:
        spent = table.measure(plan(outstanding=1)).usage
        reads = table.measure(plan(Workload.get, outstanding=1)).usage
    assert set(spent.cpu_us_per_op) == {"load", "coordinator", "node1", "node2", "node3"}
    assert spent.cpu_us_per_op["load"] > 0
    assert spent.cpu_us_per_op_total == pytest.approx(sum(spent.cpu_us_per_op.values()), abs=0.1)
    # One put: a request, its answer, two appends and their acknowledgements; heartbeats come on top.
    assert spent.messages_per_op >= 5
    assert spent.wire_bytes_per_op > 3 * (16 + 20)
    assert spent.flushed_bytes_per_op > 3 * (16 + 20)
    assert spent.ops_per_flush is not None
    assert 0.5 < spent.ops_per_flush < 1.5
    assert reads.messages_per_op < spent.messages_per_op
    assert reads.flushed_bytes_per_op < 20


def test_the_command_prints_one_json_object(zkv_cluster: Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    words = "bench --workload put --outstanding 4 --seconds 0.2 --keys 100 --value-bytes 10 --json --against-ceiling"
    assert run([*words.split(), "--turns", "1", "--address", zkv_cluster.address]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["workload"], found["outstanding"], found["keys"], found["value_bytes"]) == ("put", 4, 100, 10)
    assert found["ops_per_s"] > 0
    assert found["share"] == round(found["ops_per_s"] / found["ceiling_ops_per_s"], 3)


def test_the_command_says_what_an_operation_costs_and_draws(
    zkv_cluster: Cluster, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "put.png"
    words = f"bench --workload mput --outstanding 2 --seconds 1.2 --keys {BATCH} --plot {picture}"
    assert run([*words.split(), "--address", zkv_cluster.address]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("mput        2 outstanding")
    assert "node3" in lines[1]
    assert "bytes flushed" in lines[2]
    assert picture.read_bytes().startswith(b"\x89PNG")


def unsaid(line: str) -> None:
    assert line


@pytest.mark.parametrize(
    ("measure", "lines"),
    [(goals.growth, 1), (goals.clients, 2), (goals.shards, 1), (goals.sustained, 2)],
    ids=["growth", "clients", "shards", "sustained"],
)
def test_shares_of_our_own_rates_are_measured(
    measure: Callable[[str, Effort, Say], Iterator[Goal]], lines: int, zkv_cluster: Cluster
) -> None:
    shares = [goal.share for goal in measure(zkv_cluster.address, ONCE, unsaid)]
    assert [share for share in shares if share is not None and share > 0] == shares
    assert len(shares) == lines


def test_a_killed_node_is_timed_until_it_answers(zkv_cluster: Cluster) -> None:
    (goal,) = upkeep.restart(zkv_cluster, ONCE, unsaid)
    assert goal.figure == "s until a node with 1,000 keys serves again after kill -9"
    assert 0 < goal.measured < 60
    assert set(zkv_cluster.running()) == set(zkv_cluster.names)
