"""Somebody who reads and writes all the time, as an application would, and keeps what each request took."""

import random
import threading
import time
from types import TracebackType
from typing import NamedTuple, Self

import zkv
from zkv.errors import ZkvError

COUNTER = b"tour:visits"
_PAUSE_S = 0.002  # the visitor asks some hundred times a second, and leaves the machine to what it watches


class Visit(NamedTuple):
    """One request: when it ended, how long it took (seconds both), and whether it was answered."""

    at: float
    took: float
    answered: bool


class Visitor:
    """A thread that gets, puts and increments until it is left. The values that it puts are those that were there."""

    def __init__(self, client: zkv.Client, table: str, rows: dict[bytes, bytes], began: float) -> None:
        self.visits: list[Visit] = []
        self.wrong: list[bytes] = []  # keys that were read with another value than was put
        self.increments = 0  # that were answered
        self.unknown = 0  # increments without an answer: they may have taken effect
        self._client = client
        self._table = table
        self._rows = rows
        self._keys = list(rows)
        self._began = began
        self._rng = random.Random(7)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._visit, name="visitor", daemon=True)

    @property
    def failed(self) -> int:
        """How many requests were not answered."""
        return sum(not visit.answered for visit in self.visits)

    @property
    def longest_s(self) -> float:
        """The slowest request."""
        return max((visit.took for visit in self.visits), default=0.0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def _visit(self) -> None:
        while not self._left.wait(_PAUSE_S):
            begun = time.monotonic()
            answered = self._ask(self._rng.choice(("get", "put", "increment")), self._rng.choice(self._keys))
            ended = time.monotonic()
            self.visits.append(Visit(ended - self._began, ended - begun, answered))

    def _ask(self, verb: str, key: bytes) -> bool:
        try:
            match verb:
                case "get":
                    if self._client.get(key, table=self._table) != self._rows[key]:
                        self.wrong.append(key)
                case "put":
                    self._client.put(key, self._rows[key], table=self._table)
                case _:
                    self._client.increment(COUNTER, table=self._table)
                    self.increments += 1
        except ZkvError as error:
            self.unknown += verb == "increment" and error.effect == "unknown"
            return False
        return True
