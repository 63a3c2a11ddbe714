"""Snapshots rest after a turn of theirs, the longer the more it had to wait, and not for ever."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from zkv import limits
from zkv.core.node.transfers import Transfers
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.pace import Pace
from zkv.server import rest as rest_module
from zkv.server.rest import Rest

MOST_S = limits.SNAPSHOT_TURN_BYTES / limits.SNAPSHOT_RATE_BYTES_MIN


@dataclass
class Streams:
    """What Rest sees of the transfers."""

    busy: bool = True
    worked: bool = False
    pace: Pace = field(default_factory=Pace)


class Node:
    """A loop whose clocks go as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.computed_s = 100.0, 10.0
        monkeypatch.setattr(rest_module.time, "perf_counter", lambda: self.now_s)
        monkeypatch.setattr(rest_module.time, "thread_time", lambda: self.computed_s)
        self.streams = Streams()
        self.rest = Rest(cast(Transfers[ShardMachine], self.streams))

    def turn(self, *, took_s: float, computed_s: float, worked: bool) -> bool:
        """A turn; whether snapshots might go on in it."""
        self.rest.begin()
        may_go = self.streams.pace.is_open
        self.streams.worked = worked
        self.now_s += took_s
        self.computed_s += computed_s
        self.rest.end()
        return may_go

    def rests_s(self) -> float:
        """For how long snapshots rest from now on."""
        begun_s = self.now_s
        while not self.turn(took_s=0.0001, computed_s=0.0001, worked=False):
            continue
        return self.now_s - begun_s


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


def test_turns_without_snapshots_are_followed_by_no_rest(node: Node) -> None:
    node.turn(took_s=0.01, computed_s=0.001, worked=False)
    assert node.turn(took_s=0.001, computed_s=0.001, worked=False)


def test_who_waited_rests_longer_than_who_only_computed(node: Node) -> None:
    node.turn(took_s=0.002, computed_s=0.002, worked=True)
    alone_s = node.rests_s()
    node.turn(took_s=0.002, computed_s=0.001, worked=True)
    crowded_s = node.rests_s()
    assert 0.002 <= alone_s < crowded_s <= MOST_S + 0.001


def test_a_stream_is_never_kept_back_for_so_long_that_it_seems_dead(node: Node) -> None:
    node.turn(took_s=5.0, computed_s=0.0, worked=True)
    assert node.rests_s() == pytest.approx(MOST_S, abs=0.001)


def test_what_begins_in_a_turn_is_not_held_against_it(node: Node) -> None:
    node.streams.busy = False
    node.turn(took_s=5.0, computed_s=0.0, worked=True)
    node.streams.busy = True
    assert node.turn(took_s=0.001, computed_s=0.001, worked=False)
