"""A result that another thread brings: one lock, no condition variable, for there is one such object a call."""

from threading import Lock
from typing import Generic, TypeVar

from zkv.errors import ZkvError

T_co = TypeVar("T_co", covariant=True)


class Waiting(Generic[T_co]):
    """The result of a call that is under way. Any thread may ask for it, as often as it likes."""

    __slots__ = ("_lock", "_outcome", "asked")

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self._outcome: object = None
        self.asked = False  # whether anybody has seen the outcome

    def bring(self, outcome: object) -> None:
        """The result, or the ZkvError that `result` raises. Called once, by the thread that has it."""
        self._outcome = outcome
        self._lock.release()

    @property
    def is_done(self) -> bool:
        """Whether `result` returns at once."""
        return not self._lock.locked()

    def wait(self) -> None:
        """Return when the outcome is there; every call ends by its own deadline."""
        with self._lock:
            return

    def error(self) -> ZkvError | None:
        """Wait, then say what went wrong, if something did. Does not count as having asked."""
        self.wait()
        return self._outcome if isinstance(self._outcome, ZkvError) else None

    def result(self) -> T_co:
        """Wait, then return the result or raise the error."""
        self.wait()
        self.asked = True
        if isinstance(self._outcome, ZkvError):
            raise self._outcome
        return self._outcome  # type: ignore[return-value]  # the request's type says what its result is
