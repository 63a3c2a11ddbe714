import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.cluster.made import GROUP, delta, shard, snapshot, table
from zkv.core.cluster.follower import MapFollower
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import Beacon, MapDelta, MapSnapshot
from zkv.ids import ShardId


def version_of(follower: MapFollower) -> int | None:
    return follower.map.version if follower.map is not None else None


def following(version: int) -> MapFollower:
    follower = MapFollower()
    follower.snapshot_arrived(snapshot(version))
    assert (version_of(follower), follower.wants_snapshot) == (version, False)
    return follower


def test_a_new_follower_wants_a_snapshot_and_has_no_map() -> None:
    follower = MapFollower()
    assert follower.wants_snapshot
    assert follower.map is None


def test_deltas_in_order_are_applied_as_they_come() -> None:
    follower = following(3)
    follower.heard(delta(4, shards=(shard(7),)))
    follower.heard(delta(5))
    assert version_of(follower) == 5
    assert follower.map is not None
    assert list(follower.map.shards) == [7]
    assert not follower.wants_snapshot


@pytest.mark.parametrize("version", [0, 2, 3])
def test_an_old_delta_or_beacon_changes_nothing(version: int) -> None:
    follower = following(3)
    follower.heard(delta(version, shards=(shard(7),)))
    follower.heard(Beacon(GROUP, version))
    assert follower.map is not None
    assert follower.map.snapshot() == snapshot(3)
    assert not follower.wants_snapshot


def test_a_missed_delta_is_noticed_by_the_next_one_which_is_kept() -> None:
    follower = following(3)
    follower.heard(delta(5, shards=(shard(7),)))
    assert (version_of(follower), follower.wants_snapshot) == (3, True)
    follower.heard(delta(6))
    follower.snapshot_arrived(snapshot(4))
    assert (version_of(follower), follower.wants_snapshot) == (6, False)
    assert follower.map is not None
    assert list(follower.map.shards) == [7]


def test_a_missed_last_delta_is_noticed_by_the_beacon() -> None:
    follower = following(3)
    follower.heard(Beacon(GROUP, 4))
    assert follower.wants_snapshot
    follower.snapshot_arrived(snapshot(4))
    assert (version_of(follower), follower.wants_snapshot) == (4, False)


def test_a_snapshot_older_than_the_first_kept_delta_minus_one_is_asked_for_again() -> None:
    follower = following(3)
    follower.heard(delta(6))
    for version in (3, 4):
        follower.snapshot_arrived(snapshot(version))
        assert (version_of(follower), follower.wants_snapshot) == (3, True)
    follower.snapshot_arrived(snapshot(5))
    assert (version_of(follower), follower.wants_snapshot) == (6, False)
    assert follower.snapshots_refused == 2


def test_a_snapshot_newer_than_all_kept_deltas_is_taken_alone() -> None:
    follower = MapFollower()
    for version in (4, 5, 6):
        follower.heard(delta(version, shards=(shard(version),)))
    follower.snapshot_arrived(snapshot(9))
    assert follower.map is not None
    assert follower.map.snapshot() == snapshot(9)


def test_kept_deltas_that_the_snapshot_holds_are_skipped() -> None:
    follower = MapFollower()
    for version in (4, 5, 6):
        follower.heard(delta(version, shards=(shard(version),)))
    follower.snapshot_arrived(snapshot(5))
    assert follower.map is not None
    assert (follower.map.version, list(follower.map.shards)) == (6, [6])


def test_a_hole_among_the_kept_deltas_starts_over_behind_it() -> None:
    follower = MapFollower()
    follower.heard(delta(4))
    follower.heard(delta(6))
    follower.snapshot_arrived(snapshot(4))
    assert follower.wants_snapshot
    follower.snapshot_arrived(snapshot(5))
    assert version_of(follower) == 6


def test_a_beacon_past_the_kept_deltas_asks_for_a_snapshot_that_holds_it() -> None:
    follower = MapFollower()
    follower.heard(delta(4))
    follower.heard(Beacon(GROUP, 7))
    follower.snapshot_arrived(snapshot(6))
    assert follower.wants_snapshot
    follower.snapshot_arrived(snapshot(7))
    assert (version_of(follower), follower.wants_snapshot) == (7, False)


def test_more_deltas_than_are_kept_start_over_and_need_a_newer_snapshot() -> None:
    follower = MapFollower(buffered_max=3)
    for version in range(1, 6):
        follower.heard(delta(version))
    follower.snapshot_arrived(snapshot(3))
    assert follower.wants_snapshot
    follower.snapshot_arrived(snapshot(4))
    assert (version_of(follower), follower.wants_snapshot) == (5, False)


