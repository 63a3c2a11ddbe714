"""What was known when: the small checkers pass once over a history with these."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from operator import itemgetter
from typing import Generic, TypeVar

T = TypeVar("T")


class Timeline(Generic[T]):
    """Facts with the moments from which they hold, each handed out once."""

    def __init__(self, facts: Iterable[tuple[int, T]]) -> None:
        self._left = sorted(facts, key=itemgetter(0), reverse=True)

    def before(self, moment_ns: int) -> Iterator[T]:
        """Those from before this moment that were not handed out yet. Ask with rising moments."""
        while self._left and self._left[-1][0] < moment_ns:
            yield self._left.pop()[1]

    def rest(self) -> list[T]:
        """Those that were not handed out."""
        return [fact for _, fact in reversed(self._left)]


class Running(Generic[T]):
    """A sum, or a maximum, of facts over time."""

    def __init__(self, facts: Iterable[tuple[int, T]], join: Callable[[T, T], T], nothing: T) -> None:
        in_order = sorted(facts, key=itemgetter(0))
        self._moments = [moment_ns for moment_ns, _ in in_order]
        self._joined = list(accumulate((fact for _, fact in in_order), join, initial=nothing))

    def before(self, moment_ns: int) -> T:
        """All facts from before this moment, joined."""
        return self._joined[bisect_left(self._moments, moment_ns)]
