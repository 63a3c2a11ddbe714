from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.cluster.made import node
from zkv.core.cluster.partition import initial_ranges
from zkv.core.cluster.placement import DEFAULT_SHARDS, Load, Owners, Placement, lead, place, ring_of, shard_token
from zkv.core.cluster.shardmap import NodeInfo, Partitioner
from zkv.ids import NodeId, TableId

HASH, RANGE = Partitioner.HASH, Partitioner.RANGE


def hash_table(shards: int = DEFAULT_SHARDS, replicas: int = 3, table: int = 1) -> Placement:
    return Placement(TableId(table), HASH, initial_ranges(HASH, shards), replicas)


def nodes_named(count: int) -> list[NodeInfo]:
    return [node(f"node{number}") for number in range(1, count + 1)]


def leaders_of(placed: tuple[Owners, ...]) -> Counter[str]:
    return Counter(owners[0] for owners in placed)


@pytest.mark.parametrize(("nodes", "each"), [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_the_default_table_is_led_evenly_by_any_usual_number_of_nodes(nodes: int, each: int) -> None:
    placed = place(hash_table(), nodes_named(nodes), {})
    assert len(placed) == DEFAULT_SHARDS
    assert {len(set(owners)) for owners in placed} == {min(3, nodes)}
    assert set(leaders_of(placed).values()) == {each}


def test_a_hash_table_goes_where_the_ring_says() -> None:
    nodes, wanted = nodes_named(5), hash_table()
    tokens = [shard_token(TableId(1), start) for start, _ in wanted.ranges]
    expected = ring_of(nodes).assign(tokens, 3)
    assert [set(owners) for owners in place(wanted, nodes, {})] == [set(owners) for owners in expected]


def test_two_tables_lie_differently_on_the_ring() -> None:
    nodes = nodes_named(10)
    assert place(hash_table(table=1), nodes, {}) != place(hash_table(table=2), nodes, {})


def test_shards_of_a_table_keep_their_distances_on_the_ring() -> None:
    first, second = (shard_token(TableId(4), start) for start in (b"", b"\x40\x00"))
    assert (second - first) % 2**64 == 2**62


def test_range_shards_go_to_the_nodes_that_hold_least() -> None:
    loads = {NodeId("node1"): Load(9, 3), NodeId("node2"): Load(1, 1), NodeId("node3"): Load(2, 0)}
    one = Placement(TableId(2), RANGE, ((b"", b""),), 2)
    assert place(one, nodes_named(4), loads) == (("node4", "node2"),)


def test_range_shards_are_in_distinct_zones_and_follow_the_weights() -> None:
    nodes = [node("a1", zone="a"), node("a2", zone="a", weight=3), node("b1", zone="b", weight=2), node("b2", zone="b")]
    ranges = tuple((b"%02d" % number, b"%02d" % (number + 1)) for number in range(24))
    placed = place(Placement(TableId(2), RANGE, ranges, 2), nodes, {})
    assert all({owner[0] for owner in owners} == {"a", "b"} for owners in placed)
    assert Counter(owner for owners in placed for owner in owners) == {"a1": 6, "a2": 18, "b1": 16, "b2": 8}


def test_new_leaders_make_up_for_what_nodes_lead_already() -> None:
    names = [NodeId(name) for name in "abc"]
    placed = lead([tuple(names)] * 6, dict(zip(names, (4, 2, 0), strict=True)))
    assert leaders_of(placed) == {"b": 2, "c": 4}


def best_spread(owners: list[Owners]) -> list[int]:
    """The most even counts of leaders there are, by trying every choice."""
    names = sorted({name for nodes in owners for name in nodes})
    spreads = []
    for chosen in product(*owners):
        counts = Counter(chosen)
        spreads.append(sorted((counts[name] for name in names), reverse=True))
    return min(spreads, key=lambda counts: sum(count * count for count in counts))


owners_of = st.lists(
    st.lists(st.sampled_from([NodeId(name) for name in "abcde"]), min_size=1, max_size=3, unique=True).map(tuple),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(owners_of)
def test_leaders_are_as_even_as_the_best_of_all_choices(owners: list[Owners]) -> None:
    placed = lead(owners, {})
    assert [set(nodes) for nodes in placed] == [set(nodes) for nodes in owners]
    names = {name for nodes in owners for name in nodes}
    counts = leaders_of(placed)
    assert sorted((counts[name] for name in names), reverse=True) == best_spread(owners)
