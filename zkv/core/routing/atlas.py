"""The client's map: followed by broadcast, put right by whoever shows that it is behind. Nobody polls.

Each sign of a missed change (a version in an answer, a gap, a beacon, a key that no shard owns, a table that is not
there) leads to one request for the whole map, and only if the broadcast has not brought the change within GRACE_MS.
"""

from typing import Final

from zkv.core.cluster.follower import MapFollower
from zkv.core.cluster.group import Whereabouts
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.messages import MapAnswer
from zkv.core.cluster.shardmap import Beacon, MapDelta
from zkv.core.shard.descriptor import ShardInfo

GRACE_MS: Final = 50
ASK_AGAIN_MS: Final = 400


class Atlas:
    """The map and what is known to be missing from it.

    `changed` is set when the map has; its owner acts on that and clears it. Requests for the map are numbered from 1.
    """

    def __init__(self) -> None:
        self.follower = MapFollower()
        self.changed = False
        self.answered = 0  # the latest request for the map that was answered
        self._asked = 0
        self._asked_ms = -GRACE_MS
        self._needed = 1  # a request of at least this number must be answered: the first map
        self._version = 0  # the newest version heard of
        self._due_ms: int | None = 0  # when to ask, if something is missing
        self._source = ""  # whom to ask first

    @property
    def map(self) -> ShardMap | None:
        """The map, once there is one."""
        return self.follower.map

    def heard(self, message: MapDelta | Beacon | Whereabouts, now_ms: int) -> None:
        """A broadcast."""
        before = (self._state(), self._publishers())
        self.follower.heard(message)
        if before != (self._state(), self._publishers()):
            self.changed = True
        if self.follower.wants_snapshot:
            self._schedule(now_ms + GRACE_MS, "")

    def learn(self, info: ShardInfo) -> bool:
        """News of one shard from a refusal. True if it was news."""
        shard_map = self.map
        if shard_map is None or not shard_map.learn(info):
            return False
        self.changed = True
        return True

    def version_seen(self, version: int, address: str, now_ms: int) -> None:
        """Somebody's map is at this version: ours should be soon."""
        shard_map = self.map
        if shard_map is not None and version > max(shard_map.version, self._version):
            self._version = version
            self._schedule(now_ms + GRACE_MS, address)

    def need(self, now_ms: int, address: str = "") -> int:
        """The map is wrong or lacks something: ask at once, `address` first. Returns the request's number."""
        self._needed = self._asked + 1
        self._schedule(now_ms, address)
        return self._needed

    def next_ms(self) -> int | None:
        """When to ask; None while nothing is missing."""
        return self._due_ms if self._due_ms is not None and self._behind() else None

    def asking(self, now_ms: int) -> tuple[int, str]:
        """A request is sent now: its number, and whom to prefer ("": anybody)."""
        self._asked += 1
        self._asked_ms = now_ms
        self._due_ms = now_ms + ASK_AGAIN_MS
        source, self._source = self._source, ""
        return self._asked, source

    def unsent(self, now_ms: int) -> None:
        """The request that was just made could not leave: another soon."""
        self._due_ms = now_ms + GRACE_MS

    def arrived(self, answer: MapAnswer, now_ms: int) -> None:
        """Somebody's whole map."""
        self.answered = max(self.answered, answer.id)
        before = self._state()
        self.follower.snapshot_arrived(answer.map)
        after = self._state()
        if before != after:
            self.changed = True
        if before[0] not in (-1, after[0]):
            self._version = 0  # versions of another coordinators' group are not comparable
        self._due_ms = now_ms + GRACE_MS if self._behind() else None

    def _behind(self) -> bool:
        shard_map = self.map
        if shard_map is None or self.follower.wants_snapshot or self.answered < self._needed:
            return True
        return self._version > shard_map.version

    def _schedule(self, due_ms: int, address: str) -> None:
        due_ms = max(due_ms, self._asked_ms + GRACE_MS)
        self._due_ms = due_ms if self._due_ms is None else min(self._due_ms, due_ms)
        self._source = address or self._source

    def _publishers(self) -> tuple[str, ...]:
        return () if self.map is None else self.map.publishers

    def _state(self) -> tuple[int, int]:
        shard_map = self.map
        return (-1, -1) if shard_map is None else (shard_map.incarnation, shard_map.version)
