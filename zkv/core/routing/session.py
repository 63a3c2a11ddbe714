"""Sequence numbers: what makes a retried write the same write (rules 12 and 13).

A session is an id and the numbers given out under it. Each write keeps its number for life; the smallest number whose
answer is still awaited travels with every group, and no number is given out that lies a whole window above it.
"""

from collections import deque

from zkv import limits
from zkv.core.raft.ready import Rng
from zkv.ids import ClientId

BIRTH_BYTES = 6
_BIRTH_MAX = (1 << 8 * BIRTH_BYTES) - 1


class Run:
    """Numbers given out together, and how many of them are still awaited."""

    __slots__ = ("first", "left", "session")

    def __init__(self, session: "Session", first: int, left: int) -> None:
        self.session = session
        self.first = first
        self.left = left


class Session:
    """One client id and its numbers. Invariant: lowest <= every awaited number < lowest + WINDOW_SEQUENCES."""

    __slots__ = ("_next", "_runs", "client")

    def __init__(self, client: ClientId) -> None:
        self.client = client
        self._next = 1
        self._runs: deque[Run] = deque()

    @property
    def lowest(self) -> int:
        """The smallest number that still waits for its answer; the next one, if none does."""
        runs = self._runs
        while runs and not runs[0].left:
            runs.popleft()
        return runs[0].first if runs else self._next

    def room(self) -> int:
        """How many numbers may be given out now."""
        return self.lowest + limits.WINDOW_SEQUENCES - self._next

    def allot(self, count: int) -> Run:
        """The next `count` numbers; the caller lowers `left` as each is answered or given up."""
        assert 0 < count <= self.room(), f"{count} numbers, room for {self.room()}"
        run = Run(self, self._next, count)
        self._runs.append(run)
        self._next += count
        return run


def client_id(birth_ms: int, rng: Rng) -> ClientId:
    """A new client id: 6 bytes of birth (big-endian ms since 1970), 10 of chance."""
    chance = bytes([rng.randrange(0, 256) for _ in range(10)])
    return ClientId(birth_ms.to_bytes(BIRTH_BYTES, "big") + chance)


def born_after(floor: bytes, wall_ms: int) -> int:
    """A birth that a shard with this floor accepts: now, or just above the floor where clocks disagree.

    Leaders take no id that is born a hundred years ahead of them, so no floor is ever near the last birth there is.
    """
    return min(max(wall_ms, int.from_bytes(floor[:BIRTH_BYTES], "big") + 1), _BIRTH_MAX)


class Sessions:
    """The session under which new writes get their numbers; writes under older ones end under those."""

    def __init__(self, rng: Rng, wall_ms: int, now_ms: int) -> None:
        self._rng = rng
        self._ahead_ms = wall_ms - now_ms  # of the wall clock: births count from 1970
        self.current = Session(client_id(wall_ms, rng))

    def renew(self, expired: Session, floor: bytes, now_ms: int) -> None:
        """A shard no longer knows this session: new numbers come from one that was born after the shard's floor."""
        if expired is self.current:
            self.current = Session(client_id(born_after(floor, self._ahead_ms + now_ms), self._rng))
