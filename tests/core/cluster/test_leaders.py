from collections import deque

from tests.core.cluster.made import member, node, snapshot, table
from tests.core.cluster.made import shard as made_shard
from zkv.core.cluster.evenness import Wish
from zkv.core.cluster.leaders import CALM_MS, RETRY_MS, TRANSFER_EVERY_MS, LeaderBalance, excess_of
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.messages import TransferLeader
from zkv.core.cluster.shardmap import NodeState, Partitioner, Tuning
from zkv.core.raft.messages import Membership
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId, ReplicaId, ShardId


def led(number: int, *nodes: str) -> ShardInfo:
    """A shard on these nodes, the first of which leads; its replicas are 10 * number + 0, 1, 2."""
    voters = tuple(member(10 * number + place, name, 1000) for place, name in enumerate(nodes))
    return made_shard(number, bytes([number]), bytes([number + 1]), members=Membership(1, voters), leader=10 * number)


def map_of(
    *shards: ShardInfo,
    down: tuple[str, ...] = (),
    weights: dict[str, float] | None = None,
    partitioner: Partitioner = Partitioner.HASH,
) -> ShardMap:
    names = sorted({own.node for info in shards for own in info.membership.voters})
    nodes = tuple(
        node(name, weight=(weights or {}).get(name, 1.0), state=NodeState.DOWN if name in down else NodeState.UP)
        for name in names
    )
    return ShardMap(snapshot(1, tables=(table(1, partitioner=partitioner),), nodes=nodes, shards=shards))


def test_the_busiest_node_gives_a_leader_to_the_idlest_of_its_group() -> None:
    made = map_of(*(led(number, "a", "b", "c") for number in (1, 2, 3)), led(4, "b", "a", "c"))
    assert excess_of(made) == {"a": 3 - 4 / 3, "b": 1 - 4 / 3, "c": -4 / 3}
    assert LeaderBalance().next_order(made, 0) == (NodeId("a"), TransferLeader(ShardId(1), ReplicaId(12)))


def test_one_above_the_fair_share_is_left_alone() -> None:
    shards = [led(number, "a", "b", "c") for number in (1, 2)] + [led(3, "b", "a", "c")]
    assert LeaderBalance().next_order(map_of(*shards), 0) is None


def test_nobody_receives_a_leader_who_is_less_than_two_behind() -> None:
    """a leads 5, b 4, c none, but a's groups are on a and b alone: handing over would only swap the two."""
    shards = [led(number, "a", "b") for number in range(1, 6)] + [led(number, "b", "c") for number in range(6, 10)]
    made = map_of(*shards)
    assert excess_of(made) == {"a": 2, "b": 1, "c": -3}
    assert LeaderBalance().next_order(made, 0) is None


def test_a_group_with_a_node_down_keeps_its_leader() -> None:
    shards = [led(number, "a", "b", "c") for number in (1, 2, 3)]
    assert LeaderBalance().next_order(map_of(*shards, down=("c",)), 0) is None


def test_nothing_moves_while_a_shard_has_no_leader() -> None:
    shards = [led(number, "a", "b", "c") for number in (1, 2, 3)]
    lost = made_shard(4, b"\x04", b"\x05", members=shards[0].membership)
    assert excess_of(map_of(*shards, lost)) is None
    assert LeaderBalance().next_order(map_of(*shards, lost), 0) is None


def test_a_heavier_node_leads_more() -> None:
    shards = [led(number, "a", "b") for number in (1, 2, 3, 4)]
    assert LeaderBalance().next_order(map_of(*shards, weights={"a": 9.0}), 0) is None
    assert LeaderBalance().next_order(map_of(*shards, weights={"b": 9.0}), 0) is not None


def test_orders_wait_for_calm_come_one_a_second_and_spare_a_shard_that_was_tried() -> None:
    made = map_of(*(led(number, "a", "b", "c") for number in (1, 2, 3)))
    balance = LeaderBalance()
    balance.disturbed(1_000)
    assert balance.next_order(made, 1_000 + CALM_MS - 1) is None
    start = 1_000 + CALM_MS
    moved: list[tuple[int, int]] = []
    for at in range(start, start + RETRY_MS + 100, 50):
        order = balance.next_order(made, at)
        if order is not None:
            moved.append((at - start, order[1].shard))
    every = TRANSFER_EVERY_MS
    assert moved == [(0, 1), (every, 2), (2 * every, 3), (RETRY_MS, 1)]


def test_switched_off_it_orders_nothing() -> None:
    made = map_of(*(led(number, "a", "b", "c") for number in (1, 2, 3)))
    assert LeaderBalance(enabled=False).next_order(made, 0) is None


def test_leaders_of_range_tables_go_by_wishes_and_those_that_hold_no_longer_are_passed_over() -> None:
    shards = [led(number, "a", "b", "c") for number in (1, 2, 3, 4)]
    made = map_of(*shards, partitioner=Partitioner.RANGE)
    gone, elsewhere, busy, good = (
        Wish(ShardId(shard), NodeId(source), NodeId("b"), "")
        for shard, source in ((9, "a"), (1, "c"), (2, "a"), (3, "a"))
    )
    wishes = deque([gone, elsewhere, busy, good])
    balance = LeaderBalance()
    assert balance.next_order(made, 0, {ShardId(2)}, wishes) == (NodeId("a"), TransferLeader(ShardId(3), ReplicaId(31)))
    assert not wishes
    assert balance.next_order(made, TRANSFER_EVERY_MS, (), wishes) is None  # their number is no reason
    wishes.append(good)
    down = map_of(*shards, partitioner=Partitioner.RANGE, down=("c",))
    assert balance.next_order(down, 2 * TRANSFER_EVERY_MS, (), wishes) is None


def test_with_the_balance_off_leaders_of_range_tables_go_by_number() -> None:
    made = map_of(*(led(number, "a", "b", "c") for number in (1, 2, 3)), partitioner=Partitioner.RANGE)
    made.tuning = Tuning(balance=False)
    assert LeaderBalance().next_order(made, 0) is not None
