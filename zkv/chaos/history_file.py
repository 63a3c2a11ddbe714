"""A history that one process writes while it goes on: a line for each operation, once it has ended."""

import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from zkv.checkers.history import Args, Call, Outcome, Verb, text, to_lines
from zkv.core.routing.operations import Receipt
from zkv.errors import ConditionFailed, Effect, ZkvError
from zkv.sim.client import outcome_of


def now_ns() -> int:
    """The clock of all histories: one for all processes of a machine, and it never falls."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class Begun(NamedTuple):
    """An operation that was begun at `at_ns`."""

    client: str
    key: bytes
    verb: Verb
    args: Args
    at_ns: int


class HistoryFile:
    """Owned by one thread. What is begun and never ended is written by `close`, as of unknown outcome."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=1 << 16)
        self._open: dict[int, Begun] = {}
        self._next = 0

    def begin(self, client: str, key: bytes, verb: Verb, args: Args) -> int:
        """An operation begins, before anything of it is sent. Returns what to end it with."""
        self._next += 1
        self._open[self._next] = Begun(client, key, verb, args, now_ns())
        return self._next

    def end(self, token: int, result: Receipt[object] | Outcome | ZkvError, *, stale: bool = False) -> None:
        """The client has its result or its error. `stale`: it had asked for any replica."""
        ended_ns = now_ns()
        begun = self._open.pop(token)
        outcome: Outcome | None = None
        effect: Effect = "done"
        stale_ms: int | None = None
        if isinstance(result, ConditionFailed):
            outcome, effect = Outcome(result.version or 0, failed=True), "none"
        elif isinstance(result, ZkvError):
            effect = result.effect
        elif isinstance(result, Receipt):
            outcome = outcome_of(begun.verb, result)
            stale_ms = result.stale_ms if stale and result.stale_ms >= 0 else None
        else:
            outcome = result
        self._write(begun, ended_ns, outcome, effect, stale_ms)

    def _write(
        self, begun: Begun, ended_ns: int | None, outcome: Outcome | None, effect: Effect, stale_ms: int | None
    ) -> None:
        client, key, verb, args, at_ns = begun
        call = Call(client, text(key), verb, args, at_ns, ended_ns, outcome, effect, stale_ms)
        self._file.writelines(to_lines([call]))

    def close(self) -> None:
        """Write what never ended, and the file."""
        for begun in self._open.values():
            self._write(begun, None, None, "unknown", None)
        self._open.clear()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
