"""What a run's history says in numbers: outcomes, what was lost or done twice, and how long writes stood still."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from zkv.chaos.story import Span
from zkv.checkers.history import Call, Verb, ended_ns

FINAL = "final"  # the client of the reads that come after everything

_READS = (Verb.GET, Verb.MEMBERS)
_TRIES_APART_NS = 500_000_000  # a write that comes so soon after one that failed is taken for another try


def was_answered(call: Call) -> bool:
    """Whether its client knows that it was carried out, or that its condition did not hold."""
    return call.effect == "done" or (call.outcome is not None and call.outcome.failed)


def is_write(call: Call) -> bool:
    """Whether it goes through the log."""
    return call.op not in _READS


def outcomes(calls: Iterable[Call]) -> dict[str, dict[str, int]]:
    """How often each kind of operation ended how; the final reads are not counted."""
    counts: dict[str, dict[str, int]] = {}
    for call in calls:
        if call.client == FINAL:
            continue
        ended: str = "condition failed" if call.outcome is not None and call.outcome.failed else call.effect
        if call.op is Verb.GET and call.effect != "done":
            ended = "no answer"  # a read has no effect to be unsure of
        kind = counts.setdefault(call.op.value, {})
        kind[ended] = kind.get(ended, 0) + 1
    return counts


def lost(calls: Sequence[Call]) -> int:
    """Acknowledged additions to sets and counters that the final reads do not show."""
    members = {call.key: set(call.outcome.members or ()) for call in _final(calls, Verb.MEMBERS) if call.outcome}
    missing = sum(
        call.args.value not in members[call.key]
        for call in calls
        if call.op is Verb.ADD and call.effect == "done" and call.key in members
    )
    return missing + sum(max(0, acknowledged - value) for value, acknowledged, _ in _counters(calls))


def doubled(calls: Sequence[Call]) -> int:
    """By how much counters show more in the end than was ever attempted."""
    return sum(max(0, value - attempted) for value, _, attempted in _counters(calls))


def unread(calls: Sequence[Call]) -> int:
    """Keys that were written and that no final read has shown."""
    seen = {call.key for call in calls if call.client == FINAL and call.effect == "done"}
    return len({call.key for call in calls if is_write(call)} - seen)


def longest_pauses(
    calls: Iterable[Call], spans: Sequence[Span], shard_of: Callable[[Call], int]
) -> tuple[dict[str, int], int]:
    """The longest time in which some shard answered no write although one was wanted, in nanoseconds.

    By kind of fault, and without any. A pause counts for every fault during which it began, lasted or ended; the time
    until the cluster is whole again belongs to the fault. Each shard is judged alone: that another one is written to
    is no comfort.
    """
    writes: dict[int, list[Call]] = {}
    for call in calls:
        if is_write(call):
            writes.setdefault(shard_of(call), []).append(call)
    ordered = sorted(spans, key=lambda span: span.begun_ns)
    ends = [span.end_ns for span in ordered]
    longest = dict.fromkeys((span.kind for span in spans), 0)
    quiet = 0
    for mine in writes.values():
        for begun, ended in pauses(mine):
            first = bisect_left(ends, begun)  # spans do not overlap, so their ends are in order too
            met = [span.kind for span in ordered[first:] if span.begun_ns <= ended]
            for kind in met:
                longest[kind] = max(longest[kind], ended - begun)
            if not met:
                quiet = max(quiet, ended - begun)
    return longest, quiet


def pauses(writes: Sequence[Call]) -> Iterator[tuple[int, int]]:
    """From when to when somebody wanted to write to one shard and no write was answered.

    Somebody wants to while a write is under way, and also between one that failed and the next one soon after.
    """
    under_way, since, gave_up_ns = 0, 0, 0  # 0: the last one that ended was answered
    for moment, change, answered in sorted(mark for call in writes for mark in _marks(call)):
        if change > 0 and not under_way and moment > gave_up_ns + _TRIES_APART_NS * bool(gave_up_ns):
            if gave_up_ns:
                yield since, gave_up_ns
            since = moment
        under_way += change
        if answered:
            yield since, moment
            since = moment
        if not under_way:
            gave_up_ns = 0 if answered else moment
    if gave_up_ns:
        yield since, gave_up_ns


def _marks(call: Call) -> list[tuple[int, int, bool]]:
    """When a write begins and ends: the moment, by how much it changes what is under way, whether it was answered."""
    return [(call.invoked_ns, 1, False), (ended_ns(call), -1, was_answered(call))]


def _final(calls: Iterable[Call], verb: Verb) -> list[Call]:
    return [call for call in calls if call.client == FINAL and call.op is verb and call.effect == "done"]


def _counters(calls: Sequence[Call]) -> list[tuple[int, int, int]]:
    """Of each counter: what it holds in the end, what was acknowledged, what was attempted."""
    sums: dict[str, list[int]] = {}
    for call in calls:
        if call.op is Verb.INCREMENT:
            known = sums.setdefault(call.key, [0, 0])
            by = call.args.by or 0
            known[0] += by if call.effect == "done" else 0
            known[1] += by if call.effect != "none" else 0
    final = [call for call in _final(calls, Verb.GET) if call.key in sums]
    held = {call.key: int(call.outcome.value or 0) for call in final if call.outcome is not None}
    return [(held[key], acknowledged, attempted) for key, (acknowledged, attempted) in sums.items() if key in held]
