"""Reads that accepted a stale answer (r=any) of whichever replica, against what the answers said of their age.

Such a read shows the row as it was at some moment no further back than `stale_ms` before the read began (by a clock
that is off by `drift` at most, in whole milliseconds). So it is as new as everything known before that moment: what was
acknowledged, and what any read had shown, at any replica. That is also why it never goes backwards by more than it
says. And it shows only what was written: a version of a key has one value, and where all values were put, one that
nobody had asked for by then, or that was refused, is never seen.

Newer and older are told by versions, which rise from write to write. A read that found no row is judged where no
delete can be the reason.
"""

import math
from collections.abc import Iterable

from zkv.checkers.history import Call, Outcome, Verb, by_key, ended_ns
from zkv.checkers.timeline import Running
from zkv.checkers.verdict import Evidence, Status, Verdict, verdict

CHECKER = "reads of any replica"
_MS = 1_000_000


def check(calls: Iterable[Call], *, drift: float = 0.0, jump_ms: int = 0) -> Verdict:
    """Judge every stale read in a history.

    `drift` 0.01: two clocks differ by up to 10 ms in a second. `jump_ms`: and one may jump by so much at a time.

    UNKNOWN: a read told a value without its version.
    """
    stale: dict[str, list[Call]] = {}
    findings: list[Evidence] = []
    for key, mine in by_key(calls).items():
        reads = [call for call in mine if call.op is Verb.GET and call.stale_ms is not None and call.effect == "done"]
        if not reads:
            continue
        stale[key] = reads
        found = (
            _never_written(key, mine, reads) or _too_old(key, mine, reads, drift, jump_ms) or _unversioned(key, reads)
        )
        if found is not None:
            findings.append(found)
    return verdict(CHECKER, stale, findings)


def _outcome(call: Call) -> Outcome:
    """What the client was told, or an outcome that tells nothing."""
    return call.outcome if call.outcome is not None and call.effect != "unknown" else Outcome()


def _too_old(key: str, calls: list[Call], reads: list[Call], drift: float, jump_ms: int) -> Evidence | None:
    """A read that is older than it says, whatever showed what it should have seen."""
    newest = Running(((ended_ns(call), _outcome(call).version or 0) for call in calls), max, 0)
    deletes = [call for call in calls if call.op is Verb.DELETE and call.effect != "none"]
    deleted = Running(((call.invoked_ns, _outcome(call).version or math.inf) for call in deletes), max, 0)
    for read in reads:
        as_of_ns = read.invoked_ns - int(((read.stale_ms or 0) + 1 + jump_ms) * (1 + drift) * _MS)
        due = newest.before(as_of_ns)
        seen: float | None = _outcome(read).version
        if _outcome(read).found is False:
            seen = deleted.before(ended_ns(read) + 1)
        if seen is None or seen >= due:
            continue
        known = next(call for call in calls if _outcome(call).version == due and ended_ns(call) < as_of_ns)
        ago_ms = (read.invoked_ns - ended_ns(known)) / _MS
        what = f"a read says it is {read.stale_ms} ms old at most; version {due} was known {ago_ms:.1f} ms before it"
        return Evidence(key, Status.VIOLATION, what, (known, read))
    return None


def _never_written(key: str, calls: list[Call], reads: list[Call]) -> Evidence | None:
    """A read of a version with another value than it has, or of a value that cannot have been written."""
    values: dict[int, Call] = {}
    for call in calls:
        if _left(call) is None or not _outcome(call).version:
            continue
        same = values.setdefault(_outcome(call).version or 0, call)
        if _left(same) != _left(call) and (call.stale_ms is not None or same.stale_ms is not None):
            return Evidence(key, Status.VIOLATION, "two values of one version", (same, call))
    if any(call.op is Verb.INCREMENT for call in calls):
        return None
    begun: dict[str | None, int] = {}
    for call in calls:
        if call.args.value is not None and call.effect != "none":
            begun[call.args.value] = min(call.invoked_ns, begun.get(call.args.value, call.invoked_ns))
    for read in reads:
        if _outcome(read).found and begun.get(_outcome(read).value, math.inf) > ended_ns(read):
            return Evidence(key, Status.VIOLATION, "a value that nobody had written", (read,))
    return None


def _left(call: Call) -> str | None:
    """The value that the row had after the call, as far as it tells; None: it does not."""
    outcome = _outcome(call)
    if call.op is Verb.DELETE or outcome.failed:
        return None
    return outcome.value if call.op in (Verb.GET, Verb.INCREMENT) else call.args.value


def _unversioned(key: str, reads: list[Call]) -> Evidence | None:
    bare = [read for read in reads if _outcome(read).found and _outcome(read).version is None]
    if not bare:
        return None
    return Evidence(key, Status.UNKNOWN, f"{len(bare)} reads told no version", (bare[0],))
