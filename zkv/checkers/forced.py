"""The one order that versions ask for, tried before any search.

Writes stand in the order of their versions, what saw a version stands behind the write that made it, and what saw no
row stands where there was none. If every operation can have been answered there as it was, and none stands before one
that had ended when it began, this *is* a linearization, and the key is done. If not, nothing is known yet (a version
was not told, or an operation of unknown outcome belongs elsewhere than was guessed), and `linear` searches.

Versions also say quickly that there is no order: where two calls contradict one another whatever stands between them.
"""

from collections import deque
from itertools import accumulate

from zkv.checkers.history import Verb
from zkv.checkers.register import EMPTY, Known, State, Step, Unknown, applied
from zkv.checkers.timeline import Running
from zkv.checkers.verdict import Evidence, Status


def stands(known: list[Known], unknown: list[Unknown]) -> bool:
    """Whether that order is a linearization. Both lists are in the order of starts."""
    versioned: list[tuple[int, int, Known]] = []
    rowless: deque[Known] = deque()
    for number, one in enumerate(known):
        version = one.step.version
        if version is None:
            return False
        if version:
            versioned.append((version * 2 + (not one.step.writes), number, one))
        else:
            rowless.append(one)
    versioned.sort()
    order = _Order(unknown)
    # The first end from each place on: whatever began by then delays nobody by going first.
    latest = list(accumulate((one.end for _, _, one in reversed(versioned)), min))
    for _, _, one in versioned:
        bound = latest.pop()
        while rowless and order.state[0] is None and rowless[0].start <= bound:
            if not order.place(rowless.popleft()):
                return False
        if not order.place(one):
            return False
    return all(order.place(one) for one in rowless)


def contradiction(key: str, known: list[Known]) -> Evidence | None:
    """Two calls that no order can have: unlike, of one version; or an older version than had been told before."""
    told = [one for one in known if one.step.version]
    by_version: dict[int | None, Known] = {}
    for one in told:
        if one.step.failed or (one.step.verb is Verb.INCREMENT and one.step.seen is None):
            continue
        other = by_version.setdefault(one.step.version, one)
        if other is not one and (_left(one.step) != _left(other.step) or (one.step.writes and other.step.writes)):
            return Evidence(key, Status.VIOLATION, f"version {one.step.version} twice", (other.call, one.call))
    newest = Running(((one.end, one.step.version or 0) for one in told), max, 0)
    for one in told:
        version, before = one.step.version or 0, newest.before(one.start)
        if version < before or (version == before and one.step.writes):
            earlier = next(other for other in told if other.step.version == before and other.end < one.start)
            return Evidence(key, Status.VIOLATION, f"version {version} after {before}", (earlier.call, one.call))
    return None


def _left(step: Step) -> str | None:
    """The value that was there when it was done."""
    return step.seen if step.verb in (Verb.GET, Verb.INCREMENT) else step.value


class _Order:
    """What is placed so far, and what of unknown outcome is left to explain what would be impossible without."""

    def __init__(self, unknown: list[Unknown]) -> None:
        self.state: State = EMPTY
        self.moment = 0  # of the latest start so far: all that follow stand there or later
        self._leaving: dict[str | None, deque[Unknown]] = {}
        self._counting: deque[Unknown] = deque()
        for one in unknown:
            counts = one.step.verb is Verb.INCREMENT
            (self._counting if counts else self._leaving.setdefault(one.step.value, deque())).append(one)

    def place(self, one: Known) -> bool:
        """The next one. False: it cannot stand here."""
        start, end, step, _ = one
        after = applied(step, self.state)
        if after is None:
            after = self._explained(step)
        if start > self.moment:
            self.moment = start
        if after is None or self.moment > end:
            return False
        self.state = after
        return True

    def _explained(self, step: Step) -> State | None:
        """The state after the step, with those of unknown outcome before it that may be the reason for its answer."""
        leaving = self._leaving.get(step.seen) if step.verb is Verb.GET else None
        reasons = leaving or self._counting
        state: State | None = self.state
        while reasons and state is not None:
            start, reason = reasons.popleft()
            self.moment = max(self.moment, start)
            state = applied(reason, state)
            after = None if state is None else applied(step, state)
            if after is not None:
                return after
        return None
