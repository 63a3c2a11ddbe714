"""Replicas where none should be: whether there are any is kept, and found out anew whenever it may have changed."""

from msgspec import structs

from tests.core.cluster.made import shard, snapshot, table
from zkv.core.cluster import messages as m
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.reports import Reports
from zkv.ids import NodeId, ReplicaId, ShardId

NODE = NodeId("n2")
NEXT = ShardId(9)
SHOWN = snapshot(5, tables=(table(1),), shards=(shard(1),))
STRAY = m.ShardReport(ReplicaId(22), shard(2), False, 1, -1, -1)


def test_a_report_of_a_dropped_shard_shows_at_once_and_is_gone_with_the_replica() -> None:
    shown, reports = ShardMap(SHOWN), Reports()
    reports.registered(NODE, (), shown)
    assert not reports.misplaced(shown, NEXT, ())
    reports.take(NODE, (STRAY,), shown)
    assert reports.misplaced(shown, NEXT, ())
    reports.gone(NODE, ReplicaId(22))
    assert not reports.misplaced(shown, NEXT, ())


def test_who_registers_anew_without_it_or_is_forgotten_holds_nothing_any_more() -> None:
    shown, reports = ShardMap(SHOWN), Reports()
    reports.registered(NODE, (STRAY,), shown)
    assert reports.misplaced(shown, NEXT, ())
    reports.registered(NODE, (), shown)
    assert not reports.misplaced(shown, NEXT, ())
    reports.take(NODE, (STRAY,), shown)
    assert reports.misplaced(shown, NEXT, ())
    reports.forget(NODE)
    assert not reports.misplaced(shown, NEXT, ())
    reports.registered(NODE, (STRAY,), shown)
    assert reports.misplaced(shown, NEXT, ())
    reports.clear()
    assert not reports.misplaced(shown, NEXT, ())


def test_another_map_other_ids_and_other_splits_are_looked_at_anew() -> None:
    shown, reports = ShardMap(SHOWN), Reports()
    reports.registered(NODE, (STRAY,), shown)
    assert reports.misplaced(shown, NEXT, ())
    assert not reports.misplaced(shown, ShardId(2), ())  # an id that was not given out yet
    assert not reports.misplaced(shown, NEXT, (ShardId(2),))  # one that a split is to bring into being
    later = ShardMap(structs.replace(SHOWN, version=6, shards=(shard(1), shard(2))))
    assert reports.misplaced(shown, NEXT, ())
    assert not reports.misplaced(later, NEXT, ())
