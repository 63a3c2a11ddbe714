"""The ring against its promises and against a twin that looks at every point instead of searching."""

import random
from collections import Counter
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkv.core.cluster.loads import LoadBounds, fair_by_zone, fair_shares
from zkv.core.cluster.ring import TOKENS, Ring, RingNode, token_of, zone_of

NAME_SETS = [f"{prefix}{{}}" for prefix in ("node", "n", "host-a-", "10.0.0.", "éü", "db.example.org/", "x" * 40)]


def named(pattern: str, count: int) -> list[RingNode]:
    return [RingNode(pattern.format(number)) for number in range(1, count + 1)]


def even_tokens(count: int, salt: bytes = b"t") -> list[int]:
    return [(number * TOKENS // count + token_of(salt)) % TOKENS for number in range(count)]


class Twin:
    """The ring, written down plainly: every point, every time."""

    def __init__(self, nodes: list[RingNode], virtual_nodes: int = 128) -> None:
        self.points = []
        for node in nodes:
            for number in range(max(1, round(virtual_nodes * node.weight))):
                for part in (0, 1):
                    text = blake2b(f"{node.id}\0{number}\0{part}".encode()).digest()  # 64 bytes by default
                    self.points += [(int.from_bytes(text[at : at + 8], "big"), node) for at in range(0, 64, 8)]

    def order(self, token: int) -> list[RingNode]:
        by_distance = sorted(self.points, key=lambda point: ((point[0] - token) % TOKENS, point[1].id))
        order: list[RingNode] = []
        for _, node in by_distance:
            if node not in order:
                order.append(node)
        return order

    def owners(self, token: int, count: int) -> tuple[str, ...]:
        order = self.order(token)
        first = [node for place, node in enumerate(order) if zone_of(node) not in map(zone_of, order[:place])]
        rest = [node for node in order if node not in first]
        return tuple(node.id for node in (first[:count] + rest)[:count])


nodes_of = st.lists(
    st.tuples(st.sampled_from([0.25, 0.5, 1.0, 2.0]), st.sampled_from(["", "", "a", "b", "c"])), min_size=1, max_size=7
).map(lambda made: [RingNode(f"n{number}", *own) for number, own in enumerate(made)])


@settings(max_examples=60, deadline=None)
@given(nodes_of, st.lists(st.integers(0, TOKENS - 1), min_size=1, max_size=4), st.integers(1, 5))
def test_owners_equal_the_brute_force_twin(nodes: list[RingNode], tokens: list[int], count: int) -> None:
    ring, twin = Ring(nodes, virtual_nodes=8), Twin(nodes, virtual_nodes=8)
    for token in tokens:
        assert ring.owners(token, count) == twin.owners(token, count)
        assert ring.owner(token) == twin.order(token)[0].id == ring.owners(token, 1)[0]


@settings(max_examples=20, deadline=None)
@given(nodes_of)
def test_shares_equal_what_the_twins_arcs_add_up_to(nodes: list[RingNode]) -> None:
    points = sorted((token, node.id) for token, node in Twin(nodes, virtual_nodes=8).points)
    arcs = Counter({node.id: 0 for node in nodes})
    for place, (token, owner) in enumerate(points):
        arcs[owner] += (token - points[place - 1][0]) % TOKENS
    shares = Ring(nodes, virtual_nodes=8).shares()
    assert shares == {node: pytest.approx(arc / TOKENS) for node, arc in arcs.items()}
    assert sum(shares.values()) == pytest.approx(1)


def test_the_point_after_a_token_owns_it_and_the_circle_closes() -> None:
    ring, twin = Ring(named("n{}", 3), 1), Twin(named("n{}", 3), 1)
    points = sorted((token, node.id) for token, node in twin.points)
    for place, (token, owner) in enumerate(points):
        assert ring.owner(token) == owner
        assert ring.owner(token + 1) == points[(place + 1) % len(points)][1]
    assert ring.owner(0) == points[0][1]
    assert ring.owner(TOKENS - 1) == points[0][1]


@pytest.mark.parametrize("pattern", NAME_SETS)
def test_with_ten_nodes_every_share_is_within_a_tenth_of_its_fair_share(pattern: str) -> None:
    for share in Ring(named(pattern, 10)).shares().values():
        assert 0.9 < share * 10 < 1.1


def moved_part(before: Ring, after: Ring) -> float:
    """The part of all keys whose owner differs: looked at between every two neighbouring points of both rings."""
    edges = sorted({token for ring in (before, after) for token, _ in Twin(list(ring.nodes.values())).points})
    moved, low = 0, edges[-1] - TOKENS
    for edge in edges:
        moved += (edge - low) * (before.owner(edge) != after.owner(edge))
        low = edge
    return moved / TOKENS


@pytest.mark.parametrize("pattern", NAME_SETS)
@pytest.mark.parametrize("count", [3, 10])
def test_a_join_moves_keys_to_the_newcomer_alone_and_few_of_them(pattern: str, count: int) -> None:
    nodes = named(pattern, count + 1)
    before, after = Ring(nodes[:-1]), Ring(nodes)
    newcomer = nodes[-1].id
    assert moved_part(before, after) < 1.2 / (count + 1)
    assert moved_part(before, after) == pytest.approx(after.shares()[newcomer])


@pytest.mark.parametrize("pattern", NAME_SETS)
def test_a_leave_moves_only_what_the_leaver_had(pattern: str) -> None:
    nodes = named(pattern, 11)
    before = Ring(nodes)
    for gone in (0, 5, 10):
        after = Ring(nodes[:gone] + nodes[gone + 1 :])
        assert moved_part(before, after) == pytest.approx(before.shares()[nodes[gone].id])
        assert moved_part(before, after) < 1.2 / 11


def test_shares_follow_the_weights() -> None:
    nodes = [RingNode("a", 1), RingNode("b", 2), RingNode("c", 0.5), RingNode("d", 1.5)]
    shares = Ring(nodes).shares()
    for node in nodes:
        assert shares[node.id] == pytest.approx(node.weight / 5, rel=0.12)


def test_owners_are_in_distinct_zones_while_there_are_enough() -> None:
    nodes = [RingNode(f"{zone}{number}", 1, zone) for zone in "abc" for number in range(3)]
    ring = Ring(nodes)
    for token in even_tokens(500):
        three = ring.owners(token, 3)
        assert {owner[0] for owner in three} == {"a", "b", "c"}
        assert three[0] == ring.owner(token)
        five = ring.owners(token, 5)
        assert five[:3] == three
        assert len(set(five)) == 5


def test_more_owners_than_nodes_are_all_nodes() -> None:
    assert sorted(Ring(named("n{}", 3)).owners(12345, 7)) == ["n1", "n2", "n3"]


def test_the_order_in_which_nodes_are_given_changes_nothing() -> None:
    nodes = named("n{}", 6)
    shuffled = random.Random(4).sample(nodes, 6)
    tokens = even_tokens(64)
    assert Ring(nodes).assign(tokens, 3) == Ring(shuffled).assign(tokens, 3)
    assert Ring(nodes).shares() == Ring(shuffled).shares()


@pytest.mark.parametrize(
    "nodes",
    [[], [RingNode("a"), RingNode("a")], [RingNode("a", 0)], [RingNode("a", float("nan"))], [RingNode("a", -1.0)]],
    ids=["none", "twice", "no weight", "not a number", "negative"],
)
def test_a_ring_that_cannot_be_is_refused(nodes: list[RingNode]) -> None:
    with pytest.raises(ValueError):
        Ring(nodes)


# Shards --------------------------------------------------------------------------------------------------------------


def loads_of(placed: list[tuple[str, ...]]) -> Counter[str]:
    return Counter(owner for owners in placed for owner in owners)


@pytest.mark.parametrize(
    ("shards", "replicas", "nodes", "least", "most"),
    [
        (12, 3, 3, 12, 12),
        (12, 3, 4, 9, 9),
        (12, 3, 5, 7, 8),
        (12, 3, 10, 3, 4),
        (12, 1, 5, 2, 3),
        (1000, 3, 10, 270, 330),
    ],
)
def test_shards_are_within_a_tenth_of_fair_or_the_whole_number_beside_it(
    shards: int, replicas: int, nodes: int, least: int, most: int
) -> None:
    for pattern in NAME_SETS:
        loads = loads_of(Ring(named(pattern, nodes)).assign(even_tokens(shards), replicas))
        assert loads.total() == shards * replicas
        assert min(loads.values()) >= least
        assert max(loads.values()) <= most


@pytest.mark.parametrize(
    ("shards", "replicas", "nodes"), [(12, 3, 3), (12, 3, 10), (64, 3, 10), (256, 3, 10), (1000, 1, 10)]
)
def test_a_join_moves_shards_to_the_newcomer_alone_and_few_of_them(shards: int, replicas: int, nodes: int) -> None:
    for pattern in NAME_SETS:
        members, tokens = named(pattern, nodes + 1), even_tokens(shards)
        before = Ring(members[:-1]).assign(tokens, replicas)
        after = Ring(members).reassign(tokens, before, replicas)
        came = [set(new) - set(old) for old, new in zip(before, after, strict=True)]
        assert set().union(*came) == {members[-1].id}
        assert sum(map(len, came)) <= 1.2 / (nodes + 1) * shards * replicas


@pytest.mark.parametrize(("shards", "replicas", "nodes"), [(64, 3, 10), (256, 3, 10), (1000, 1, 10)])
def test_a_leave_moves_few_shards_beside_the_leavers(shards: int, replicas: int, nodes: int) -> None:
    for pattern in NAME_SETS:
        members, tokens = named(pattern, nodes), even_tokens(shards)
        before = Ring(members).assign(tokens, replicas)
        after = Ring(members[1:]).reassign(tokens, before, replicas)
        moved = sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))
        assert loads_of(before)[members[0].id] <= moved <= 1.2 / nodes * shards * replicas


