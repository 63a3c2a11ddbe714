"""Is a history linearizable? (Herlihy and Wing 1990; the search of Wing and Gong 1993 with the memory of Lowe 2017.)

Each key is a register of its own, so it is judged alone. Where versions were told, the order that they ask for nearly
always settles it (`forced`); else all orders are searched. Operations are placed one after the other; any that began
before all that are not yet placed have ended may be the next. Visited points (what is placed, the register's state)
are not searched twice. An operation of unknown outcome may be placed at any time after its start, or never; it is
placed only directly before one that could not have been answered as it was without it. That loses no linearization:
before any other it can be left out or moved behind (the proof is in `_enabled`).

A search that runs out of steps says UNKNOWN. Not verified here: reads that accepted a stale answer (`stale_reads`),
sets (`growing_set`), scans, and order between different keys.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from zkv.checkers import forced
from zkv.checkers.history import Call, Verb, by_key
from zkv.checkers.register import EMPTY, Known, State, Step, Unknown, applied, may_leave, sharpens, steps_of, too_late
from zkv.checkers.verdict import Finding, Status, Verdict, verdict

CHECKER = "linearizable"
STEPS_MAX = 300_000  # of one key's search; each is paid for about 300 bytes of what is remembered, 90 MB in all
_BITS_PER_STEP = 2_400
_BEFORE_ALL_ENDS = 1 << 80


@dataclass(frozen=True, slots=True)
class Stuck:
    """A key that is not linearizable, or could not be judged: the furthest that the search came."""

    key: str
    status: Status
    placed: int  # operations before the place that no order gets past
    state: State  # of the register there
    next: tuple[Call, ...]  # of which none could follow

    def __str__(self) -> str:
        value, version, exact = self.state
        row = "no row" if value is None else f"{value!r} at version {version}{'' if exact else ' or later'}"
        calls = "".join(f"\n    {call}" for call in self.next)
        return f"{self.status.value}: key {self.key!r}: after {self.placed} operations: {row}; then none of:{calls}"


def check(calls: Iterable[Call], *, steps_max: int = STEPS_MAX) -> Verdict:
    """Judge a history. Every key must have had no row before it."""
    registers = by_key(call for call in calls if call.op not in (Verb.ADD, Verb.MEMBERS))
    stuck = [found for key, mine in registers.items() if (found := _check_key(key, mine, steps_max)) is not None]
    return verdict(CHECKER, registers, stuck)


def _check_key(key: str, calls: list[Call], steps_max: int) -> Finding | None:
    known, unknown = steps_of(calls)
    if forced.stands(known, unknown):
        return None
    return forced.contradiction(key, known) or search(key, known, unknown, steps_max=steps_max)


def search(key: str, known: list[Known], unknown: list[Unknown], *, steps_max: int = STEPS_MAX) -> Stuck | None:
    """The key's operations, tried in every order that may be one; None: there is one."""
    tried = _Search(known, unknown, steps_max)
    status = tried.run()
    if status is Status.PASSED:
        return None
    placed, state, waiting = tried.furthest
    return Stuck(key, status, placed, state, tuple(known[number].call for number in waiting))


@dataclass(slots=True)
class _Kind:
    """Unknown operations that nobody can tell apart, by their starts: the earliest goes first."""

    step: Step
    members: list[tuple[int, int]] = field(default_factory=list)  # start, bit in `_Point.used`


# A point of the search: `base`, `mask`, `used`, state. All known operations below `base` are placed, and those whose
# bit is set in `mask` (bit 0: base); of the unknown ones, those in `used`.
_Point = tuple[int, int, int, State]
_Option = tuple[int, int, State]  # known operation to place next, unknown ones used then, the state after it


