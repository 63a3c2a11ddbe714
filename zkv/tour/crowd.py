"""A crowd that mostly wants the same few rows, and what it was answered lately."""

import random
import threading
import time
from collections import deque
from types import TracebackType
from typing import Final, Self

import zkv
from zkv.client.pipeline import Pipeline
from zkv.client.waiting import Waiting
from zkv.errors import ZkvError

FAVOUR: Final = 0.9  # of all that is asked is for the favourites
KEPT_S: Final = 10.0  # what was answered longer ago is forgotten
_THREADS = 2
_AT_ONCE = 32  # of each thread; then it waits for all of them
_PAUSE_S = 0.03  # with that, at most some two thousand gets a second: the machine has nodes to run, too


class Crowd:
    """Threads that get rows until they are left."""

    def __init__(self, client: zkv.Client, table: str, rows: dict[bytes, bytes], favourites: list[bytes]) -> None:
        self.asked = 0
        self.failed = 0
        self.wrong = 0  # rows that were read with another value than was put
        self._client = client
        self._table = table
        self._rows = rows
        self._keys = list(rows)
        self._favourites = favourites
        self._answered: deque[tuple[float, list[bytes]]] = deque()
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(seed,), daemon=True) for seed in range(_THREADS)]

    def answered(self, since: float) -> list[bytes]:
        """The keys that were answered after that moment (of `time.monotonic`), at most KEPT_S ago."""
        with self._lock:
            return [key for at, keys in self._answered if at > since for key in keys]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        rng = random.Random(seed)
        with self._client.pipeline() as pipeline:
            while not self._left.wait(_PAUSE_S):
                keys = [rng.choice(self._favourites if rng.random() < FAVOUR else self._keys) for _ in range(_AT_ONCE)]
                self._note(keys, self._get(pipeline, keys))

    def _get(self, pipeline: Pipeline, keys: list[bytes]) -> list[bytes | ZkvError | None]:
        waiting = [pipeline.get(key, table=self._table) for key in keys]
        return [_outcome(one) for one in waiting]

    def _note(self, keys: list[bytes], answers: list[bytes | ZkvError | None]) -> None:
        now = time.monotonic()
        pairs = list(zip(keys, answers, strict=True))
        right = [key for key, answer in pairs if answer == self._rows[key]]
        failed = sum(isinstance(answer, ZkvError) for answer in answers)
        with self._lock:
            self.asked += len(keys)
            self.failed += failed
            self.wrong += len(keys) - len(right) - failed
            self._answered.append((now, right))
            while self._answered[0][0] < now - KEPT_S:
                self._answered.popleft()


def _outcome(waiting: Waiting[bytes | None]) -> bytes | ZkvError | None:
    try:
        return waiting.result()
    except ZkvError as error:
        return error
