"""What every checker answers: passed, violation or unknown, with the evidence as text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from zkv.checkers.history import Call


class Status(Enum):
    """UNKNOWN (out of budget, or nothing to judge by) is not a pass."""

    PASSED = "passed"
    VIOLATION = "violation"
    UNKNOWN = "unknown"


class Finding(Protocol):
    """A key that did not pass. Its text is the evidence."""

    @property
    def key(self) -> str:
        """Of the history."""

    @property
    def status(self) -> Status:
        """VIOLATION or UNKNOWN."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is wrong with a key, or why nothing can be said of it, and the calls that show it."""

    key: str
    status: Status
    what: str
    shown_by: tuple[Call, ...] = ()

    def __str__(self) -> str:
        calls = "".join(f"\n    {call}" for call in self.shown_by)
        return f"{self.status.value}: key {self.key!r}: {self.what}{calls}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One checker's, of a whole history. `calls` and `keys` are those that it judged."""

    checker: str
    status: Status
    calls: int
    keys: int
    findings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        head = f"{self.checker}: {self.status.value}: {self.calls} operations on {self.keys} keys"
        return "\n  ".join([head, *map(str, self.findings)])


def verdict(checker: str, by_key: dict[str, list[Call]], findings: Sequence[Finding]) -> Verdict:
    """Of the keys that were judged, and what was found."""
    status = worst(found.status for found in findings)
    return Verdict(checker, status, sum(map(len, by_key.values())), len(by_key), tuple(findings))


def worst(statuses: Iterable[Status]) -> Status:
    """A violation outweighs what is unknown, and that outweighs a pass."""
    met = set(statuses)
    return next((status for status in (Status.VIOLATION, Status.UNKNOWN) if status in met), Status.PASSED)
