"""How a run ended. It passes only if everything was checked and nothing is wrong; what is unknown is no pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from zkv.chaos import figures
from zkv.chaos.story import Span
from zkv.checkers import linear
from zkv.checkers.history import Call
from zkv.checkers.judgement import judge
from zkv.checkers.verdict import Status

Answer = Literal["yes", "no", "unknown"]

_DRIFT = 0.01  # between the clocks of one machine's processes: none, but they round
_ANSWERS: dict[Status, Answer] = {Status.PASSED: "yes", Status.VIOLATION: "no", Status.UNKNOWN: "unknown"}
_MS = 1_000_000


class FaultFigures(msgspec.Struct, frozen=True):
    """One kind of fault. `whole_after_ms`: the longest from its end until every replica was level again."""

    kind: str
    times: int
    longest_pause_ms: int
    whole_after_ms: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Of a run. `checks`: each checker's answer; `failures`: what went wrong, in sentences; none where it passed."""

    passed: bool
    seed: int
    seconds: float
    folder: str
    timeline: str
    skipped: Mapping[str, str]
    operations: dict[str, dict[str, int]]
    faults: list[FaultFigures]
    quiet_pause_ms: int
    lost: int
    doubled: int
    linearizable: Answer
    checks: dict[str, str]
    failures: list[str]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run knows of itself. `skipped`: kinds of faults that were not possible, and why."""

    seed: int
    seconds: float
    folder: Path
    skipped: Mapping[str, str]
    spans: Sequence[Span]
    failures: Sequence[str]

    @property
    def timeline(self) -> Path:
        """The picture."""
        return self.folder / "timeline.png"


def reach(calls: Sequence[Call], ran: Ran, shard_of: Callable[[Call], int]) -> Verdict:
    """Judge a history, with what else is known to have failed."""
    verdicts = judge(calls, drift=_DRIFT)
    lost, doubled, unread = figures.lost(calls), figures.doubled(calls), figures.unread(calls)
    found = [*ran.failures, *(str(one) for one in verdicts if one.status is not Status.PASSED)]
    found += [f"{lost} acknowledged writes are lost"] if lost else []
    found += [f"{doubled} effects are doubled"] if doubled else []
    found += [f"{unread} keys were not read in the end"] if unread else []
    found += (
        [] if any(figures.is_write(call) and figures.was_answered(call) for call in calls) else ["nothing was written"]
    )
    pauses, quiet = figures.longest_pauses(calls, ran.spans, shard_of)
    by_checker = {one.checker: one.status for one in verdicts}
    return Verdict(
        passed=not found,
        seed=ran.seed,
        seconds=round(ran.seconds, 1),
        folder=str(ran.folder),
        timeline=str(ran.timeline),
        skipped=ran.skipped,
        operations=figures.outcomes(calls),
        faults=[_figures(kind, ran.spans, pause) for kind, pause in sorted(pauses.items())],
        quiet_pause_ms=quiet // _MS,
        lost=lost,
        doubled=doubled,
        linearizable=_ANSWERS[by_checker[linear.CHECKER]],
        checks={checker: status.value for checker, status in by_checker.items()},
        failures=found,
    )


def _figures(kind: str, spans: Sequence[Span], pause_ns: int) -> FaultFigures:
    mine = [span for span in spans if span.kind == kind]
    whole_after_ns = max(max(0, span.whole_ns - span.undone_ns) for span in mine)
    return FaultFigures(kind, len(mine), pause_ns // _MS, whole_after_ns // _MS)