@settings(max_examples=100, deadline=None)
@given(nodes_of, st.integers(1, 40), st.integers(1, 5), st.integers(0, 1000))
def test_placed_shards_have_distinct_nodes_in_as_many_zones_as_can_be(
    nodes: list[RingNode], shards: int, replicas: int, salt: int
) -> None:
    zones = {node.id: zone_of(node) for node in nodes}
    for owners in Ring(nodes, 8).assign(even_tokens(shards, b"%d" % salt), replicas):
        assert len(owners) == len(set(owners)) == min(replicas, len(nodes))
        assert len({zones[owner] for owner in owners}) == min(replicas, len(set(zones.values())))


def test_weights_are_honoured_by_placed_shards_as_far_as_one_replica_a_node_allows() -> None:
    nodes = [RingNode("a", 4), RingNode("b", 1), RingNode("c", 1), RingNode("d", 2)]
    assert loads_of(Ring(nodes).assign(even_tokens(80), 1)) == pytest.approx(
        {"a": 40, "b": 10, "c": 10, "d": 20}, rel=0.1
    )
    # With three replicas 4/8 of 240 would be 120, but a node holds each of the 80 shards once; the rest is shared out.
    assert loads_of(Ring(nodes).assign(even_tokens(80), 3)) == pytest.approx(
        {"a": 80, "b": 40, "c": 40, "d": 80}, rel=0.1
    )


