"""A counter: what is acknowledged <= what is read <= what was attempted.

Judged are the keys that were only incremented and read. A read, or an increment that tells its sum, must show at
least what was acknowledged before it began (and itself), at most what had been asked for when it ended; increments
below zero widen the bounds by what may or may not be in it. Where all increments are above zero the value never falls
from one read to a later one, and no two increments make the same sum.

It finds less than `linear`, and never runs out of steps, however many outcomes are unknown.
"""

from collections.abc import Iterable
from operator import add

from zkv.checkers.history import Call, Verb, by_key, ended_ns
from zkv.checkers.timeline import Running
from zkv.checkers.verdict import Evidence, Status, Verdict, verdict

CHECKER = "counters"

_Seen = tuple[Call, int]


def check(calls: Iterable[Call]) -> Verdict:
    """Judge every counter in a history. Each must have had no row before it.

    UNKNOWN: increments were acknowledged without their sum, and nobody looked after that.
    """
    counters = {
        key: mine
        for key, mine in by_key(calls).items()
        if {call.op for call in mine} <= {Verb.INCREMENT, Verb.GET} and any(call.op is Verb.INCREMENT for call in mine)
    }
    findings = [found for key, mine in counters.items() if (found := _judge(key, mine)) is not None]
    return verdict(CHECKER, counters, findings)


def _judge(key: str, calls: list[Call]) -> Evidence | None:
    seen: list[_Seen] = []
    for call in calls:
        value = _value(call)
        if value is None:
            continue
        if not value.lstrip("-").isdecimal():
            return Evidence(key, Status.VIOLATION, "a counter that is no number", (call,))
        seen.append((call, int(value)))
    increments = [call for call in calls if call.op is Verb.INCREMENT and call.effect != "none"]
    found = _out_of_bounds(key, increments, seen)
    if found is None and all(_by(call) > 0 for call in increments):
        found = _same_sum(key, seen) or _falls(key, seen)
    return found or _unseen(key, increments, seen)


def _value(call: Call) -> str | None:
    """What a linearizable call showed; None: nothing."""
    if call.effect != "done" or call.outcome is None or call.stale_ms is not None:
        return None
    return "0" if call.outcome.found is False else call.outcome.value


def _by(call: Call) -> int:
    return call.args.by or 0


def _out_of_bounds(key: str, increments: list[Call], seen: list[_Seen]) -> Evidence | None:
    """A read below what was acknowledged, or above what was attempted."""
    done = [call for call in increments if call.effect == "done"]
    up_done = Running(((ended_ns(call), max(0, _by(call))) for call in done), add, 0)
    down_done = Running(((ended_ns(call), min(0, _by(call))) for call in done), add, 0)
    up_asked = Running(((call.invoked_ns, max(0, _by(call))) for call in increments), add, 0)
    down_asked = Running(((call.invoked_ns, min(0, _by(call))) for call in increments), add, 0)
    for call, value in seen:
        own = _by(call)
        began, over = call.invoked_ns, ended_ns(call) + 1
        least = up_done.before(began) + max(0, own) + down_asked.before(over)
        most = up_asked.before(over) + down_done.before(began) + min(0, own)
        if not least <= value <= most:
            what = f"{value} was read; at least {least} was acknowledged before, at most {most} attempted by then"
            return Evidence(key, Status.VIOLATION, what, (call,))
    return None


def _same_sum(key: str, seen: list[_Seen]) -> Evidence | None:
    made: dict[int, Call] = {}
    for call, value in seen:
        if call.op is Verb.INCREMENT and made.setdefault(value, call) is not call:
            return Evidence(key, Status.VIOLATION, f"two increments made {value}", (made[value], call))
    return None


def _falls(key: str, seen: list[_Seen]) -> Evidence | None:
    """A value smaller than one that was read before it began."""
    highest = Running(((ended_ns(call), value) for call, value in seen), max, 0)
    for call, value in seen:
        before = highest.before(call.invoked_ns)
        if value < before:
            earlier = next(one for one, was in seen if was == before and ended_ns(one) < call.invoked_ns)
            return Evidence(key, Status.VIOLATION, f"it fell from {before} to {value}", (earlier, call))
    return None


def _unseen(key: str, increments: list[Call], seen: list[_Seen]) -> Evidence | None:
    """Acknowledged increments of which no sum was told, and no read told later."""
    last = max((call.invoked_ns for call, _ in seen), default=-1)
    unseen = [call for call in increments if call.effect == "done" and _value(call) is None and ended_ns(call) >= last]
    if not unseen:
        return None
    what = f"{len(unseen)} acknowledged increments that no read was to show"
    return Evidence(key, Status.UNKNOWN, what, (unseen[0],))
