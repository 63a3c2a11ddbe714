"""What a run does, as it does it: told to whoever listens, and kept for the verdict and the timeline."""

from pathlib import Path
from typing import Protocol

import msgspec

from zkv.chaos.history_file import now_ns


class Listener(Protocol):
    """Who is told of a run while it goes on."""

    def line(self, seconds: float, kind: str, text: str) -> None:
        """Something happened, so many seconds after the beginning; `kind` of fault, or ""."""

    def tick(self, seconds: float) -> None:
        """Time passes."""


class Span(msgspec.Struct):
    """One fault: when it began, when it was undone, when the cluster was whole again. 0: not yet."""

    kind: str
    begun_ns: int
    undone_ns: int = 0
    whole_ns: int = 0
    told: list[str] = []

    @property
    def end_ns(self) -> int:
        """The last that is known of it."""
        return max(self.begun_ns, self.undone_ns, self.whole_ns)


class Story:
    """Owned by the run. Every line is also in `events.log` in the run's folder."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self.began_ns = now_ns()
        self.spans: list[Span] = []
        self._listener = listener
        self._file = (folder / "events.log").open("w", buffering=1)

    def say(self, text: str, kind: str = "") -> None:
        """Something happened."""
        seconds = (now_ns() - self.began_ns) / 1e9
        self._file.write(f"{seconds:9.3f}  {kind:<18} {text}\n")
        self._listener.line(seconds, kind, text)

    def tick(self) -> None:
        """Time passes."""
        self._listener.tick((now_ns() - self.began_ns) / 1e9)

    def begin(self, kind: str) -> Span:
        """A fault begins."""
        span = Span(kind, now_ns())
        self.spans.append(span)
        return span

    def close(self) -> None:
        """Close the file."""
        self._file.close()
