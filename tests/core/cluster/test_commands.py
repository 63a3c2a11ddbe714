"""Whatever commands were applied: a state loaded from the rows is the state that applied them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.cluster.made import GROUP, member, node, shard, table
from tests.core.cluster.rows import DictRows
from zkv.core.cluster.commands import CoordinatorState, Counters, MapCommand, TableSettings, decode_command, encode
from zkv.core.cluster.operators import ReplaceReplica
from zkv.core.cluster.shardmap import MapDelta, Partitioner
from zkv.errors import BadFrame
from zkv.ids import NodeId, ShardId, TableId


def settings(number: int, dropped: bool = False) -> TableSettings:
    return TableSettings(TableId(number), f"t{number}", 9, Partitioner.HASH, 3, 12, (), dropped)


def plan(number: int, fresh: int = 9) -> ReplaceReplica:
    return ReplaceReplica(number, ShardId(1), (member(3),), member(fresh), "lost")


def founding() -> MapCommand:
    return MapCommand(MapDelta(GROUP, 1), Counters(), cluster=5)


def command(version: int, **parts: object) -> MapCommand:
    return MapCommand(MapDelta(GROUP, version, **parts), Counters(2, 3, 4, 5))  # type: ignore[arg-type]  # by name


def seen(state: CoordinatorState) -> tuple[object, ...]:
    return state.map.snapshot(), state.counters, state.operators, state.settings


def test_the_first_command_names_the_cluster_and_the_group() -> None:
    state = CoordinatorState()
    assert state.apply(founding())
    assert (state.map.version, state.map.incarnation, state.map.cluster) == (1, GROUP, 5)


@pytest.mark.parametrize("version", [0, 1, 3, 9])
def test_a_command_that_does_not_follow_has_no_effect_and_no_rows(version: int) -> None:
    state = CoordinatorState()
    state.apply(founding())
    before = seen(state)
    late = command(version, nodes=(node("a"),))
    assert state.changes(late) == {}
    assert not state.apply(late)
    assert seen(state) == before


def test_a_command_of_another_group_has_no_effect() -> None:
    state = CoordinatorState()
    state.apply(founding())
    assert not state.apply(MapCommand(MapDelta(GROUP + 1, 2), Counters()))
    assert state.map.version == 1


def test_of_two_commands_for_one_version_only_the_first_takes_effect() -> None:
    state = CoordinatorState()
    state.apply(founding())
    assert state.apply(command(2, nodes=(node("a"),)))
    assert not state.apply(command(2, nodes=(node("b"),)))
    assert list(state.map.nodes) == ["a"]


# One step each; the version is given when it is applied.
steps = st.sampled_from(
    [
        {"nodes": (node("a"),)},
        {"nodes": (node("a", zone="z"), node("b"))},
        {"dropped_nodes": (NodeId("a"),)},
        {"tables": (table(1),), "shards": (shard(1, b"", b"m"), shard(2, b"m", b""))},
        {"shards": (shard(1, b"", b"m", leader=2, term=3),)},
        {"shards": (shard(300, table=2),), "tables": (table(2, replicas=1),)},
        {"dropped_shards": (ShardId(1), ShardId(2)), "dropped_tables": (TableId(1),)},
    ]
)
own_steps = st.sampled_from(
    [
        {"operators": (plan(1), plan(2))},
        {"operators": (plan(1, fresh=10),)},
        {"finished": (1,)},
        {"settings": (settings(1), settings(2))},
        {"settings": (settings(1, dropped=True),)},
        {"forgotten": (TableId(1),)},
    ]
)


@given(st.lists(st.tuples(steps, own_steps, st.booleans()), max_size=12))
def test_a_state_loaded_from_the_rows_equals_the_one_that_applied_the_commands(
    plan_: list[tuple[dict[str, object], dict[str, object], bool]],
) -> None:
    state, rows = CoordinatorState(), DictRows()
    rows.apply(state.changes(founding()))
    state.apply(founding())
    for number, (map_part, own_part, is_stale) in enumerate(plan_):
        counters = Counters(number, number + 1, number + 2, number + 3)
        delta = MapDelta(GROUP, state.map.version + (0 if is_stale else 1), **map_part)  # type: ignore[arg-type]
        one = MapCommand(delta, counters, **own_part)  # type: ignore[arg-type]  # by name
        rows.apply(state.changes(one))
        assert state.apply(decode_command(encode(one))) is not is_stale
    again = CoordinatorState.load(rows)
    assert seen(again) == seen(state)


def test_a_state_loaded_from_no_rows_is_before_the_first_command() -> None:
    state = CoordinatorState.load(DictRows())
    assert (state.map.version, state.map.cluster, state.counters) == (0, 0, Counters())


def test_rows_that_are_none_of_the_coordinators_are_not_guessed_at() -> None:
    rows = DictRows()
    rows.apply({b"cx1": b"?"})
    with pytest.raises(ValueError, match="unknown kind"):
        CoordinatorState.load(rows)
    rows.apply({b"cx1": None, b"cm": b"\xc1"})
    with pytest.raises(ValueError):
        CoordinatorState.load(rows)


@pytest.mark.parametrize("payload", [b"", b"\x90", b"\xc1", encode(founding())[:-1], encode(founding()) + b"\x00"])
def test_a_payload_that_is_no_command_is_refused(payload: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_command(payload)
