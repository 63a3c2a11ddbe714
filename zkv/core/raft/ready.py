"""What a replica wants done, and what it must be given: the contract between `Replica` and whoever owns it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from zkv import limits
from zkv.core.raft.messages import Entry, HardState, Member, RaftMessage


class EntryId(NamedTuple):
    """Names an entry for ever. (0, 0) is before the first."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no id needs
    term: int


BEGINNING = EntryId(0, 0)


class Rng(Protocol):
    """The only source of chance in the core; `random.Random` fits."""

    def randrange(self, start: int, stop: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a replica waits, in milliseconds of the clock that `tick` brings."""

    heartbeat_ms: int = limits.HEARTBEAT_MS
    election_ms_min: int = limits.ELECTION_MS_MIN  # the wait is drawn from [min, 2 * min)
    lease_ms: int = limits.LEASE_MS  # from the send of a round that a majority answered
    sleep_after_ms: int = limits.SLEEP_AFTER_MS  # a group that nobody asks for so long sleeps; 0: never
    tell_ms: int = limits.TELL_MS  # a commit is told to followers at last, if no append does

    @property
    def ping_ms(self) -> int:
        """How often nodes whose shards sleep give a sign of life: one may be lost within an election timeout."""
        return self.election_ms_min * 5 // 12

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_ms * 2 <= self.lease_ms < self.election_ms_min:
            raise ValueError(f"heartbeat * 2 <= lease < election does not hold: {self}")


@dataclass(slots=True)
class Ready:
    """What the owner must now do, in this order."""

    hard_state: HardState | None = None  # term and vote: to disk, with the entries, in one flush
    entries: Sequence[Entry] = ()  # to disk; cancel all stored from [0].index on
    messages: list[tuple[Member, RaftMessage]] = field(default_factory=list)  # to peers at once (rule 7)
    promises: list[tuple[Member, RaftMessage]] = field(default_factory=list)  # to peers, after that flush (rule 7)
    committed: Sequence[Entry] = ()  # to the state machine, in order, each once
    snapshots: list[Member] = field(default_factory=list)  # peers that need a snapshot; each named once per need

    def __bool__(self) -> bool:
        return bool(
            self.hard_state or self.entries or self.messages or self.promises or self.committed or self.snapshots
        )
