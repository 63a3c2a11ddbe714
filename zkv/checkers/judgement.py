"""Everything that can be asked of one history, asked."""

from collections.abc import Sequence

from zkv.checkers import counter, growing_set, linear, stale_reads
from zkv.checkers.history import Call
from zkv.checkers.verdict import Verdict


def judge(calls: Sequence[Call], *, drift: float = 0.0, jump_ms: int = 0) -> tuple[Verdict, ...]:
    """The verdict of each checker.

    `drift`: by how much clocks may differ, as a share of the time that passes; `jump_ms`: and by how much one may jump.
    """
    return (
        linear.check(calls),
        growing_set.check(calls),
        counter.check(calls),
        stale_reads.check(calls, drift=drift, jump_ms=jump_ms),
    )
