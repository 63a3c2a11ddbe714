import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.cluster.made import GROUP, delta, membership, node, shard, shard_map, snapshot, table
from zkv.core.cluster.mapstate import MapGap, ShardMap, is_newer
from zkv.core.cluster.shardmap import MapDelta
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ShardId, TableId

THREE = (shard(1, b"", b"g"), shard(2, b"g", b"p"), shard(3, b"p", b""))


@pytest.mark.parametrize(
    ("key", "number"), [(b"", 1), (b"a", 1), (b"fzz", 1), (b"g", 2), (b"o", 2), (b"p", 3), (b"\xff" * 9, 3)]
)
def test_a_key_is_found_in_the_shard_that_owns_it(key: bytes, number: int) -> None:
    found = shard_map(*THREE).locate(TableId(1), key)
    assert found == THREE[number - 1]


def test_a_key_in_a_hole_or_in_no_table_is_in_no_shard() -> None:
    holey = shard_map(shard(1, b"b", b"g"), shard(3, b"p", b""))
    assert [holey.locate(TableId(1), key) for key in (b"a", b"g", b"o")] == [None, None, None]
    assert holey.locate(TableId(2), b"b") is None


cuts_of = st.lists(st.binary(min_size=1, max_size=3), unique=True, max_size=12).map(sorted)


@given(cuts_of, st.lists(st.binary(max_size=4), min_size=1, max_size=20), st.randoms())
def test_locating_equals_asking_every_shard(cuts: list[bytes], keys: list[bytes], rng: random.Random) -> None:
    bounds = [b"", *cuts, b""]
    shards = [shard(number + 1, bounds[number], bounds[number + 1]) for number in range(len(cuts) + 1)]
    rng.shuffle(shards)
    made = shard_map(*shards)
    for key in keys:
        assert [made.locate(TableId(1), key)] == [info for info in shards if info.owns(key)]
    assert [info.start for info in made.shards_of(TableId(1))] == bounds[:-1]


def test_a_delta_changes_what_it_names_and_the_version() -> None:
    made = ShardMap(snapshot(4, tables=(table(1),), nodes=(node("a"), node("b")), shards=THREE))
    moved = shard(2, b"g", b"p", leader=2, term=3)
    made.apply(
        MapDelta(
            GROUP,
            5,
            tables=(table(2),),
            nodes=(node("c"),),
            shards=(moved, shard(9, table=2)),
            dropped_nodes=(NodeId("a"),),
            dropped_shards=(ShardId(3),),
        )
    )
    assert made.version == 5
    assert sorted(made.nodes) == ["b", "c"]
    assert made.shards_of(TableId(1)) == (THREE[0], moved)
    assert made.locate(TableId(2), b"x") == shard(9, table=2)
    assert made.locate(TableId(1), b"z") is None
    made.apply(MapDelta(GROUP, 6, dropped_tables=(TableId(2),), dropped_shards=(ShardId(9),)))
    assert made.table("t2") is None
    assert list(made.tables) == [1]
    assert made.locate(TableId(2), b"x") is None


@pytest.mark.parametrize("gap", [delta(7), delta(5), delta(4), delta(0), delta(6, group=78)], ids=repr)
def test_a_delta_that_does_not_follow_is_refused_and_changes_nothing(gap: MapDelta) -> None:
    made = shard_map(*THREE, version=5)
    before = made.snapshot()
    with pytest.raises(MapGap):
        made.apply(gap)
    assert made.snapshot() == before


def test_a_map_made_from_its_own_snapshot_is_the_same() -> None:
    made = ShardMap(snapshot(4, tables=(table(2), table(1)), nodes=(node("b"), node("a")), shards=THREE[::-1]))
    again = ShardMap(made.snapshot())
    assert again.snapshot() == made.snapshot()
    assert made.snapshot() == snapshot(4, tables=(table(1), table(2)), nodes=(node("a"), node("b")), shards=THREE)
    assert (again.cluster, again.coordinators, again.publishers, again.incarnation) == (5, ("c:1",), ("c:2",), GROUP)


def test_a_table_made_anew_under_an_old_name_survives_the_old_ones_end() -> None:
    made = shard_map()
    made.apply(MapDelta(GROUP, 2, tables=(table(2, "t1"),), dropped_tables=(TableId(1),)))
    found = made.table("t1")
    assert found is not None
    assert found.table == 2


HELD = shard(1, ranges=2, members=membership(3), leader=1, term=7)


@pytest.mark.parametrize(
    ("told", "is_news"),
    [
        (shard(1, ranges=2, members=membership(3), leader=2, term=8), True),
        (shard(1, ranges=2, members=membership(4), leader=1, term=7), True),
        (shard(1, ranges=3, members=membership(3), leader=1, term=1), True),
        (shard(1, ranges=2, members=membership(3), leader=3, term=6), False),
        (shard(1, ranges=2, members=membership(2), leader=3, term=9), False),
        (shard(1, ranges=1, members=membership(9), leader=3, term=9), False),
        (shard(1, ranges=2, members=membership(3), leader=0, term=7), False),
        (HELD, False),
    ],
    ids=["later term", "later membership", "later range", "old term", "old membership", "old range", "none", "same"],
)
def test_news_of_a_shard_is_ordered_by_range_membership_and_term(told: ShardInfo, is_news: bool) -> None:
    made = shard_map(HELD)
    assert made.learn(told) is is_news
    assert made.shards[ShardId(1)] == (told if is_news else HELD)
    assert made.locate(TableId(1), b"x") == made.shards[ShardId(1)]
    assert made.version == 1


def test_the_leader_of_a_term_that_had_none_is_news() -> None:
    assert is_newer(shard(1, leader=2, term=4), shard(1, leader=0, term=4))
    assert not is_newer(shard(1, leader=3, term=4), shard(1, leader=2, term=4))


def test_news_of_an_unknown_shard_is_not_taken() -> None:
    made = shard_map(*THREE)
    assert not made.learn(shard(9, leader=1, term=99))
    assert not made.learn(shard(1, table=2, leader=1, term=99))
    assert made.shards_of(TableId(1)) == THREE


def test_a_delta_older_than_the_news_keeps_the_news_but_sets_the_state() -> None:
    made = shard_map(shard(1, leader=1, term=5))
    made.learn(shard(1, leader=2, term=9))
    made.apply(delta(2, shards=(shard(1, leader=3, term=6, state=ShardState.DROPPING),)))
    assert made.shards[ShardId(1)] == shard(1, leader=2, term=9, state=ShardState.DROPPING)
    made.apply(delta(3, shards=(shard(1, leader=1, term=10),)))
    assert made.shards[ShardId(1)] == shard(1, leader=1, term=10)


def test_news_of_a_split_narrows_the_shard_at_once() -> None:
    made = shard_map(shard(1, b"", b"p"), shard(2, b"p", b""))
    made.learn(shard(1, b"", b"g", ranges=2))
    assert made.locate(TableId(1), b"f") == shard(1, b"", b"g", ranges=2)
    assert made.locate(TableId(1), b"h") is None
    made.apply(delta(2, shards=(shard(3, b"g", b"p"), shard(1, b"", b"g", ranges=2))))
    assert made.locate(TableId(1), b"h") == shard(3, b"g", b"p")