def test_a_heavy_zone_gets_no_more_than_one_replica_of_each_shard() -> None:
    nodes = [RingNode("a1", 1, "a"), RingNode("a2", 1, "a"), RingNode("a3", 1, "a"), RingNode("b1", 1, "b")]
    placed = Ring(nodes).assign(even_tokens(30), 2)
    assert loads_of(placed)["b1"] == 30
    assert {loads_of(placed)[name] for name in ("a1", "a2", "a3")} <= {9, 10, 11}


@pytest.mark.parametrize(
    ("weights", "total", "most", "shares"),
    [
        ({"a": 1, "b": 1}, 10, 10, {"a": 5, "b": 5}),
        ({"a": 3, "b": 1, "c": 1}, 10, 5, {"a": 5, "b": 2.5, "c": 2.5}),
        ({"a": 8, "b": 3, "c": 1}, 24, 10, {"a": 10, "b": 10, "c": 4}),
        ({"a": 1, "b": 1}, 10, 3, {"a": 3, "b": 3}),
    ],
)
def test_what_one_cannot_take_is_shared_out_among_the_others(
    weights: dict[str, float], total: float, most: float, shares: dict[str, float]
) -> None:
    assert fair_shares(weights, total, most) == pytest.approx(shares)


@given(nodes_of, st.integers(1, 50), st.integers(1, 7))
def test_fair_shares_add_up_and_no_node_has_more_than_every_shard(
    nodes: list[RingNode], shards: int, replicas: int
) -> None:
    count = min(replicas, len(nodes))
    fair = fair_by_zone(nodes, {node.id: zone_of(node) for node in nodes}, shards, count)
    assert sum(fair.values()) == pytest.approx(shards * count)
    assert max(fair.values()) <= shards * (1 + 1e-9)


def test_bounds_are_the_whole_numbers_beside_a_small_share_and_a_tenth_off_a_large_one() -> None:
    nodes = [RingNode("a"), RingNode("b", 2)]
    bounds = LoadBounds.of(nodes, {"a": "a", "b": "b"}, 10, 1, 0.1)
    assert (bounds.lower, bounds.upper) == ({"a": 3, "b": 6}, {"a": 4, "b": 7})
    bounds = LoadBounds.of(nodes, {"a": "a", "b": "b"}, 300, 1, 0.1)
    assert (bounds.lower, bounds.upper) == ({"a": 90, "b": 180}, {"a": 110, "b": 220})