class _Search:
    """Depth first, along the order of the versions where they were told, else of the ends."""

    def __init__(self, known: list[Known], unknown: list[Unknown], steps_max: int) -> None:
        self.known = known
        self.furthest: tuple[int, State, list[int]] = (-1, EMPTY, [])
        self._steps = steps_max
        self._unknown: dict[Step, _Kind] = {}
        for number, (start, step) in enumerate(unknown):
            self._unknown.setdefault(step, _Kind(step)).members.append((start, 1 << number))
        self._putting: dict[str | None, list[_Kind]] = {}
        self._changing: list[_Kind] = []  # their effect depends on the state before
        for kind in self._unknown.values():
            if kind.step.verb is Verb.INCREMENT or kind.step.expects is not None:
                self._changing.append(kind)
            else:
                self._putting.setdefault(kind.step.value, []).append(kind)

    def run(self) -> Status:
        """Find one order, or show that there is none."""
        path = [iter(self._options((0, 0, 0, EMPTY)))]
        points: list[_Point] = [(0, 0, 0, EMPTY)]
        visited: set[_Point] = set()
        count = len(self.known)
        while path:
            if points[-1][0] == count:
                return Status.PASSED
            option = next(path[-1], None)
            if option is None:
                path.pop()
                points.pop()
                continue
            point = _placed(points[-1], option)
            if point in visited:
                continue
            visited.add(point)
            self._steps -= 1 + (point[1].bit_length() + point[2].bit_length()) // _BITS_PER_STEP
            if self._steps < 0:
                return Status.UNKNOWN
            points.append(point)
            path.append(iter(self._options(point)))
        return Status.VIOLATION

    def _options(self, point: _Point) -> list[_Option]:
        """All that may be placed next, the most promising first."""
        base, mask, used, state = point
        waiting, first_end = self._window(base, mask)
        options: list[tuple[float, _Option]] = []
        for number in waiting:
            step = self.known[number].step
            if too_late(step, state):
                options.clear()
                break
            after = applied(step, state)
            if after is not None:
                rank = self.known[number].end if step.version is None else _version_rank(step)
                options.append((rank, (number, used, after)))
            if self._unknown and step.verb is not Verb.PUT and (after is None or _depends(step, state)):
                enabled = self._enabled(step, state, used, first_end)
                options += [(math.inf, (number, taken, then)) for taken, then in enabled]
        placed = base + mask.bit_count()
        if placed > self.furthest[0]:
            self.furthest = (placed, state, waiting)
        if len(options) > 1:
            options.sort(key=lambda option: option[0])
        return [option for _, option in options]

    def _window(self, base: int, mask: int) -> tuple[list[int], float]:
        """The known operations that may be next, and when the first of all that are not placed ended."""
        known = self.known
        waiting: list[int] = []
        first_end = math.inf
        number = base
        while number < len(known) and known[number].start <= first_end:
            if not mask >> (number - base) & 1:
                waiting.append(number)
                first_end = min(first_end, known[number].end)
            number += 1
        while waiting and known[waiting[-1]].start > first_end:
            waiting.pop()
        return waiting, first_end

    def _enabled(self, step: Step, state: State, used: int, first_end: float) -> list[tuple[int, State]]:
        """What unknown operations, placed directly before `step`, make it possible: (used then, state after `step`).

        Why nowhere else: let an unknown u stand before a known o that was possible without it, and that neither
        sharpens a version nor leaves an untold value. If o writes, it leaves the same without u, so drop u. If it
        only looks, it saw the same before u: let u follow it. Each such change moves an unknown one back or drops it.
        Likewise one that overwrites blindly makes those directly before it needless, so it only comes first.
        """
        found: list[tuple[int, State]] = []
        seen = {(used, state)}
        edge = [(used, state)]
        first = True
        while edge:
            beyond: list[tuple[int, State]] = []
            for taken, before in edge:
                for kind in self._useful(step) if first else self._changing:
                    reached = _take(kind, taken, before, first_end)
                    if reached is None or reached in seen:
                        continue
                    self._steps -= 1
                    if self._steps < 0:
                        return found
                    seen.add(reached)
                    beyond.append(reached)
                    after = applied(step, reached[1])
                    if after is not None:
                        found.append((reached[0], after))
            edge, first = beyond, False
        return found

    def _useful(self, step: Step) -> list[_Kind]:
        """The unknown operations that may come first before `step`: where it tells the value that it found, few do."""
        if step.verb is Verb.GET and not any(may_leave(kind.step, step.seen) for kind in self._changing):
            return self._putting.get(step.seen, [])
        return list(self._unknown.values())


def _take(kind: _Kind, used: int, state: State, first_end: float) -> tuple[int, State] | None:
    """The earliest of these that is not used, if it had begun by now and has an effect here."""
    for start, bit in kind.members:
        if used & bit:
            continue
        if start > first_end:
            return None
        after = applied(kind.step, state)
        return None if after is None else (used | bit, after)
    return None


def _placed(point: _Point, option: _Option) -> _Point:
    base, mask, _, _ = point
    number, used, state = option
    mask |= 1 << (number - base)
    while mask & 1:
        mask >>= 1
        base += 1
    return base, mask, used, state


def _depends(step: Step, state: State) -> bool:
    """Whether an unknown operation before this one may matter although it is possible without."""
    return sharpens(step) and (not state[2] or step.verb is Verb.INCREMENT)


def _version_rank(step: Step) -> int:
    """Writes by their version, and what saw a version behind the write that made it."""
    return (step.version or 0) * 2 + (not step.writes) - _BEFORE_ALL_ENDS