def test_a_snapshot_never_turns_the_map_back() -> None:
    follower = following(8)
    follower.snapshot_arrived(snapshot(7))
    assert version_of(follower) == 8
    follower.heard(delta(12))
    follower.snapshot_arrived(snapshot(7))
    assert (version_of(follower), follower.wants_snapshot) == (8, True)


def test_a_newer_snapshot_that_nobody_asked_for_is_taken() -> None:
    follower = following(3)
    follower.snapshot_arrived(snapshot(5))
    assert (version_of(follower), follower.wants_snapshot) == (5, False)


def test_another_group_starts_over_and_its_lower_version_is_taken() -> None:
    follower = following(40)
    follower.heard(delta(2, group=78))
    assert (version_of(follower), follower.wants_snapshot) == (40, True)
    follower.snapshot_arrived(snapshot(41))
    assert version_of(follower) == 40
    follower.snapshot_arrived(snapshot(1, group=78))
    assert follower.map is not None
    assert (follower.map.incarnation, follower.map.version) == (78, 2)
    assert not follower.wants_snapshot


def test_a_snapshot_of_another_group_must_be_confirmed() -> None:
    follower = following(40)
    follower.snapshot_arrived(snapshot(2, group=78))
    assert (version_of(follower), follower.wants_snapshot) == (40, True)
    follower.snapshot_arrived(snapshot(3, group=78))
    assert follower.map is not None
    assert (follower.map.incarnation, follower.map.version) == (78, 3)


def test_the_living_groups_beacon_undoes_a_stray_snapshot_of_the_old_one() -> None:
    follower = following(40)
    follower.snapshot_arrived(snapshot(50, group=76))
    follower.heard(Beacon(GROUP, 40))
    follower.snapshot_arrived(snapshot(40))
    assert (version_of(follower), follower.wants_snapshot) == (40, False)


def test_news_learnt_from_a_refusal_outlives_a_snapshot_that_is_older() -> None:
    follower = MapFollower()
    follower.snapshot_arrived(snapshot(3, tables=(table(1),), shards=(shard(1, leader=1, term=4),)))
    assert follower.map is not None
    follower.map.learn(shard(1, leader=2, term=6))
    follower.heard(Beacon(GROUP, 4))
    follower.snapshot_arrived(snapshot(4, tables=(table(1),), shards=(shard(1, leader=3, term=5),)))
    assert follower.map.shards[ShardId(1)] == shard(1, leader=2, term=6)


class Source:
    """A coordinator that makes one change after another, and remembers every state."""

    def __init__(self) -> None:
        self.map = ShardMap(snapshot(0, tables=(table(1),)))
        self.broadcast: list[MapDelta | Beacon] = []

    def change(self, number: int) -> None:
        held = self.map.shards.get(ShardId(number))
        term = held.term + 1 if held is not None else 1
        change = delta(self.map.version + 1, shards=(shard(number, bytes([number]), leader=1 + term % 3, term=term),))
        self.map.apply(change)
        self.broadcast.append(change)


# What may happen next: the source changes shard n; a broadcast is lost, heard, heard again or out of turn; an answer to
# a request for the map is made, comes in late, or comes in twice.
acts = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.integers(1, 4)),
        st.tuples(
            st.sampled_from(["hear", "lose", "hear again", "hear early", "beacon", "answer", "arrive", "again"]),
            st.just(0),
        ),
    ),
    max_size=80,
)


@settings(max_examples=400)
@given(acts, st.integers(1, 5))
def test_any_loss_and_order_ends_equal_to_the_source_and_never_goes_back(
    plan: list[tuple[str, int]], buffered_max: int
) -> None:
    source, follower = Source(), MapFollower(buffered_max=buffered_max)
    heard = 0  # how many broadcasts left the queue
    answers: list[MapSnapshot] = []
    seen = -1
    for act, number in plan:
        if act == "change":
            source.change(number)
        elif act == "beacon":
            source.broadcast.append(Beacon(GROUP, source.map.version))
        elif act == "answer":
            answers.append(source.map.snapshot())
        elif act in ("arrive", "again") and answers:
            follower.snapshot_arrived(answers[0] if act == "again" else answers.pop(0))
        elif act == "hear again" and heard:
            follower.heard(source.broadcast[heard - 1])
        elif act == "hear early" and heard + 1 < len(source.broadcast):
            follower.heard(source.broadcast[heard + 1])
        elif heard < len(source.broadcast):
            if act == "hear":
                follower.heard(source.broadcast[heard])
            heard += act in ("hear", "lose")
        if follower.map is not None:
            assert follower.map.version >= seen
            seen = follower.map.version
    source.change(1)
    follower.heard(source.broadcast[-1])
    follower.heard(Beacon(GROUP, source.map.version))
    if follower.wants_snapshot:
        follower.snapshot_arrived(source.map.snapshot())
    assert not follower.wants_snapshot
    assert follower.map is not None
    assert follower.map.snapshot() == source.map.snapshot()
