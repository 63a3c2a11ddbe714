"""Keeps a copy of the shard map equal to the coordinators', from broadcasts that may be lost (rule 25).

Deltas heard while a snapshot is awaited are kept and applied behind it. A snapshot that would leave a hole before
them is not taken: it is asked for again. The follower never asks unless something was missed, so nobody polls.
"""

from typing import Final

from zkv.core.cluster.group import Whereabouts
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import Beacon, MapDelta, MapSnapshot

BUFFERED_DELTAS_MAX: Final = 1_024


class MapFollower:
    """A follower's map and what it still misses. The owner asks for a snapshot while `wants_snapshot`.

    Invariants: within one incarnation `map.version` never falls; `_buffer` holds consecutive versions of
    `_incarnation`, the first of which follows a snapshot of at least `_least`.
    """

    def __init__(self, *, buffered_max: int = BUFFERED_DELTAS_MAX) -> None:
        self.map: ShardMap | None = None
        self.snapshots_refused = 0  # too old, or of another group: asked for again
        self._buffered_max = buffered_max
        self._wanting = True
        self._incarnation: int | None = None  # of the group heard last; None: none heard yet
        self._least = 0  # a snapshot below this version would leave a hole
        self._buffer: list[MapDelta] = []
        self._located = 0  # the version as of which it is known where the coordinators are

    @property
    def wants_snapshot(self) -> bool:
        """Whether a snapshot must be asked for: at the start, after a gap, and when the group is another."""
        return self._wanting

    def heard(self, message: MapDelta | Beacon | Whereabouts) -> None:
        """Take one broadcast. Old ones change nothing; a hole makes the follower want a snapshot."""
        if isinstance(message, Whereabouts):
            self._locate(message)
            return
        if message.incarnation != self._incarnation:
            self._start_over(message.incarnation, least=0)
        if isinstance(message, Beacon):
            self._on_beacon(message)
        elif self._wanting:
            self._buffer_delta(message)
        else:
            self._follow(message)

    def snapshot_arrived(self, snapshot: MapSnapshot) -> None:
        """Take a snapshot, asked for or not; one that is too old is refused and `wants_snapshot` stays."""
        if self._incarnation is None:
            self._incarnation = snapshot.incarnation
        if snapshot.incarnation != self._incarnation:
            self._refuse(snapshot)
            return
        if snapshot.version < self._least or self._would_turn_back(snapshot):
            self.snapshots_refused += 1
            return
        self._adopt(snapshot)

    def _locate(self, message: Whereabouts) -> None:
        """Where the coordinators are; as of no older a version of the map than was believed before."""
        held = self.map
        if held is not None and held.incarnation == message.incarnation and message.version >= self._located:
            self._located = message.version
            held.coordinators, held.publishers = message.coordinators, message.publishers

    def _adopt(self, snapshot: MapSnapshot) -> None:
        old, fresh = self.map, ShardMap(snapshot)
        if old is not None and old.incarnation == fresh.incarnation:
            for info in old.shards.values():  # news from refusals may be ahead of the snapshot
                fresh.learn(info)
        for delta in self._buffer:
            if delta.version > fresh.version:
                fresh.apply(delta)
        self.map = fresh
        self._located = snapshot.version
        self._wanting, self._least = False, 0
        self._buffer.clear()

    def _refuse(self, snapshot: MapSnapshot) -> None:
        """Another group than the one that broadcasts. While nothing was missed it may be the newer: ask who it is.

        The map stays until a second snapshot of that group confirms it: a late duplicate of the old group's answer
        must not replace the map, and the next broadcast of the living group undoes the doubt.
        """
        self.snapshots_refused += 1
        if not self._wanting:
            self._start_over(snapshot.incarnation, least=snapshot.version)

    def _would_turn_back(self, snapshot: MapSnapshot) -> bool:
        held = self.map
        return held is not None and held.incarnation == snapshot.incarnation and snapshot.version < held.version

    def _follow(self, delta: MapDelta) -> None:
        held = self.map
        assert held is not None, "only a follower without a map waits for its first snapshot"
        if delta.version == held.version + 1:
            held.apply(delta)
        elif delta.version > held.version:
            self._want_from(delta)

    def _buffer_delta(self, delta: MapDelta) -> None:
        if self._newest() >= delta.version:
            return
        if not self._buffer or delta.version != self._buffer[-1].version + 1:
            self._want_from(delta)
        elif len(self._buffer) >= self._buffered_max:
            self._start_over(delta.incarnation, least=delta.version)
        else:
            self._buffer.append(delta)

    def _on_beacon(self, beacon: Beacon) -> None:
        if beacon.version > self._newest():
            self._start_over(beacon.incarnation, least=beacon.version)

    def _newest(self) -> int:
        """The newest version that needs nothing more than the awaited snapshot."""
        if self._buffer:
            return self._buffer[-1].version
        held = self.map
        reached = held.version if held is not None and held.incarnation == self._incarnation else -1
        return max(reached, self._least if self._wanting else -1)

    def _want_from(self, delta: MapDelta) -> None:
        self._wanting = True
        self._buffer = [delta]
        self._least = delta.version - 1

    def _start_over(self, incarnation: int, *, least: int) -> None:
        self._incarnation = incarnation
        self._wanting = True
        self._buffer = []
        self._least = least
