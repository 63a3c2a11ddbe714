"""What a leader knows of one peer's log, and whether it may send it more (Raft 5.3; etcd raft, tracker)."""

from enum import Enum

from zkv import limits
from zkv.core.raft.log import Log
from zkv.core.raft.messages import Member


class Phase(Enum):
    """How a peer is fed."""

    PROBE = 0  # where its log meets ours is not known: one append at a time
    REPLICATE = 1  # it is: appends follow one another without waiting, within the window
    SNAPSHOT = 2  # it needs entries that are no longer held; only heartbeats go


class Progress:
    """One peer as its leader sees it. Invariant: 0 <= match < next.

    `match`: the peer holds everything up to it on disk, equal to ours. `next`: the next entry to send; beyond
    match + 1 only in REPLICATE, where what lies between is in flight. A lost append shows by itself: the append or
    heartbeat after it names entries that the peer lacks, and is refused.
    """

    __slots__ = (
        "asleep_round",
        "full",
        "heard_ms",
        "match",
        "member",
        "next",
        "paused",
        "phase",
        "round",
        "stamp_ms",
        "told_commit",
    )

    def __init__(self, member: Member, *, next_index: int, now_ms: int) -> None:
        self.member = member
        self.match = 0
        self.next = next_index
        self.phase = Phase.PROBE
        self.paused = False  # PROBE: one append is out, and its answer or a heartbeat's goes first
        self.heard_ms = now_ms  # its last answer in this term; at first, when we began to wait for one
        self.round = 0  # the newest round that it answered
        self.stamp_ms = -1  # its clock in that answer
        self.told_commit = 0
        self.full = False  # it said so in its last answer: its disk wants no entries that others can hold
        self.asleep_round = 0  # the newest round that it answered asleep

    def accepted(self, match: int) -> None:
        """It holds everything up to `match`. Answers come late or twice: what it once held, it still holds."""
        if match > self.match:
            self.match = match
            if self.next <= match:
                self.next = match + 1

    def flows(self) -> None:
        """Its log meets ours at `next` - 1: from now on, appends need not wait."""
        self.phase = Phase.REPLICATE
        self.paused = False

    def refused(self, previous_index: int, next_index: int) -> bool:
        """It lacks `previous_index`; try from `next_index`. False if this answers an append that is history."""
        if previous_index <= self.match:
            return False
        if self.phase is Phase.SNAPSHOT or (self.phase is Phase.PROBE and previous_index != self.next - 1):
            return False
        self.phase = Phase.PROBE
        self.paused = False
        self.next = max(self.match + 1, next_index)
        return True

    def probe_from(self, next_index: int, *, paused: bool) -> None:
        """Leave SNAPSHOT; `paused`: not before a heartbeat is answered."""
        self.phase = Phase.PROBE
        self.paused = paused
        self.next = max(self.match + 1, next_index)

    def may_send(self, log: Log) -> bool:
        """Whether an append may go now (in PROBE even an empty one, which asks where the logs meet)."""
        if self.phase is Phase.REPLICATE:
            if self.next > log.last.index:
                return False
            in_flight = self.next - 1
            return (
                in_flight == self.match or log.bytes_between(self.match, in_flight) < limits.INFLIGHT_BYTES_PER_PEER_MAX
            )
        return self.phase is Phase.PROBE and not self.paused

    def sent(self, last_index: int) -> None:
        """An append up to `last_index` went out."""
        if self.phase is Phase.REPLICATE:
            self.next = last_index + 1
        else:
            self.paused = True

    def has_all(self, log: Log) -> bool:
        """Whether there is nothing left to send, and it knows that all of it is committed."""
        level = self.phase is Phase.REPLICATE and self.match == log.last.index
        return level and self.told_commit == log.last.index

    def recent(self, since_ms: int) -> bool:
        """Whether it answered after `since_ms`."""
        return self.heard_ms > since_ms

    def level(self, log: Log) -> bool:
        """Whether it has caught up: at most one append is missing."""
        return (
            self.phase is Phase.REPLICATE
            and self.match >= log.start.index
            and log.bytes_between(self.match, log.last.index) <= limits.APPEND_BYTES_MAX
        )
