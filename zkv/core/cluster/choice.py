"""Which of the coordinators to speak to: the one that leads, as far as is known.

Whoever asks one that does not lead is sent on; whoever is not answered for SILENT_MS tries the next. That is less than
the time after which a silent node counts as down, so that a coordinator's death makes no node pass for dead: a new
leader waits for as long from its own start.
"""

from collections.abc import Collection, Iterable
from typing import Final

from zkv import limits

SILENT_MS: Final = 750

assert SILENT_MS + limits.REGISTER_MS < limits.NODE_DOWN_MS, "a node is to find the leader before it counts as down"


class Choice:
    """The addresses, and the one that is asked now. Owned by one loop; told of all that is asked and answered."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self.addresses = list(dict.fromkeys(addresses))
        self.left = ""  # who was just given up for silent: a connection to it may be half open
        self._current = 0
        self._waiting_ms: int | None = None  # since when what was asked is not answered

    @property
    def current(self) -> str:
        """Whom to ask."""
        return self.addresses[self._current]

    def learn(self, addresses: Iterable[str]) -> None:
        """These are there, too. Whoever is asked now goes on being asked, and none is forgotten that was given."""
        self.addresses = list(dict.fromkeys([*self.addresses, *addresses]))

    def ask(self, now_ms: int) -> str:
        """Whom to ask now: the same as before, unless it has been silent for too long; `left` is that one then."""
        self.left = ""
        if self._waiting_ms is not None and now_ms - self._waiting_ms >= SILENT_MS:
            self.left = self.current
            self.pass_over()
        if self._waiting_ms is None:
            self._waiting_ms = now_ms
        return self.current

    def answered(self, by: str) -> None:
        """That one has said something."""
        if by == self.current:
            self._waiting_ms = None

    def redirected(self, by: str, leader: str) -> None:
        """That one does not lead, `leader` does ("": it does not know)."""
        if by != self.current:
            return
        if leader and leader != by:
            self.learn([leader])
            self._current = self.addresses.index(leader)
            self._waiting_ms = None
        else:
            self.pass_over()

    def pass_over(self) -> None:
        """The next one, for this one is of no use."""
        self._current = (self._current + 1) % len(self.addresses)
        self._waiting_ms = None

    def among(self, usable: Collection[str]) -> str | None:
        """The one to ask of those that can be reached now, from now on: the current one, or the next after it."""
        order = [*self.addresses[self._current :], *self.addresses[: self._current]]
        found = next((address for address in order if address in usable), None)
        if found is not None:
            self._current = self.addresses.index(found)
        return found
