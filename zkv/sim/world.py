"""One simulated world: a true time, a queue of what happens next, and a hash of all that happened.

Nothing in a run may depend on anything but the seed: no clock, no hash of a string, no order of a set. Each use of
chance has a source of its own, named by what it is for, so that a change in one place does not reshuffle the others.
"""

import random
import traceback
from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush

Action = Callable[[], None]

MS = 1_000  # microseconds, the unit of true time
SECOND = 1_000_000
MINUTE_MS = 60_000


class Violation(Exception):
    """Something that must never happen has happened."""


class World:
    """True time in microseconds, from 0. `story`, if given, takes one line for each thing worth telling."""

    def __init__(self, seed: int, *, story: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.now_us = 0
        self.events = 0
        self._story = story
        self._queue: list[tuple[int, int, Action]] = []
        self._number = 0
        self._hash = blake2b(digest_size=8)

    def rng(self, purpose: str) -> random.Random:
        """A source of chance of its own."""
        return random.Random(f"{self.seed} {purpose}")

    def after(self, delay_us: int, action: Action) -> None:
        """Do this so much later; equal times go in the order in which they were asked for."""
        self.at(self.now_us + delay_us, action)

    def at(self, at_us: int, action: Action) -> None:
        """Do this at that time."""
        self._number += 1
        heappush(self._queue, (at_us, self._number, action))

    def run(self, until_us: int, done: Callable[[], bool] | None = None) -> bool:
        """Go on until this time, or until `done`, which is asked once in a while. Whether it was done."""
        queue = self._queue
        asked_us = self.now_us
        while queue and queue[0][0] <= until_us:
            self.now_us, _, action = heappop(queue)
            self.events += 1
            action()
            if done is not None and self.now_us - asked_us >= 50 * MS:
                asked_us = self.now_us
                if done():
                    return True
        self.now_us = until_us
        return done is not None and done()

    def trace(self, data: bytes) -> None:
        """Something happened: into the hash, with its time."""
        self._hash.update(b"%d %b" % (self.now_us, data))

    def tell(self, line: str) -> None:
        """Something worth telling happened: into the hash, and into the story."""
        self.trace(line.encode())
        if self._story is not None:
            self._story(f"{self.now_us / SECOND:10.4f}  {line}")

    @property
    def trace_hash(self) -> str:
        """Equal for equal runs."""
        return self._hash.hexdigest()


class Clock:
    """One process's clock: milliseconds from an arbitrary start, at a rate of its own."""

    def __init__(self, world: World, *, offset_ms: int, rate: float) -> None:
        self._world = world
        self.offset_ms = offset_ms
        self.rate = rate
        self.unread = False  # it has jumped since its process last looked

    def now_ms(self) -> int:
        """What it shows."""
        return self.offset_ms + int(self._world.now_us * self.rate) // MS

    def jump(self, by_ms: int) -> None:
        """It shows this much more, or less, from now on."""
        self.offset_ms += by_ms
        self.unread = True

    def until_us(self, moment_ms: int) -> int:
        """How long from now until it shows that; at most a minute, for who waits for nothing."""
        now_us = self._world.now_us
        shown_ms = moment_ms - self.offset_ms
        if shown_ms - int(now_us * self.rate) // MS > MINUTE_MS:
            return MINUTE_MS * MS
        return int(shown_ms * MS / self.rate) + 1 - now_us


def account_of(error: BaseException) -> str:
    """An exception as a violation shows it: what and where, innermost last, without paths of this machine."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} ({where})"
