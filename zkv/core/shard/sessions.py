"""The last results of each client, so that a retried operation is answered and not applied again (rules 12, 13).

Replicated state: it changes only by applying entries, alike on every replica. A session remembers results by sequence
number, in runs of neighbours; what its client no longer waits for is dropped. An id without a record that was
born at or before the floor may have been forgotten, so it is refused.
"""

from collections.abc import Iterable, Iterator, Mapping

from zkv import limits
from zkv.core.shard.commands import Result
from zkv.core.shard.records import SessionRecord
from zkv.ids import ClientId

BIRTH_BYTES = 6
_OVERHEAD_BYTES = 64  # of a record beside its results; a bound needs only the right size


def youngest(wall_ms: int) -> bytes:
    """The latest birth of a client that a leader takes at this time of day.

    Once forgotten, one from the end of time would raise the floor to where no other client's id can be above it.
    """
    return (wall_ms + limits.BIRTH_AHEAD_MS_MAX).to_bytes(BIRTH_BYTES, "big")


class Session:
    """One client's memory. Invariants: runs do not overlap; every number in them is in [lowest, highest]."""

    __slots__ = ("highest", "lowest", "runs", "size")

    def __init__(self, record: SessionRecord | None = None) -> None:
        self.lowest = record.lowest if record else 1
        self.highest = record.highest if record else 0
        self.runs: dict[int, tuple[Result, ...]] = dict(record.runs) if record else {}
        self.size = sum(map(len, self.runs.values()))

    def record(self) -> SessionRecord:
        """For the state engine."""
        return SessionRecord(self.lowest, self.highest, tuple(self.runs.items()))

    def forget_below(self, lowest: int) -> None:
        """The client waits for nothing below `lowest` any more. A late request may carry an older mark: ignored."""
        if lowest <= self.lowest:
            return
        self.lowest = lowest
        for first in list(self.runs):
            results = self.runs[first]
            if first >= lowest:
                continue
            del self.runs[first]
            self.size -= len(results)
            if first + len(results) > lowest:
                kept = results[lowest - first :]
                self.runs[lowest] = kept
                self.size += len(kept)

    def remember(self, first: int, results: tuple[Result, ...]) -> None:
        """Keep the results of operations first, first + 1, ..."""
        self.runs[first] = results
        self.size += len(results)
        self.highest = max(self.highest, first + len(results) - 1)

    def result(self, sequence: int) -> Result | None:
        """What that operation came to, or None if it was never applied here."""
        for first, results in self.runs.items():
            if first <= sequence < first + len(results):
                return results[sequence - first]
        return None


class Sessions:
    """All sessions of one shard, the least recently used first."""

    def __init__(self, floor: bytes, records: Iterator[tuple[ClientId, SessionRecord]]) -> None:
        self.floor = floor  # births, BIRTH_BYTES long
        self._sessions = {client: Session(record) for client, record in records}

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, client: ClientId) -> Session | None:
        """The client's session; a new one for a new client; None if it may have been forgotten (rule 13)."""
        session = self._sessions.pop(client, None)
        if session is None:
            if client[:BIRTH_BYTES] <= self.floor:
                return None
            session = Session()
        self._sessions[client] = session
        return session

    def known(self, client: ClientId) -> bool:
        """Whether a request of this client can be taken at all; changes nothing."""
        return client in self._sessions or client[:BIRTH_BYTES] > self.floor

    def result(self, client: ClientId, sequence: int) -> Result | None:
        """What is remembered of one operation; changes nothing."""
        session = self._sessions.get(client)
        return None if session is None else session.result(sequence)

    def records(self) -> dict[ClientId, SessionRecord]:
        """Everything that is remembered, for another shard to remember, too."""
        return {client: session.record() for client, session in self._sessions.items()}

    def get(self, client: ClientId) -> Session:
        """The session of a client that has one; changes nothing."""
        return self._sessions[client]

    def unite(self, records: Mapping[ClientId, SessionRecord], floor: bytes) -> tuple[list[ClientId], list[ClientId]]:
        """Remember what another shard, with that floor, remembers, too. Returns who has a new record and who has none.

        What only one of the two remembers may have been forgotten by the other, if it was born by the other's floor:
        then nobody can say any more what that client's operations came to, and it is refused by the greater floor.
        """
        gone = [one for one in self._sessions if one not in records and one[:BIRTH_BYTES] <= floor]
        for client in gone:
            del self._sessions[client]
        changed: list[ClientId] = []
        for client, record in records.items():
            mine = self._sessions.get(client)
            if mine is None and client[:BIRTH_BYTES] <= self.floor:
                continue
            self._sessions[client] = Session(record) if mine is None else _both(mine, Session(record))
            changed.append(client)
        self.floor = max(self.floor, floor)
        return changed, gone

    def size_bytes(self) -> int:
        """Roughly what the records take."""
        return sum(_OVERHEAD_BYTES + 8 * session.size for session in self._sessions.values())

    def eldest(self, count: int) -> tuple[ClientId, ...]:
        """The `count` least recently used clients: what a leader proposes to evict."""
        return tuple(client for client, _ in zip(self._sessions, range(count), strict=False))

    def evict(self, clients: tuple[ClientId, ...]) -> tuple[ClientId, ...]:
        """Forget them, and raise the floor to the newest birth among those that were known. Returns the known ones."""
        known = tuple(client for client in clients if self._sessions.pop(client, None) is not None)
        self.floor = max([self.floor, *(client[:BIRTH_BYTES] for client in known)])
        return known


def _both(one: Session, other: Session) -> Session:
    """What both remember. An operation that both know they have from one shard, which was split: it is the same."""
    lowest = max(one.lowest, other.lowest)
    results = {
        first + place: result
        for session in (one, other)
        for first, found in session.runs.items()
        for place, result in enumerate(found)
    }
    known = sorted(sequence for sequence in results if sequence >= lowest)
    runs = tuple((run[0], tuple(results[sequence] for sequence in run)) for run in _runs(known))
    return Session(SessionRecord(lowest, max(one.highest, other.highest), runs))


def _runs(numbers: Iterable[int]) -> list[list[int]]:
    """Rising numbers, in runs of neighbours."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
