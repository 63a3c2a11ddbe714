"""Shards of range tables that are asked too much are split where that is halved, and then no more."""

from dataclasses import dataclass
from itertools import accumulate

import pytest

from tests.core.cluster.test_splits import ranges
from tests.core.cluster.town import RANGE, Town, create, status_of
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster import outgrown
from zkv.core.cluster.cooling import COLD_REQUESTS, PARTS, requests_together_max
from zkv.core.cluster.outgrown import HOT_SHARE
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId
from zkv.limits import HOT_MS

SAYS_MS = 2_000
KEYS = 1_000


@dataclass
class Asked:
    """How often each of KEYS keys, from b"000" on, is asked a second."""

    rates: list[float]

    def of(self, info: ShardInfo) -> tuple[int, bytes]:
        """What the leader of the shard sees: requests a second, and the key that halves them."""
        inside = [(b"%03d" % n, rate) for n, rate in enumerate(self.rates) if info.owns(b"%03d" % n)]
        total = sum(rate for _, rate in inside)
        before = accumulate((rate for _, rate in inside), initial=0.0)
        off, key = min((abs(passed / total - 0.5), key) for (key, _), passed in zip(inside, before, strict=False))
        return round(total), key if off <= 0.25 else b""


class Hot(Town):
    """A town with a range table of one shard, and leaders that say every two seconds what is asked of them."""

    def __init__(self, asked: Asked, *names: str) -> None:
        super().__init__(*(names or ("n1", "n2", "n3")))
        self.asked = asked
        self.is_silent = False
        self.run_until(lambda: self.serves("default"))
        self.ask(create(1, "ordered", partitioner=RANGE, replicas=min(3, len(self.nodes))))
        self.run_until(lambda: self.serves("ordered"))

    def turn(self, ms: int = 100) -> None:
        super().turn(ms)
        if self.now_ms % SAYS_MS == 0 and not self.is_silent:
            for info in self.shards_of("ordered"):
                self._say(info)

    def _say(self, info: ShardInfo) -> None:
        group = self.groups.get(info.shard)
        leader = group.info.leading() if group is not None else None
        if group is not None and leader is not None:
            requests, key = self.asked.of(group.info)
            told = m.ShardSize(info.shard, group.info.range_version, b"", 100, requests, 100, key)
            self.coordinator.receive(self.nodes[leader.node].source, m.ShardSizes(NodeId(leader.node), (told,)))

    def rest(self, ms: int) -> None:
        """Time passes in large steps."""
        for _ in range(ms // 100):
            self.turn()

    def most(self) -> float:
        """The most that any shard is asked, as a share of what a node is on average."""
        asked = [self.asked.of(info)[0] for info in self.shards_of("ordered")]
        return max(asked) / (sum(asked) / len(self.nodes))


def hot_spot() -> Asked:
    """Nine of ten requests go to one key in a hundred."""
    return Asked([900.0 if 500 <= number < 510 else 1.0 for number in range(KEYS)])


def test_a_hot_spot_is_split_until_no_shard_has_much_of_a_nodes_share_and_then_no_more() -> None:
    town = Hot(hot_spot())
    town.rest(12 * HOT_MS)
    assert town.most() <= HOT_SHARE
    assert len(ranges(town)) <= 12
    assert sum(b"500" <= start <= b"510" for start, _ in ranges(town)) >= 4, "there, where it is asked"
    settled = ranges(town)
    town.rest(10 * HOT_MS)
    assert ranges(town) == settled
    plans = [plan for command in town.commands for plan in command.splits]
    assert "times a second, too much of what a node has" in plans[0].why


def test_a_spike_splits_nothing() -> None:
    town = Hot(hot_spot())
    quiet = Asked([0.1] * KEYS)
    for _ in range(5):
        town.asked = hot_spot()
        town.rest(HOT_MS - SAYS_MS)
        town.asked = quiet
        town.rest(SAYS_MS)
    assert len(ranges(town)) == 1


@pytest.mark.parametrize(
    "asked",
    [
        Asked([5_000.0 if number == 500 else 1.0 for number in range(KEYS)]),
        Asked([(limits.SPLIT_REQUESTS - 100) / KEYS] * KEYS),
    ],
    ids=["one key", "not much"],
)
def test_where_no_key_halves_it_or_it_is_little_nothing_is_split(asked: Asked) -> None:
    town = Hot(asked)
    town.rest(3 * HOT_MS)
    assert len(ranges(town)) == 1


def test_it_can_be_turned_off_and_set_and_is_kept() -> None:
    town = Hot(hot_spot())
    town.ask(m.TuneSplits(8, -1, 0))
    assert isinstance(town.answer_to(8), m.AdminDone)
    town.start_coordinator()
    town.rest(3 * HOT_MS)
    assert len(ranges(town)) == 1
    assert town.state.bounds.split_bytes == limits.SPLIT_BYTES, "the other bound is as it was"
    town.ask(m.TuneSplits(9, -1, 100_000))
    town.rest(3 * HOT_MS)
    assert len(ranges(town)) == 1
    town.ask(m.TuneSplits(10, -1, 1))
    town.ask(m.ChangeTuning(11, balance=False))
    town.rest(3 * HOT_MS)
    assert len(ranges(town)) == 1, "leads do not follow the requests"
    town.ask(m.ChangeTuning(12, balance=True))
    town.rest(3 * HOT_MS)
    assert len(ranges(town)) > 1


def test_what_was_said_of_the_whole_says_nothing_of_its_half() -> None:
    town = Hot(hot_spot())
    town.run_until(lambda: len(ranges(town)) == 2, 3 * HOT_MS)
    began_ms = town.now_ms
    town.run_until(lambda: len(ranges(town)) > 2, 3 * HOT_MS)
    assert town.now_ms - began_ms >= HOT_MS, "each half has to be hot for as long by itself"


def test_as_long_as_nobody_knows_what_the_halves_are_asked_the_bound_is_that_of_the_whole() -> None:
    town = Hot(hot_spot())
    town.rest(2 * SAYS_MS)
    (whole,) = town.shards_of("ordered")
    leader = whole.leading()
    assert leader is not None
    before = town.coordinator.outgrown.figures(town.state)["hot_above"]
    unknown = m.ShardSizes(NodeId(leader.node), (m.ShardSize(whole.shard, 2, b"", -1, -1),))
    town.coordinator.receive(town.nodes[leader.node].source, unknown)
    assert town.coordinator.outgrown.figures(town.state)["hot_above"] == before == pytest.approx(9_990 / 3 * HOT_SHARE)


def test_another_coordinator_waits_for_as_long_again() -> None:
    town = Hot(hot_spot())
    town.rest(HOT_MS - SAYS_MS)
    town.coordinator.stop_leading()
    town.coordinator.start_leading()
    town.rest(HOT_MS - SAYS_MS)
    assert len(ranges(town)) == 1


def test_a_leader_that_falls_silent_has_not_said_it_for_long_enough() -> None:
    """Others speak on, and the coordinator has something else to plan."""
    town = Hot(hot_spot())
    town.rest(2 * SAYS_MS)
    town.is_silent = True
    (info,) = town.shards_of("default")[:1]
    for _ in range(2 * HOT_MS // SAYS_MS):
        told = m.ShardSize(info.shard, info.range_version, b"", -1, 1)
        town.coordinator.receive(town.nodes["n1"].source, m.ShardSizes(NodeId("n1"), (told,)))
        town.rest(SAYS_MS)
    town.ask(create(2, "another", nonce=10, partitioner=RANGE))
    town.rest(SAYS_MS)
    assert len(ranges(town)) == 1
    town.is_silent = False
    town.run_until(lambda: len(ranges(town)) > 1, 2 * SAYS_MS)


def test_an_old_leader_who_has_not_heard_of_a_split_does_not_begin_the_time_anew() -> None:
    town = Hot(hot_spot())
    town.run_until(lambda: len(ranges(town)) == 2, 3 * HOT_MS)
    left = town.shards_of("ordered")[0]
    town.rest(HOT_MS // 2)
    old = m.ShardSize(left.shard, left.range_version - 1, b"", 100, 9_000, 100, b"1")
    town.coordinator.receive(town.nodes["n1"].source, m.ShardSizes(NodeId("n1"), (old,)))
    town.run_until(lambda: len(ranges(town)) > 2, HOT_MS // 2 + 3 * SAYS_MS)
    assert len(town.state.splits) + len(ranges(town)) >= 4, "both halves at the same time"


def test_one_node_has_it_all_anyway() -> None:
    town = Hot(hot_spot(), "n1")
    town.rest(3 * HOT_MS)
    assert len(ranges(town)) == 1


def test_a_table_is_not_split_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgrown, "HOT_SHARDS_MAX", 3)
    town = Hot(hot_spot())
    town.rest(10 * HOT_MS)
    assert len(ranges(town)) == 3


def test_people_are_told_above_what_a_shard_is_hot_and_which_no_key_parts() -> None:
    one_key = Hot(Asked([5_000.0 if number == 500 else 0.1 for number in range(KEYS)]))
    one_key.rest(2 * SAYS_MS)
    (info,) = one_key.shards_of("ordered")
    told = status_of(one_key)
    assert (told["hot_above"], told["hot_keys"]) == (limits.SPLIT_REQUESTS, [info.shard])


@pytest.mark.parametrize("bound", [1, 30, limits.SPLIT_REQUESTS, 1_000_000])
def test_what_merges_is_asked_far_less_than_what_is_split(bound: int) -> None:
    assert requests_together_max(bound) <= bound / PARTS
    assert requests_together_max(0) == requests_together_max(1_000_000) == COLD_REQUESTS


def test_what_was_split_for_its_requests_is_not_merged_while_it_is_asked() -> None:
    town = Hot(hot_spot())
    town.ask(m.TuneMerges(9, -1, 0))
    town.rest(12 * HOT_MS)
    assert len(ranges(town)) > 4
    assert not any(command.merges for command in town.commands)


def test_what_is_evenly_asked_a_hundred_times_the_bound_is_split_for_the_nodes_there_are() -> None:
    town = Hot(Asked([100.0 * limits.SPLIT_REQUESTS / KEYS] * KEYS))
    town.rest(12 * HOT_MS)
    assert len(ranges(town)) == 8, "an eighth of three nodes' load is less than half of one's"
