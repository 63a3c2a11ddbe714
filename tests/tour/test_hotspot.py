"""The tour's hot spot: who is asked how much, a crowd that counts, and a spot that is not spread in time."""

import time
from typing import cast

import pytest

import zkv
from tests.cluster.waits import wait_until
from zkv.core.cluster.mapstate import ShardMap
from zkv.errors import Unavailable
from zkv.testing import Cluster
from zkv.tour import crowd, hotspot
from zkv.tour.crowd import Crowd
from zkv.tour.hotspot import HotSpot, Look


def test_the_busiest_node_is_told_against_the_mean_of_all() -> None:
    seen = Look({"a": {"to m": 30.0, "from m": 30.0}, "b": {"x": 30.0}, "c": {}}, ["m", "x"])
    assert (seen.rate, seen.busiest) == (90.0, 2.0)
    assert seen.told() == "a 60, b 30, c 0 reads a second, the busiest 2.00 times the mean"
    assert Look({"a": {}, "b": {}}, []).busiest == 0


def test_shards_that_go_elsewhere_are_another_layout_and_other_rates_are_not() -> None:
    seen = Look({"a": {"to m": 1.0}, "b": {"from m": 1.0}}, ["m"])
    assert seen.layout == Look({"a": {"to m": 2.0}, "b": {"from m": 3.0}}, ["m"]).layout
    assert seen.layout != Look({"a": {}, "b": {"to m": 1.0, "from m": 1.0}}, ["m"]).layout


class _Answer:
    def __init__(self, value: bytes | None) -> None:
        self._value = value

    def result(self) -> bytes:
        if self._value is None:
            raise Unavailable("nobody is there", effect="none")
        return self._value


class _Client:
    """Answers every get with the same, None: with an error. It is its own pipeline."""

    def __init__(self, value: bytes | None) -> None:
        self._value = value

    def pipeline(self) -> "_Client":
        return self

    def __enter__(self) -> "_Client":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def get(self, key: bytes, *, table: str) -> _Answer:
        return _Answer(self._value)


@pytest.mark.parametrize(("value", "failed", "wrong"), [(b"v", 0, 0), (b"other", 0, 1), (None, 1, 0)])
def test_a_crowd_tells_what_was_answered_from_what_failed_and_what_was_wrong(
    value: bytes | None, failed: int, wrong: int
) -> None:
    rows = {b"%d" % number: b"v" for number in range(1_000)}
    began = time.monotonic()
    with Crowd(cast(zkv.Client, _Client(value)), "t", rows, [b"7"]) as asking:
        wait_until(lambda: asking.asked >= 1_000, "much is asked")
    assert (asking.failed, asking.wrong) == (failed * asking.asked, wrong * asking.asked)
    answered = asking.answered(began)
    assert len(answered) == asking.asked - asking.failed - asking.wrong
    assert asking.answered(time.monotonic()) == []
    if value == b"v":
        assert crowd.FAVOUR - 0.05 < answered.count(b"7") / len(answered) < crowd.FAVOUR + 0.05


def test_what_is_asked_is_found_at_the_nodes_that_lead(zkv_cluster: Cluster) -> None:
    with zkv_cluster.client() as client:
        client.create_table(hotspot.TABLE, partitioner="range", splits=["m"])
        asked = [b"a"] * 30 + [b"m"] * 10
        wait_until(lambda: "nobody" not in _look(client, asked).loads, "all shards are led")
        seen = _look(client, asked)
        assert set(seen.loads) == {"node1", "node2", "node3"}
        assert (seen.rate, seen.borders) == (20.0, ["m"])
        assert {shard: rate for own in seen.loads.values() for shard, rate in own.items()} == {"to m": 15, "from m": 5}
        assert seen.busiest == pytest.approx(max(sum(own.values()) for own in seen.loads.values()) / (20 / 3))
        client.drop_table(hotspot.TABLE)


def test_a_hot_spot_that_is_not_spread_in_time_is_told(zkv_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotspot, "WITHIN_S", 2.0)  # nothing is split before it was hot for 4
    lines: list[str] = []
    with zkv_cluster.client() as client, zkv_cluster.client() as crowds:
        spot = HotSpot(client, lines.append)
        spot.fill()
        first, last = spot.heat(crowds)
        client.drop_table(hotspot.TABLE)
    assert first.layout == last.layout
    assert not spot.spread.even
    assert not spot.spread.fine
    assert spot.spread.busiest_after == 3.0
    assert lines[-2].startswith("NOT spread within 2 s: a node is asked 3.00 times the mean")


def _look(client: zkv.Client, asked: list[bytes]) -> Look:
    return hotspot.look(ShardMap(client.shard_map()), asked, 2.0)
