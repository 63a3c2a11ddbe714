"""Histories of a set that only grows."""

import random

from zkv.checkers.history import Args, Call, Outcome, Verb


def add(element: str, start: int, end: int | None, effect: str = "done") -> Call:
    """An element is added."""
    return Call("w", "s", Verb.ADD, Args(element), start, end, None, effect)


def members(start: int, end: int, *elements: str, stale_ms: int | None = None) -> Call:
    """The elements are read."""
    return Call("r", "s", Verb.MEMBERS, Args(), start, end, Outcome(members=elements), "done", stale_ms)


def busy_set(chance: random.Random) -> list[Call]:
    """A right history: adds and reads take effect at one moment each, a fifth of the adds are never answered."""
    moments: list[tuple[int, int, int, str | None]] = []
    for number in range(200):
        at = chance.randrange(10_000)
        moments.append((at, at - chance.randrange(1, 300), at + chance.randrange(1, 300), f"e{number}"))
    moments += [
        (at, at - chance.randrange(1, 300), at + chance.randrange(1, 300), None) for at in range(0, 11_000, 500)
    ]
    present: list[str] = []
    calls = []
    for _, start, end, element in sorted(moments):
        if element is None:
            calls.append(members(start, end, *present))
            continue
        lost = chance.random() < 0.2
        if not lost or chance.random() < 0.5:
            present.append(element)
        calls.append(add(element, start, None if lost else end, "unknown" if lost else "done"))
    return calls


def without_element(history: list[Call], element: str) -> list[Call]:
    """The same, where no read shows it."""
    return [
        members(call.invoked_ns, call.completed_ns or 0, *set(call.outcome.members or ()) - {element})
        if call.op is Verb.MEMBERS and call.outcome is not None
        else call
        for call in history
    ]
