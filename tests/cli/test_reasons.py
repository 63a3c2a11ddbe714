"""`zkv explain` of range tables that are evened out, from the figures of a coordinator."""

import msgspec

from tests.core.cluster.test_evening import Ranges, of_three
from tests.core.cluster.town import status_of
from zkv.cli.overview import CoordinatorFigures, Overview
from zkv.cli.reasons import Reasons
from zkv.core.cluster import messages as m
from zkv.core.cluster.evening import EVERY_MS, FIRST_MS
from zkv.core.cluster.mapstate import ShardMap


def reasons(town: Ranges) -> Reasons:
    coordinator = msgspec.convert(status_of(town), CoordinatorFigures)
    return Reasons(Overview(ShardMap(town.map), {}, ["coordinator"], [], coordinator))


def test_it_says_how_far_a_node_is_from_its_share_and_why_a_shard_stays() -> None:
    town = of_three()
    town.run(FIRST_MS + EVERY_MS)
    told = "\n".join(reasons(town).node("n4"))
    assert "bytes of range tables, all counted: 0." in told
    assert "of its share, to be evened out" in told
    assert "requests a second to those it leads" in told
    moved = town.plans[0].shard
    words = "\n".join(reasons(town).shard(moved))
    assert "it is asked 100 times a second lately, 100 over a long time; above 1000 for a while it is split" in words
    assert "; it has moved, and stays for 5" in words
    rest = next(info.shard for info in town.shards_of("ordered") if info.shard not in {p.shard for p in town.plans})
    assert "for a while it is split; it may be moved" in "\n".join(reasons(town).shard(rest))


def test_it_says_that_the_balance_is_off() -> None:
    town = of_three()
    town.run(FIRST_MS)
    town.ask(m.ChangeTuning(70, balance=False))
    town.run(1_000)
    shard = town.shards_of("ordered")[0].shard
    assert "range tables are not evened out: the balance is off" in "\n".join(reasons(town).shard(shard))
