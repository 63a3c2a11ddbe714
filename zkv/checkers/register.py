"""The sequential specification of one key: what each operation may answer, and what it leaves behind.

A row's version is a number of its shard's counter, so from write to write it rises, by how much cannot be known from
one key. Where nobody was told the version of a write, it is kept as a lower bound until somebody sees it.
"""

import re
from operator import attrgetter
from typing import NamedTuple

import msgspec

from zkv.checkers.history import Call, Verb

_INTEGER = re.compile("0|-?[1-9][0-9]*")
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_DIGITS_MAX = 20
_START = attrgetter("invoked_ns")

# (value or None, version, exact): without a row, `version` is the last one given to this key, at least; otherwise it is
# the row's version if `exact`, else a bound: the version is that or more.
State = tuple[str | None, int, bool]
EMPTY: State = (None, 0, True)


class Step(msgspec.Struct, frozen=True, gc=False):
    """An operation and what was seen of its result; None: not seen."""

    verb: Verb
    value: str | None  # to be written
    by: int
    expects: int | None  # the version that the row must have, 0: no row; None: no condition
    failed: bool
    known: bool  # it took effect, or was answered; otherwise it may never have happened
    seen: str | None
    found: bool | None
    version: int | None
    writes: bool  # as far as is known it changed the row, or took a version


class Known(NamedTuple):
    """An operation that took effect, or was answered, between `start` and `end`."""

    start: int
    end: int
    step: Step
    call: Call


class Unknown(NamedTuple):
    """An operation that may take effect at any time from `start` on, or never."""

    start: int
    step: Step


def steps_of(calls: list[Call]) -> tuple[list[Known], list[Unknown]]:
    """What one key's calls ask of the specification, in the order in which they began."""
    known: list[Known] = []
    unknown: list[Unknown] = []
    for call in sorted(calls, key=_START):
        step = step_of(call)
        if step is None:
            continue
        if step.known and call.completed_ns is not None:
            known.append(Known(call.invoked_ns, call.completed_ns, step, call))
        else:
            unknown.append(Unknown(call.invoked_ns, step))
    return known, unknown


def step_of(call: Call) -> Step | None:
    """The step that a call asks of the specification; None if it cannot have had an effect and saw nothing."""
    op, args, effect = call.op, call.args, call.effect
    outcome = None if call.completed_ns is None or effect == "unknown" else call.outcome
    expects = 0 if op is Verb.PUT_IF_ABSENT else args.version
    if outcome is not None:
        if op is Verb.GET and call.stale_ms is not None:
            return None
        failed = outcome.failed
        writes = op is not Verb.GET and not failed
        by, seen = args.by or 0, outcome.value
        return Step(op, args.value, by, expects, failed, True, seen, outcome.found, outcome.version, writes)
    if op is Verb.GET or effect == "none":
        return None
    done = effect == "done" and call.completed_ns is not None and expects is None
    return Step(op, args.value, args.by or 0, expects, False, done, None, None, None, True)


def sharpens(step: Step) -> bool:
    """Whether it may learn a version, or leave a value that nobody was told."""
    learns = step.version is not None and not step.writes
    return learns or bool(step.expects) or (step.verb is Verb.INCREMENT and step.writes and step.seen is None)


def applied(step: Step, state: State) -> State | None:
    """The state after the step, if it can have been answered as it was; None if not."""
    if step.failed:
        return _refused(step, state)
    match step.verb:
        case Verb.PUT:
            return _written(step.value, step.version, state)
        case Verb.GET:
            return _read(step, state)
        case Verb.INCREMENT:
            return _incremented(step, state)
        case Verb.DELETE:
            return _deleted(step, state)
        case _:
            met = _meeting(step.expects, state)
            return met and _written(step.value, step.version, met)


def too_late(step: Step, state: State) -> bool:
    """Whether the version that the step told has passed, so that it can follow neither here nor anywhere behind."""
    version = step.version
    if not version:
        return False
    return version <= state[1] if step.writes else version < state[1]


def may_leave(step: Step, value: str | None) -> bool:
    """Whether there is a state in which the step leaves this value."""
    if step.verb is Verb.INCREMENT:
        return value is not None and _integer(value) is not None
    return step.value == value


def _written(value: str | None, version: int | None, state: State) -> State | None:
    if version is None:
        return value, state[1] + 1, value is None
    return (value, version, True) if version > state[1] else None


def _read(step: Step, state: State) -> State | None:
    if step.seen != state[0]:
        return None
    return state if step.version is None else _with_version(state, step.version)


def _with_version(state: State, version: int) -> State | None:
    """The state, now that its row is known to have this version; None if it cannot have it."""
    value, bound, exact = state
    if value is None:
        return state if version == 0 else None
    if exact:
        return state if version == bound else None
    return (value, version, True) if version >= bound else None


def _meeting(expects: int | None, state: State) -> State | None:
    """The state as it must have been for the condition to hold; None if it cannot have held."""
    return state if expects is None else _with_version(state, expects)


def _refused(step: Step, state: State) -> State | None:
    """A condition did not hold, or the value was no integer that could be added to.

    A refusal that did not tell the version, of a row whose version nobody was told, is always believed.
    """
    found = state if step.version is None else _with_version(state, step.version)
    if found is None:
        return None
    if step.verb is Verb.INCREMENT:
        number = _integer(state[0])
        refuses = number is None or not _INT64_MIN <= number + step.by <= _INT64_MAX
        return found if refuses else None
    if step.expects is None:
        return None
    if found[0] is None:
        return None if step.expects == 0 else found
    return None if found[2] and found[1] == step.expects else found


def _deleted(step: Step, state: State) -> State | None:
    met = _meeting(step.expects, state)
    if met is None or (step.found is not None and step.found != (met[0] is not None)):
        return None
    if not step.known and met[0] is None:
        return None
    return _written(None, step.version, met)


def _incremented(step: Step, state: State) -> State | None:
    number = _integer(state[0])
    if number is None or not _INT64_MIN <= number + step.by <= _INT64_MAX:
        return None
    value = str(number + step.by)
    return None if step.seen is not None and step.seen != value else _written(value, step.version, state)


def _integer(value: str | None) -> int | None:
    """The number that increment would find in `value`: no row counts as 0."""
    if value is None:
        return 0
    if len(value) > _DIGITS_MAX or not _INTEGER.fullmatch(value):
        return None
    number = int(value)
    return number if _INT64_MIN <= number <= _INT64_MAX else None
