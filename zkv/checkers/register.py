"""The sequential specification of one key: what each operation may answer, and what it leaves behind.

A row's version is a number of its shard's counter, so from write to write it rises, by how much cannot be known from
one key. Where nobody was told the version of a write, it is kept as a lower bound until somebody sees it.
"""

import re
from dataclasses import dataclass

from zkv.checkers.history import Call, Verb

_INTEGER = re.compile(rb"0|-?[1-9][0-9]*")
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

# (value or None, version, exact): without a row, `version` is the last one given to this key, at least; otherwise it is
# the row's version if `exact`, else a bound: the version is that or more.
State = tuple[bytes | None, int, bool]
EMPTY: State = (None, 0, True)


@dataclass(frozen=True, slots=True)
class Step:
    """An operation and what was seen of its result; None: not seen."""

    verb: Verb
    value: bytes | None  # to be written
    by: int
    expects: int | None  # the version that the row must have, 0: no row; None: no condition
    failed: bool
    known: bool  # it took effect, or was answered; otherwise it may never have happened
    seen: bytes | None
    found: bool | None
    version: int | None
    writes: bool  # as far as is known it changed the row, or took a version
    sharpens: bool  # it may learn a version, or leave a value that nobody was told


def step_of(call: Call) -> Step | None:
    """The step that a call asks of the specification; None if it cannot have had an effect and saw nothing."""
    outcome, args = call.outcome, call.args
    told = call.completed_ns is not None and outcome is not None and call.effect != "unknown"
    if call.effect == "none" and not told:
        return None
    if call.op is Verb.GET and (not told or call.stale_ms is not None):
        return None
    expects = 0 if call.op is Verb.PUT_IF_ABSENT else args.version
    seen = outcome.value if told and outcome else None
    version = outcome.version if told and outcome else None
    failed = bool(told and outcome and outcome.failed)
    done = call.effect == "done" and call.completed_ns is not None and expects is None
    writes = call.op is not Verb.GET and not failed
    return Step(
        verb=call.op,
        value=None if args.value is None else args.value.encode("latin-1"),
        by=args.by or 0,
        expects=expects,
        failed=failed,
        known=told or done,
        seen=None if seen is None else seen.encode("latin-1"),
        found=outcome.found if told and outcome else None,
        version=version,
        writes=writes,
        sharpens=(version is not None and not writes)
        or bool(expects)
        or (call.op is Verb.INCREMENT and writes and seen is None),
    )


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


def may_leave(step: Step, value: bytes | None) -> bool:
    """Whether there is a state in which the step leaves this value."""
    if step.verb is Verb.INCREMENT:
        return value is not None and _integer(value) is not None
    return step.value == value


def _written(value: bytes | None, version: int | None, state: State) -> State | None:
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
    value = b"%d" % (number + step.by)
    return None if step.seen is not None and step.seen != value else _written(value, step.version, state)


def _integer(value: bytes | None) -> int | None:
    """The number that increment would find in `value`: no row counts as 0."""
    if value is None:
        return 0
    if not _INTEGER.fullmatch(value):
        return None
    number = int(value)
    return number if _INT64_MIN <= number <= _INT64_MAX else None
