"""Histories of a register that is read at replicas that lag."""

import random

from zkv.checkers.history import Args, Call, Outcome, Verb

MS = 1_000_000


def put(start_ms: float, end_ms: float | None, value: str, version: int | None, effect: str = "done") -> Call:
    outcome = None if version is None else Outcome(version)
    end = None if end_ms is None else int(end_ms * MS)
    return Call("w", "k", Verb.PUT, Args(value), int(start_ms * MS), end, outcome, effect)


def delete(start_ms: float, end_ms: float | None, version: int | None) -> Call:
    outcome = None if version is None else Outcome(version, found=True)
    effect = "unknown" if version is None else "done"
    end = None if end_ms is None else int(end_ms * MS)
    return Call("w", "k", Verb.DELETE, Args(), int(start_ms * MS), end, outcome, effect)


def get(start_ms: float, value: str | None, version: int, stale_ms: int | None) -> Call:
    outcome = Outcome(version, value, value is not None)
    return Call("r", "k", Verb.GET, Args(), int(start_ms * MS), int((start_ms + 1) * MS), outcome, "done", stale_ms)


def lagging(chance: random.Random, *, lie_ms: int) -> list[Call]:
    """Writers, and replicas that lag by up to 50 ms and say so; each says `lie_ms` less than it is."""
    states: list[tuple[float, str | None, int]] = [(-1.0, None, 0)]  # since when, value, version
    calls = []
    for number in range(1, 300):
        at = number + chance.random()
        start, end = at - chance.random() * 3, at + chance.random() * 3
        if chance.random() < 0.1:
            states.append((at, None, number))
            calls.append(delete(start, end, number) if chance.random() < 0.9 else delete(start, None, None))
            continue
        states.append((at, f"v{number}", number))
        told = chance.random() < 0.8
        calls.append(put(start, end, f"v{number}", number if told else None, "done" if told else "unknown"))
    for number in range(300):
        start = number + chance.random()
        lag_ms = chance.randrange(51)
        _, value, version = (
            [state for state in states if state[0] <= start - lag_ms][-1] if start > lag_ms else states[0]
        )
        version = version if value is not None else 0
        calls.append(get(start, value, version, max(0, lag_ms - lie_ms)))
    return calls
