"""Small cold neighbours of range tables become one by themselves, and nothing else does."""

import pytest

from tests.core.cluster.town import RANGE, Town, create
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster.cooling import COLD_REQUESTS, LOOK_MS, PARTS, bytes_together_max
from zkv.core.cluster.upkeep import LEFT_ALONE_MS
from zkv.ids import NodeId

SMALL = 1_000
COLD_FOR_MS = 30_000  # instead of an hour


class Cooled(Town):
    """A town with a range table cut at g when it was created, and at m and t since; leaders say what they have."""

    def __init__(self) -> None:
        super().__init__("n1", "n2", "n3")
        self.bytes: dict[bytes, int] = {}  # by where a shard begins
        self.requests: dict[bytes, int] = {}
        self.run_until(lambda: self.serves("default"))
        self.ask(create(1, "ordered", partitioner=RANGE, splits=(b"g",)))
        self.run_until(lambda: self.serves("ordered"))
        for number, at in enumerate((b"m", b"t"), 2):
            self.ask(m.SplitTable(number, "ordered", at))
            self.run_until(lambda: self.serves("ordered") and not self.state.splits)
        self.ask(m.TuneMerges(9, -1, COLD_FOR_MS))

    def turn(self, ms: int = 500) -> None:
        super().turn(ms)
        for info in self.shards_of("ordered"):
            leader = self.groups[info.shard].info.leading()
            if self.now_ms % 2_000 == 0 and leader is not None:
                size, asked = self.bytes.get(info.start, SMALL), self.requests.get(info.start, 0)
                told = m.ShardSize(info.shard, info.range_version, b"", size, asked)
                self.coordinator.receive(self.nodes[leader.node].source, m.ShardSizes(NodeId(leader.node), (told,)))

    @property
    def starts(self) -> list[bytes]:
        return [info.start for info in self.shards_of("ordered")]

    def rest(self, ms: int) -> None:
        for _ in range(ms // 500):
            self.turn()


def test_small_cold_neighbours_become_one_but_never_over_a_border_that_was_asked_for() -> None:
    town = Cooled()
    assert town.starts == [b"", b"g", b"m", b"t"]
    town.rest(COLD_FOR_MS - LOOK_MS)
    assert town.starts == [b"", b"g", b"m", b"t"], "not before they have been cold for long enough"
    town.rest(5 * COLD_FOR_MS)
    assert town.starts == [b"", b"g"]
    plans = [plan for command in town.commands for plan in command.merges]
    assert {plan.why for plan in plans} == {"both are small, and hardly asked"}


def test_neighbours_whose_merge_was_cancelled_are_left_alone_for_a_while() -> None:
    town = Cooled()
    town.on_order = lambda node, order: not isinstance(order, m.MergeShard) or order.abandon
    town.run_until(lambda: bool(town.state.merges), 5 * COLD_FOR_MS)
    [plan] = town.state.merges.values()
    town.ask(m.CancelOperator(10, plan.id))
    town.run_until(lambda: not town.state.merges)
    town.rest(LEFT_ALONE_MS - COLD_FOR_MS // 2)
    assert not any(own.merge.source == plan.merge.source for own in town.state.merges.values())
    town.run_until(lambda: plan.merge.source in {own.merge.source for own in town.state.merges.values()}, 200_000)


@pytest.mark.parametrize(
    ("key", "size", "asked"),
    [
        (b"m", bytes_together_max(limits.MERGE_BYTES, limits.SPLIT_BYTES), 0),
        (b"m", SMALL, COLD_REQUESTS),
        (b"m", -1, 0),
    ],
    ids=["large", "busy", "not counted"],
)
def test_what_is_large_or_busy_or_not_known_stays(key: bytes, size: int, asked: int) -> None:
    town = Cooled()
    town.bytes[key], town.requests[key] = size, asked
    town.rest(5 * COLD_FOR_MS)
    assert town.starts == [b"", b"g", b"m", b"t"]


def test_who_is_asked_in_between_begins_to_cool_anew() -> None:
    town = Cooled()
    for _ in range(4):
        town.requests = {}
        town.rest(COLD_FOR_MS - 2 * LOOK_MS)
        town.requests = dict.fromkeys(town.starts, COLD_REQUESTS)
        town.rest(2 * LOOK_MS)
    assert town.starts == [b"", b"g", b"m", b"t"]


def test_it_can_be_turned_off_and_merges_are_still_done_where_they_are_asked_for() -> None:
    town = Cooled()
    town.ask(m.TuneMerges(20, 0))
    assert town.answer_to(20) == m.AdminDone(20, town.state.map.version)
    town.rest(3 * COLD_FOR_MS)
    assert town.starts == [b"", b"g", b"m", b"t"]
    town.ask(m.MergeTable(21, "ordered", b"t"))
    town.run_until(lambda: town.starts == [b"", b"g", b"m"])
    (plan,) = [plan for command in town.commands for plan in command.merges]
    assert plan.merge.bytes_max == limits.MERGE_BYTES


def test_another_coordinator_waits_for_as_long_again() -> None:
    town = Cooled()
    town.rest(COLD_FOR_MS - LOOK_MS)
    town.coordinator.stop_leading()
    town.coordinator.start_leading()
    town.rest(LOOK_MS + 2_000)
    assert town.starts == [b"", b"g", b"m", b"t"]


def test_what_merges_is_far_below_what_is_split() -> None:
    """A shard that has just been split has more than twice what two neighbours may have together, and must be cold."""
    for split in (limits.SPLIT_BYTES_MIN, limits.SPLIT_BYTES):
        assert bytes_together_max(limits.MERGE_BYTES, split) <= split // PARTS < split // 2
    assert bytes_together_max(limits.MERGE_BYTES, 0) == limits.MERGE_BYTES
    assert bytes_together_max(0, limits.SPLIT_BYTES) == 0
    assert limits.COLD_MS >= 3_600_000
