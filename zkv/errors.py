"""Every error that a user of zkv can meet.

Two kinds of wrong are kept apart: a caller, a peer or the day may be wrong (a `ZkvError`, typed, counted, never a
crash); zkv may be wrong (an assertion: the process stops).
"""

from typing import Literal

Effect = Literal["none", "done", "unknown"]

_EFFECT_WORDS: dict[Effect, str] = {
    "none": "nothing was written",
    "done": "the write took effect",
    "unknown": "the write may or may not have taken effect",
}


class ZkvError(Exception):
    """Base of all errors of zkv.

    `effect` says whether a write took effect: "none", "done" or "unknown" (reads are always "none").
    `advice` says what to do next. `results` is set where a batch failed in part: key -> result or ZkvError.
    """

    advice = "see `zkv status`"

    def __init__(self, what: str, *, effect: Effect = "none", advice: str | None = None) -> None:
        self.what = what
        self.effect: Effect = effect
        if advice is not None:
            self.advice = advice
        self.results: dict[bytes, object] = {}
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.what}; {_EFFECT_WORDS[self.effect]}; {self.advice}"


class Unavailable(ZkvError):
    """No node that could serve the request answered, or the shard has no leader."""

    advice = "check `zkv status` and try again"


class Timeout(ZkvError):
    """The deadline passed before an answer came."""

    advice = "read the key to see, or repeat an idempotent request"


class ConditionFailed(ZkvError):
    """if_version or if_absent did not hold, or the value is not what the operation needs.

    `version` is the row's version when the operation was applied, or None where there was no row.
    """

    advice = "read the entry and decide again"

    def __init__(self, what: str, *, version: int | None = None) -> None:
        super().__init__(what)
        self.version = version


class TooLarge(ZkvError):
    """A key, value or batch is beyond its limit (`zkv.limits`)."""

    advice = "send less at once"


class NoSuchTable(ZkvError):
    """The table does not exist."""

    advice = "create it with `zkv table create NAME`, or see `zkv tables`"


class TableExists(ZkvError):
    """A table of that name exists with other settings, or was made by somebody else."""

    advice = "choose another name, or see `zkv table show NAME`"


class NotPossible(ZkvError):
    """The cluster cannot be changed like that as it stands now."""

    advice = "see `zkv nodes` and `zkv operators`"


class Overloaded(ZkvError):
    """The node has as much unanswered work as it takes, or no room on its disk. `retry_ms` is its hint."""

    advice = "slow down and try again"

    def __init__(self, what: str, *, effect: Effect = "none", retry_ms: int = 100) -> None:
        super().__init__(what, effect=effect)
        self.retry_ms = retry_ms


class ProtocolError(ZkvError):
    """The other side speaks another version, belongs to another cluster, or sent what cannot be understood."""

    advice = "check the address and the versions of both sides"


class InvalidRequest(ZkvError):
    """The call itself cannot be right: a wrong type, name or combination of options."""

    advice = "correct the call"


class StorageError(ZkvError):
    """A process cannot use its data folder: damaged, locked, foreign, or a failed flush."""

    advice = "see docs/operations.md"

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}"  # it answers no request, so no effect is in question


class StartError(ZkvError):
    """A process cannot start: a port is taken, an address is wrong, a setting contradicts another."""

    advice = "correct the setting and start again"

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}"  # as above


class BadFrame(Exception):
    """Bytes from the network that are no frame of ours. Counted and dropped, never answered."""
