"""What clients saw: one line of JSON for each operation on one key, from the simulator and from real processes alike.

    {"client":"c1","key":"k3","op":"put","args":{"value":"x"},"invoked_ns":17,"completed_ns":91,
     "outcome":{"version":7},"effect":"done"}

Keys and values are bytes, written as Latin-1 text so that a line can be read. Times come from one clock for all
clients of a history. A batch is a line for each of its keys; an operation that is retried is still one line.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Literal

import msgspec

from zkv.errors import Effect

ENDLESS_NS = 1 << 62


class Verb(StrEnum):
    """What was asked."""

    PUT = "put"
    GET = "get"
    DELETE = "delete"  # args.version: only if the row has it
    PUT_IF_VERSION = "put_if_version"
    PUT_IF_ABSENT = "put_if_absent"
    INCREMENT = "increment"
    ADD = "add"  # args.value, to the set `key`; how the set is kept is not the history's concern
    MEMBERS = "members"  # all elements of the set `key`


class Args(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operation was given."""

    value: str | None = None
    by: int | None = None
    version: int | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the client was told; None: it was not told.

    `version`: of the row as it was left or found (0: no row); with `failed`, of the row that refused the condition.
    `value`: what a get found (with `found`) or an increment made. `found`: whether there was a row, of get and delete.
    `members`: the set's elements.
    """

    version: int | None = None
    value: str | None = None
    found: bool | None = None
    failed: bool = False
    members: tuple[str, ...] | None = None


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation. Without `completed_ns`, or with an unknown effect, it may take effect at any time after its start.

    `effect` "done" without `outcome`: it is known to have been applied, not with what result.
    `stale_ms` of a get that asked for any replica: what the answer said; such a get is not linearizable.
    """

    client: str
    key: str
    op: Verb
    args: Args
    invoked_ns: int
    completed_ns: int | None = None
    outcome: Outcome | None = None
    effect: Effect = "unknown"
    stale_ms: int | None = None


def ended_ns(call: Call) -> int:
    """When the client was answered; far behind everything if it was not."""
    return ENDLESS_NS if call.completed_ns is None else call.completed_ns


def by_key(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """The history of each key."""
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(call.key, []).append(call)
    return found


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Call)

Token = int


def text(data: bytes) -> str:
    """Bytes as a line of a history holds them."""
    return data.decode("latin-1")


class Recorder:
    """Collects the calls of one run. Every call that was begun is in the history, ended or not."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def invoke(self, client: str, key: bytes, op: Verb, args: Args, now_ns: int) -> Token:
        """An operation begins, before anything of it is sent. Returns what to end it with."""
        self._calls.append(Call(client, text(key), op, args, now_ns))
        return len(self._calls) - 1

    def complete(
        self,
        token: Token,
        now_ns: int,
        *,
        outcome: Outcome | None,
        effect: Literal["none", "done", "unknown"],
        stale_ms: int | None = None,
    ) -> None:
        """The client has its result, or its error."""
        call = self._calls[token]
        assert call.completed_ns is None, f"ended twice: {call}"
        self._calls[token] = msgspec.structs.replace(
            call, completed_ns=now_ns, outcome=outcome, effect=effect, stale_ms=stale_ms
        )

    @property
    def calls(self) -> list[Call]:
        """All calls so far, in the order in which they began."""
        return self._calls

    def pending(self) -> int:
        """How many calls have not ended."""
        return sum(call.completed_ns is None for call in self._calls)


def to_lines(calls: Iterable[Call]) -> Iterator[bytes]:
    """The history's file, line by line."""
    for call in calls:
        yield _encoder.encode(call) + b"\n"


def from_lines(lines: Iterable[bytes]) -> list[Call]:
    """The calls of a history's file, or of several put together. Raises ValueError for a line that is no call."""
    return [_decoder.decode(line) for line in lines if line.strip()]
