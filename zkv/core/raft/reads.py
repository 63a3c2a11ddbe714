"""How a read knows that it is not stale: rounds of a leader, and a follower's echoed clock (rules 8 and 19).

A round is everything that a leader sends in one turn. A majority of voters that answered round n had not moved on to
another leader when n was sent: that proves a read asked before n was sent (read-index, Raft 8), and by the voters'
silence towards candidates (rule 9) it carries a lease from the moment of sending.
"""

from collections import deque
from enum import Enum
from typing import NamedTuple

NEVER_MS = -(10**15)  # before any clock reading


class ReadTicket(NamedTuple):
    """What a read waits for: `round` of `term` answered by a majority, and `index` applied."""

    term: int
    round: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which no ticket needs


class ReadState(Enum):
    """What became of a ticket."""

    READY = 0  # read now
    WAIT = 1
    LOST = 2  # the term is over: ask the next leader


class Rounds:
    """The rounds of one leader in one term, numbered from 1.

    `answered`: the newest that a majority of the voters answered, the leader counted. `wanted`: somebody waits for
    a round that is not sent yet.
    """

    __slots__ = ("_distrusted", "_sent", "answered", "current", "wanted")

    def __init__(self) -> None:
        self.current = 0
        self.answered = 0
        self.wanted = False
        self._distrusted = 0  # the last round whose time of sending is not trusted
        # (round, when), only the first round of a millisecond, and none older than the newest answered: a leader
        # that nobody answers steps down within an election timeout, which bounds it.
        self._sent: deque[tuple[int, int]] = deque()

    def start(self, now_ms: int) -> int:
        """A round leaves now: its number."""
        self.current += 1
        self.wanted = False
        if not self._sent or self._sent[-1][1] != now_ms:
            self._sent.append((self.current, now_ms))
        return self.current

    def answer(self, majority_round: int) -> None:
        """A majority has answered up to this round."""
        if majority_round <= self.answered:
            return
        self.answered = majority_round
        sent = self._sent
        while len(sent) > 1 and sent[1][0] <= majority_round:
            sent.popleft()

    def distrust(self) -> None:
        """The clock has turned back: rounds sent so far carry no lease, though they still prove what was read."""
        self._distrusted = self.current
        self._sent.clear()

    @property
    def answered_sent_ms(self) -> int:
        """When the newest answered round was SENT: the answer's arrival says nothing about what happened since."""
        return self._sent[0][1] if self.answered > self._distrusted else NEVER_MS


class Freshness:
    """How stale a follower's state may be, by its own clock alone (rule 19).

    Each answer carries a stamp of this clock; the leader gives the last one back with its commit index, while it
    holds its lease. Whatever was acknowledged before the stamp is then within that commit index: once that much is
    applied, the state is as fresh as the stamp, however long the echo waited in a queue.
    """

    __slots__ = ("_awaited", "_fresh_ms", "_stamped_ms", "_trusted_ms")

    def __init__(self) -> None:
        self._stamped_ms = NEVER_MS
        self._trusted_ms = 0  # stamps before this do not count
        self._fresh_ms: int | None = None
        self._awaited: tuple[int, int] | None = None  # (index to apply, stamp)

    def stamp(self, now_ms: int) -> int:
        """The stamp to put on an answer."""
        self._stamped_ms = now_ms
        return now_ms

    def echoed(self, commit: int, stamp_ms: int, applied: int) -> None:
        """A leader under lease gave a stamp back. One that this process never gave (an earlier boot) is ignored."""
        self._settle(applied)
        if self._trusted_ms <= stamp_ms <= self._stamped_ms and self._awaited is None:
            # While one is awaited, newer ones pass by: under load there would always be a newer one.
            self._awaited = (commit, stamp_ms)

    def distrust(self, now_ms: int) -> None:
        """The clock has turned back to `now_ms`: how long ago earlier stamps were made is not known."""
        self._fresh_ms = self._awaited = None
        self._trusted_ms = now_ms + 1

    def as_of_ms(self, applied: int) -> int | None:
        """The moment, on this clock, as of which the applied state is complete; None: not known."""
        self._settle(applied)
        return self._fresh_ms

    def _settle(self, applied: int) -> None:
        if self._awaited is not None and self._awaited[0] <= applied:
            self._fresh_ms = max(self._awaited[1], self._fresh_ms or 0)
            self._awaited = None
