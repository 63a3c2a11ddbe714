"""The bare ceiling, on real sockets, for a moment."""

import pytest

from zkv.bench.ceiling import Kind, Shape, measure, rate_of
from zkv.cli.main import run

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


def test_the_ceiling_is_printed_as_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "ceiling", "--only", "get", "--outstanding", "4", "--seconds", "0.2"]) == 0
    assert capfd.readouterr().out.startswith("get         4 outstanding")
