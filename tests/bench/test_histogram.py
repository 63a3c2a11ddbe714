"""The histogram, against the sorted list that it stands for."""

from random import Random

import pytest

from zkv.bench.histogram import Histogram

CLOSE = 0.005  # half a bucket, and some


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99, 0.999])
def test_quantiles_are_those_of_the_sorted_durations(share: float) -> None:
    rng = Random(7)
    durations = [rng.lognormvariate(-6, 2) for _ in range(20_000)]
    histogram = Histogram()
    for first in range(0, len(durations), 512):
        histogram.add(durations[first : first + 512])
    assert histogram.total == len(durations)
    assert histogram.quantile(share) == pytest.approx(sorted(durations)[int(share * len(durations))], rel=CLOSE)
    assert histogram.most == pytest.approx(max(durations), rel=CLOSE)


@pytest.mark.parametrize("duration", [1e-7, 0.000123, 0.001, 1.0, 59.9, 3_600.0])
def test_every_duration_has_a_bucket_of_less_than_a_percent(duration: float) -> None:
    histogram = Histogram()
    histogram.add([duration])
    assert histogram.quantile(0.5) == pytest.approx(duration, rel=CLOSE)
    assert histogram.quantile_ms(0.5) == round(histogram.quantile(0.5) * 1_000, 3)


def test_nothing_has_no_quantiles() -> None:
    assert (Histogram().quantile(0.5), Histogram().most, Histogram().total) == (0.0, 0.0, 0)


def test_merging_is_adding() -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    one.add([0.001] * 3)
    other.add([0.001, 0.5])
    both.add([0.001] * 4 + [0.5])
    one.merge(Histogram(other.counts))
    assert one.counts == both.counts


def test_memory_is_bounded_by_the_range_and_not_by_the_number() -> None:
    rng = Random(1)
    histogram = Histogram()
    for _ in range(100):
        histogram.add([rng.uniform(0.001, 0.002) for _ in range(1_000)])
    assert histogram.total == 100_000
    assert len(histogram.counts) <= 130  # an octave
