"""A set that only grows (`Verb.ADD`, `Verb.MEMBERS`), judged in time and memory that grow with the history alone.

An element whose add was acknowledged, or that a read has shown, is in every read that begins later. One whose add has
an unknown outcome may appear or not. Nothing appears that was not asked for before the read ended, or that was
refused; nothing appears twice. How the set is kept is all the same, a row for each element under a prefix or one row:
a scan is no snapshot, yet it must find what was there before it began.

Not verified here: that concurrent reads agree on one order of the adds.
"""

from collections.abc import Iterable

from zkv.checkers.history import Call, Verb, by_key, ended_ns
from zkv.checkers.timeline import Timeline
from zkv.checkers.verdict import Evidence, Status, Verdict, verdict

CHECKER = "a set that only grows"
_NAMED_MAX = 5


def check(calls: Iterable[Call]) -> Verdict:
    """Judge every set in a history. Each must have been empty before it.

    UNKNOWN: elements were acknowledged and no read began after that, so nobody looked whether they are there.
    """
    sets = by_key(call for call in calls if call.op in (Verb.ADD, Verb.MEMBERS))
    findings = [found for key, mine in sets.items() if (found := _judge(key, mine)) is not None]
    return verdict(CHECKER, sets, findings)


def _judge(key: str, calls: list[Call]) -> Evidence | None:
    adds = [call for call in calls if call.op is Verb.ADD]
    reads = [(call, _members(call)) for call in calls if call.op is Verb.MEMBERS and call.effect == "done"]
    return _repeated(key, reads) or _unasked(key, adds, reads) or _missing(key, adds, reads)


def _members(read: Call) -> tuple[str, ...]:
    assert read.outcome is not None
    assert read.outcome.members is not None, f"a read that tells no members: {read}"
    return read.outcome.members


_Read = tuple[Call, tuple[str, ...]]


def _repeated(key: str, reads: list[_Read]) -> Evidence | None:
    for read, members in reads:
        if len(set(members)) < len(members):
            twice = {one for one in members if members.count(one) > 1}
            return Evidence(key, Status.VIOLATION, f"more than once in one read: {_some(twice)}", (read,))
    return None


def _unasked(key: str, adds: list[Call], reads: list[_Read]) -> Evidence | None:
    """A read that shows what nobody had asked for by its end."""
    begun = Timeline((call.invoked_ns, call.args.value) for call in adds if call.effect != "none")
    asked: set[str | None] = set()
    for read, members in sorted(reads, key=lambda one: ended_ns(one[0])):
        asked.update(begun.before(ended_ns(read) + 1))
        strange = set(members) - asked
        if strange:
            return Evidence(key, Status.VIOLATION, f"read, but never added: {_some(strange)}", (read,))
    return None


def _missing(key: str, adds: list[Call], reads: list[_Read]) -> Evidence | None:
    """A read that lacks what was acknowledged, or shown by another read, before it began."""
    facts = [(ended_ns(call), (call, (call.args.value or "",))) for call in adds if call.effect == "done"]
    known = Timeline([*facts, *((ended_ns(read), (read, members)) for read, members in reads)])
    due: dict[str, Call] = {}
    for read, members in sorted(reads, key=lambda one: one[0].invoked_ns):
        if read.stale_ms is not None:
            continue
        for shown_by, elements in known.before(read.invoked_ns):
            due.update((element, shown_by) for element in elements if element not in due)
        lost = due.keys() - set(members)
        if lost:
            return Evidence(key, Status.VIOLATION, f"not in a later read: {_some(lost)}", (due[min(lost)], read))
    unseen = [call for call, _ in known.rest() if call.op is Verb.ADD]
    if not unseen:
        return None
    return Evidence(key, Status.UNKNOWN, f"{len(unseen)} acknowledged elements that no read was to show", (unseen[0],))


def _some(elements: set[str]) -> str:
    named = ", ".join(map(repr, sorted(elements)[:_NAMED_MAX]))
    return named if len(elements) <= _NAMED_MAX else f"{named} and {len(elements) - _NAMED_MAX} more"
