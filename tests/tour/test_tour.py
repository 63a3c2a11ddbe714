"""The tour: its arithmetic, its pictures, and the walk on real processes."""

import json
from pathlib import Path
from typing import cast

import pytest

import zkv
from tests.cluster.waits import wait_until
from zkv.cli.main import run
from zkv.core.cluster.mapstate import ShardMap
from zkv.errors import Unavailable
from zkv.ids import NodeId
from zkv.testing import Cluster
from zkv.tour import hotspot, pictures, places
from zkv.tour.hotspot import Spread
from zkv.tour.visitor import Visit, Visitor
from zkv.tour.walk import Findings

A, B, C, D = (NodeId(name) for name in "abcd")
PNG = b"\x89PNG\r\n\x1a\n"


def test_what_moved_is_counted_by_copies_on_nodes_that_had_none() -> None:
    before = {b"1": frozenset({A, B}), b"2": frozenset({A, C})}
    assert places.moved_share(before, before) == 0
    assert places.moved_share(before, {b"1": frozenset({A, D}), b"2": frozenset({A, C})}) == 1 / 4
    assert places.moved_share(before, {b"1": frozenset({C, D}), b"2": frozenset({B, D})}) == 1
    assert places.copies_by_node(before) == {A: 2, B: 1, C: 1}


def test_modulo_moves_most_keys_when_a_node_comes() -> None:
    keys = [b"user:%d" % number for number in range(4_000)]
    assert places.moved_by_modulo(keys, 3, 3) == 0
    assert 0.70 < places.moved_by_modulo(keys, 3, 4) < 0.80  # three in four


def test_rows_are_found_where_the_cluster_has_them(zkv_cluster: Cluster) -> None:
    with zkv_cluster.client() as client:
        # What has been set in motion since the cluster was founded, by whomever, ends first.
        wait_until(lambda: places.operators(client) == 0, "nothing is on its way")
        shard_map = ShardMap(client.shard_map())
        keys = [b"%d" % number for number in range(100)]
        held = places.holders(shard_map, "default", keys)
        assert set(held.values()) == {frozenset(NodeId(f"node{number}") for number in (1, 2, 3))}
        assert places.leads(shard_map, "default", keys).total() == len(keys)
        assert places.share_of(shard_map, "default", "node1") == pytest.approx(1.0)
        assert places.share_of(shard_map, "default", "node9") == 0


class _Deaf:
    """A client whose requests all fail, or answer another value than was put."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers

    def get(self, key: bytes, *, table: str) -> bytes:
        return self._answer(b"other")

    def put(self, key: bytes, value: bytes, *, table: str) -> None:
        self._answer(b"")

    def increment(self, key: bytes, *, table: str) -> None:
        self._answer(b"")

    def _answer(self, value: bytes) -> bytes:
        if not self._answers:
            raise Unavailable("nobody is there", effect="unknown")
        return value


@pytest.mark.parametrize("answers", [True, False])
def test_the_visitor_notices_what_is_wrong(answers: bool) -> None:
    visitor = Visitor(cast(zkv.Client, _Deaf(answers=answers)), "t", {b"k": b"v"}, 0.0)
    for verb in ("get", "put", "increment"):
        visitor.visits.append(Visit(0.0, 0.0, visitor._ask(verb, b"k")))
    assert visitor.failed == (0 if answers else 3)
    assert visitor.wrong == ([b"k"] if answers else [])
    assert (visitor.increments, visitor.unknown) == ((1, 0) if answers else (0, 1))


def test_only_a_walk_without_a_fault_is_fine() -> None:
    spread = Spread(even=True)
    assert Findings(in_order=True, spread=spread).fine
    assert not Findings(spread=spread).fine
    assert not Findings(in_order=True, failed=1, spread=spread).fine
    assert not Findings(in_order=True, wrong_rows=1, spread=spread).fine
    assert not Findings(in_order=True, counter_off=1, spread=spread).fine
    for fault in (Spread(), Spread(even=True, failed=1), Spread(even=True, wrong=1)):
        assert not Findings(in_order=True, spread=fault).fine


def test_pictures_are_drawn(tmp_path: Path) -> None:
    pictures.draw_bars({"one": {"a": 1.0, "b": 2.5}, "two": {"a": 3.0}}, "rows", tmp_path / "bars.png", digits=1)
    visits = [Visit(0.1, 0.01, True), Visit(2.0, 0.5, False)]
    pictures.draw_timeline(visits, [(1.0, "something")], tmp_path / "timeline.png")
    stacks = {"one": {"a": {"all": 2.0}, "b": {}}, "two": {"a": {"left": 1.0}, "b": {"right": 1.0}}}
    pictures.draw_stacks(stacks, "requests a second", tmp_path / "stacks.png")
    for name in ("bars.png", "timeline.png", "stacks.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)


def test_the_walk_accounts_for_everything(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two shards on two of three nodes are enough here: half of the requests each, 1.5 times the mean.
    monkeypatch.setattr(hotspot, "EVEN", 2.0)
    assert run(["tour", "--rows", "2000", "--out", str(tmp_path), "--json"]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert (found["failed"], found["wrong_rows"], found["counter_off"], found["in_order"]) == (0, 0, 0, True)
    assert found["least_share"] == 0.25
    assert 0.7 * 0.25 <= found["moved_share"] <= 1.2 * 0.25
    assert found["requests"] > 100
    assert sum(found["led"].values()) == 2000
    assert "kill -9 of node3" in err
    spread = found["spread"]
    assert (spread["even"], spread["failed"], spread["wrong"]) == (True, 0, 0)
    assert (spread["shards_before"], spread["busiest_before"]) == (1, 3.0)
    assert len(spread["borders"]) == spread["shards_after"] - 1 >= 1
    assert 1.0 <= spread["busiest_after"] <= 2.0
    assert set(spread["borders"]) <= {f"order:{number:05}" for number in range(5_000, 5_100)}  # among those wanted
    assert all(Path(path).read_bytes().startswith(PNG) for path in found["pictures"])
    assert {Path(path).name for path in found["pictures"]} == {path.name for path in tmp_path.iterdir()}
