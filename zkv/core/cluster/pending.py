"""Requests that wait until the committed state shows what became of them."""

from typing import Generic, TypeVar

from zkv.core.cluster.messages import AdminDone, AdminRefused
from zkv.core.shard.commands import EFFECT_NONE, EFFECT_UNKNOWN

Answer = AdminDone | AdminRefused

W = TypeVar("W")


class PendingRequests(Generic[W]):
    """A bounded number of them, by who asked and under which number. A subclass knows what each is about (`_judge`)."""

    def __init__(self, *, most: int, what: str) -> None:
        """`what` they are, for who is refused because there are `most` already."""
        self._most = most
        self._what = what
        self._waiting: dict[tuple[bytes, int], W] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def give_up(self, what: str) -> list[tuple[bytes, Answer]]:
        """Answer all that waits: somebody else may or may not finish it."""
        refused: list[tuple[bytes, Answer]] = [
            (source, AdminRefused(number, "Unavailable", what, EFFECT_UNKNOWN)) for source, number in self._waiting
        ]
        self._waiting.clear()
        return refused

    def answers(self, now_ms: int) -> list[tuple[bytes, Answer]]:
        """The answers that are due, given the committed state."""
        due: list[tuple[bytes, Answer]] = []
        for (source, number), waiting in list(self._waiting.items()):
            answer = self._judge(waiting, now_ms)
            if answer is not None:
                due.append((source, answer))
                del self._waiting[source, number]
        return due

    def _keep(self, source: bytes, number: int, waiting: W) -> AdminRefused | None:
        """Keep one until it can be answered; the refusal if there are too many."""
        if len(self._waiting) >= self._most:
            return AdminRefused(number, "Overloaded", f"too many {self._what} wait", EFFECT_NONE)
        self._waiting[source, number] = waiting
        return None

    def _judge(self, waiting: W, now_ms: int) -> Answer | None:
        """The answer to one, if it is due."""
        raise NotImplementedError
