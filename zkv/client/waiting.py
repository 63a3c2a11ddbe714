"""A result that another thread brings: one lock, no condition variable, for there is one such object a call.

Threads that wait are woken one after another (`Relay`): whoever wakes first wakes the next, then goes on. Were all
released at once, they would stand before the interpreter's lock together, and each that stands there asks for it every
few milliseconds, wanted or not.
"""

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from zkv.errors import ZkvError

T_co = TypeVar("T_co", covariant=True)


class Relay:
    """Calls that are answered and whose threads are to be woken, in order. `ended` is called when none is left.

    A thread that is interrupted between its waking and the next one's breaks the chain: the owner goes on with it.
    """

    __slots__ = ("_answered", "_ended")

    def __init__(self, ended: Callable[[], None]) -> None:
        self._answered: deque[Waiting[object]] = deque()
        self._ended = ended

    def __bool__(self) -> bool:
        return bool(self._answered)

    def add(self, waiting: "Waiting[object]") -> None:
        """Its thread sleeps: it is woken in its turn."""
        self._answered.append(waiting)

    def pass_on(self) -> None:
        """Wake the next."""
        try:
            waiting = self._answered.popleft()
        except IndexError:
            self._ended()
        else:
            waiting.wake()

    def wake_all(self) -> None:
        """Wake everybody who is left."""
        while self._answered:
            self.pass_on()


class Waiting(Generic[T_co]):
    """The result of a call that is under way. Any thread may ask for it, as often as it likes."""

    __slots__ = ("_awaited", "_lock", "_outcome", "_relay", "asked")

    def __init__(self, relay: Relay) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self._relay = relay
        self._awaited = False
        self._outcome: object = None
        self.asked = False  # whether anybody has seen the outcome

    def bring(self, outcome: object) -> None:
        """The result, or the ZkvError that `result` raises. Called once, by the thread that has it, which sees to it
        that the relay begins."""
        self._outcome = outcome
        if self._awaited:
            self._relay.add(self)
        else:
            self._lock.release()  # whoever comes to wait now does not sleep

    def wake(self) -> None:
        """Let those go who wait. Called once, after `bring`, if that left it to the relay."""
        self._lock.release()

    @property
    def is_done(self) -> bool:
        """Whether `result` returns at once."""
        return not self._lock.locked()

    def wait(self) -> None:
        """Return when the outcome is there; every call ends by its own deadline."""
        if not self._lock.locked():
            return
        self._awaited = True
        with self._lock:
            self._relay.pass_on()

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
