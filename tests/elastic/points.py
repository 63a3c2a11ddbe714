"""What a run must show: each point printed with its bound as soon as it is known."""

import time


class Points:
    """Gathers whether all of them hold."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._missed = 0

    def say(self, text: str) -> None:
        """Something happened."""
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)  # noqa: T201

    def at_most(self, what: str, found: float, bound: float) -> None:
        """A figure that may not be above its bound."""
        self._point(what, f"{found:,.2f} (at most {bound:,.2f})", holds=found <= bound)

    def at_least(self, what: str, found: float, bound: float) -> None:
        """A figure that may not be below its bound."""
        self._point(what, f"{found:,.2f} (at least {bound:,.2f})", holds=found >= bound)

    def none(self, what: str, found: list[str]) -> None:
        """Something that there must be nothing of."""
        self._point(what, "; ".join(found) or "none", holds=not found)

    def status(self) -> int:
        """The exit status."""
        return 1 if self._missed else 0

    def _point(self, what: str, found: str, *, holds: bool) -> None:
        self._missed += not holds
        self.say(f"{'holds ' if holds else 'MISSED'}  {what}: {found}")
