"""Attempts on their way and parts that pause: everything that waits for an answer or for a moment."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from zkv.core.routing.parts import NEVER, Attempt, Part
from zkv.core.routing.peers import Target
from zkv.core.shard.descriptor import ShardInfo


class Flights:
    """Attempts by their group's id, and the moments at which each must be looked at again."""

    def __init__(self) -> None:
        self.attempts: dict[int, Attempt] = {}
        self._alarms: list[tuple[int, int]] = []  # (when, attempt); those of attempts that ended are skipped
        self._next_id = 1

    def make(self, kind: int, info: ShardInfo, parts: list[Part], target: Target) -> Attempt:
        """A new attempt; its group takes its id."""
        attempt = Attempt(self._next_id, kind, target.address, info, parts)
        attempt.forwarded = target.forwarding
        self._next_id += 1
        return attempt

    def launch(self, attempt: Attempt, now_ms: int, timeout_ms: int) -> None:
        """The attempt is sent now: its parts are open until it is answered."""
        attempt.sent_ms = now_ms
        attempt.timeout_ms = now_ms + timeout_ms
        soonest = attempt.timeout_ms
        for part, _ in attempt.spans:
            part.open += 1
            part.info = attempt.info
            if part.request.deadline_ms < soonest:
                soonest = part.request.deadline_ms
        self.attempts[attempt.id] = attempt
        heappush(self._alarms, (soonest, attempt.id))

    def due(self, now_ms: int) -> Iterator[Attempt]:
        """Attempts whose moment has come; each must be ended, or armed again."""
        alarms = self._alarms
        while alarms and alarms[0][0] <= now_ms:
            attempt = self.attempts.get(heappop(alarms)[1])
            if attempt is not None:
                yield attempt

    def arm(self, attempt: Attempt, live: list[Part]) -> None:
        """Look at it again when the next of its parts is late, or when it has been silent too long."""
        soonest = min(part.request.deadline_ms for part in live)
        if not attempt.superseded:
            soonest = min(soonest, attempt.timeout_ms)
        heappush(self._alarms, (soonest, attempt.id))

    def next_ms(self) -> int:
        """The next alarm (it may be one of an attempt that has ended)."""
        alarms = self._alarms
        while alarms and alarms[0][1] not in self.attempts:
            heappop(alarms)
        return alarms[0][0] if alarms else NEVER


class Pauses:
    """Parts that wait for a moment. Those that wait for a leader or a connection can be woken before."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Part, bool]] = []
        self._count = 0

    def add(self, part: Part, until_ms: int, *, wakeable: bool) -> None:
        """Let the part wait, at most until its deadline."""
        self._count += 1
        heappush(self._heap, (min(until_ms, part.request.deadline_ms), self._count, part, wakeable))

    def due(self, now_ms: int) -> list[Part]:
        """Take out the parts whose moment has come, in the order in which they began to wait for it."""
        taken: list[Part] = []
        while self._heap and self._heap[0][0] <= now_ms:
            taken.append(heappop(self._heap)[2])
        return taken

    def wake(self) -> list[Part]:
        """Take out every part that news may help."""
        woken = [entry for entry in self._heap if entry[3]]
        if woken:
            self._heap = [entry for entry in self._heap if not entry[3]]
            heapify(self._heap)
            woken.sort(key=lambda entry: entry[1])
        return [entry[2] for entry in woken]

    def next_ms(self) -> int:
        """When the next one's moment comes."""
        return self._heap[0][0] if self._heap else NEVER
