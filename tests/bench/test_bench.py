"""The measurements measure: on real sockets and a real cluster, for a moment each."""

import json

import pytest

from zkv.bench.ceiling import Kind, Shape, measure, rate_of
from zkv.bench.load import BATCH, Workload, run_load
from zkv.cli.main import run
from zkv.errors import InvalidRequest
from zkv.testing import Cluster

SHORT = Shape(outstanding=8, seconds=0.3, keys=500, value_bytes=20)


def test_quantiles_are_those_of_the_sorted_latencies() -> None:
    rate = rate_of([number / 1000 for number in reversed(range(1000))], seconds=2.0)
    assert (rate.operations, rate.ops_per_s) == (1000, 500)
    assert (rate.p50_ms, rate.p90_ms, rate.p99_ms, rate.p999_ms) == (500.0, 900.0, 990.0, 999.0)


def test_no_answer_at_all_is_a_rate_of_nothing() -> None:
    assert rate_of([], seconds=1.0).ops_per_s == 0


@pytest.mark.parametrize("kind", list(Kind))
def test_the_bare_ceiling_answers(kind: Kind) -> None:
    rate = measure(kind, SHORT)
    assert rate.operations > SHORT.outstanding
    assert 0 < rate.p50_ms <= rate.p90_ms <= rate.p99_ms <= rate.p999_ms


@pytest.mark.parametrize("workload", list(Workload))
def test_a_load_is_measured_on_a_table_that_is_gone_afterwards(workload: Workload, zkv_cluster: Cluster) -> None:
    result = run_load(zkv_cluster.address, workload, SHORT)
    assert result.ops_per_s * SHORT.seconds >= SHORT.outstanding * workload.operations
    assert (result.workload, result.nodes, result.batch) == (workload.value, 3, workload.operations)
    assert set(result.leaders) <= {"node1", "node2", "node3"}
    with zkv_cluster.client() as client:
        assert [table.name for table in client.shard_map().tables] == ["default"]


def test_a_batch_needs_as_many_keys_as_it_has_operations(zkv_cluster: Cluster) -> None:
    with pytest.raises(InvalidRequest, match=f"mput takes {BATCH} keys at once"):
        run_load(zkv_cluster.address, Workload.mput, Shape(outstanding=1, seconds=0.1, keys=BATCH - 1, value_bytes=1))


def test_the_command_prints_one_json_object(zkv_cluster: Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    words = "bench --workload put --outstanding 4 --seconds 0.2 --keys 100 --value-bytes 10 --json --against-ceiling"
    assert run([*words.split(), "--turns", "1", "--address", zkv_cluster.address]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["workload"], found["outstanding"], found["keys"], found["value_bytes"]) == ("put", 4, 100, 10)
    assert found["ops_per_s"] > 0
    assert found["share"] == round(found["ops_per_s"] / found["ceiling_ops_per_s"], 3)


def test_the_ceiling_is_printed_as_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "ceiling", "--only", "get", "--outstanding", "4", "--seconds", "0.2"]) == 0
    assert capfd.readouterr().out.startswith("get         4 outstanding")
