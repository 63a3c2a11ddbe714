"""Which keys are asked for, and how often."""

from collections import Counter
from random import Random

import pytest

from zkv.bench.plan import BATCH, Plan, Shell, Workload
from zkv.bench.workloads import Stream, key_of, zipfian
from zkv.core.routing.operations import KeyRequest, Put
from zkv.core.routing.operations import key_of as key_in
from zkv.core.routing.scan import Window
from zkv.errors import InvalidRequest


def requests(workload: Workload, count: int, keys: int = 1_000, part: int = 0) -> list[KeyRequest[object]]:
    make = Stream(Plan(workload=workload, keys=keys, value_bytes=5), "t", part).requests()
    made = [make() for _ in range(count)]
    return [request for request in made if isinstance(request, KeyRequest)]


def test_zipf_draws_each_number_as_often_as_its_rank_says() -> None:
    drawn = Counter(zipfian(1_000, 200_000, Random(3)))
    counts = [count for _, count in drawn.most_common()]
    weights = [1 / rank**0.99 for rank in range(1, 1_001)]
    for rank in (0, 1, 9, 99):
        assert counts[rank] / 200_000 == pytest.approx(weights[rank] / sum(weights), rel=0.2)


@pytest.mark.parametrize(("workload", "reads"), [(Workload.a, 0.5), (Workload.b, 0.95), (Workload.c, 1.0)])
def test_ycsb_mixes_reads_and_updates(workload: Workload, reads: float) -> None:
    made = requests(workload, 20_000)
    share = sum(not isinstance(request.items[0], Put) for request in made) / len(made)
    assert share == pytest.approx(reads, abs=0.02)


@pytest.mark.parametrize("workload", [Workload.put, Workload.get])
def test_every_key_comes_once_before_one_comes_again(workload: Workload) -> None:
    asked = [key_in(request.items[0]) for request in requests(workload, 1_000)]
    assert sorted(asked) == [key_of(number) for number in range(1_000)]


@pytest.mark.parametrize("workload", [Workload.mput, Workload.mget])
def test_batches_have_a_hundred_different_keys_also_where_the_keys_end(workload: Workload) -> None:
    for request in requests(workload, 8, keys=150):
        assert len({key_in(item) for item in request.items}) == BATCH


def test_a_scan_begins_where_a_hundred_rows_are_left() -> None:
    for request in requests(Workload.scan, 300, keys=150):
        window = request.items[0]
        assert isinstance(window, Window)
        assert (window.limit, window.end) == (BATCH, b"")
        assert key_of(0) <= window.start <= key_of(50)


def test_processes_start_at_different_keys() -> None:
    firsts = {key_in(requests(Workload.put, 1, part=part)[0].items[0]) for part in range(4)}
    assert len(firsts) == 4


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (Plan(workload=Workload.mput, keys=BATCH - 1), f"mput takes {BATCH} keys at once"),
        (Plan(workload=Workload.get, r="nothing"), 'r is "linearizable" or "any"'),
        (Plan(workload=Workload.put, w="none"), 'w is "majority"'),
        (Plan(workload=Workload.put, clients=1, processes=2), "cannot be spread over 2"),
        (Plan(workload=Workload.put, rate=5.0, shell=Shell.sync), "an open loop"),
        (Plan(workload=Workload.put, rate=5.0, clients=2), "an open loop"),
    ],
)
def test_what_cannot_be_measured_is_refused(plan: Plan, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        plan.check()
