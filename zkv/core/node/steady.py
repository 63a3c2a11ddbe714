"""A process's clock as its cores see it: it never goes back, and says when it was told to (rules 8 and 19)."""


class SteadyClock:
    """Readings in, the same time without backward steps out.

    No reading may be earlier than the one before, on a clock that counts from the machine's start. Where one is all the
    same, nobody can say how much time has really passed in between: time goes on from the last reading, and whatever
    rests on a span of time that reaches back beyond that moment is void.
    """

    def __init__(self) -> None:
        self.shift_ms = 0  # from the readings to the time that is told
        self._last_ms: int | None = None

    def read(self, reading_ms: int) -> tuple[int, bool]:
        """The time, and whether the clock has turned back since the last reading."""
        last_ms, self._last_ms = self._last_ms, reading_ms
        turned_back = last_ms is not None and reading_ms < last_ms
        if last_ms is not None and turned_back:
            self.shift_ms += last_ms - reading_ms
        return reading_ms + self.shift_ms, turned_back

    def foresee(self, reading_ms: int) -> int | None:
        """What the next reading would tell; None: that the clock has turned back."""
        if self._last_ms is not None and reading_ms < self._last_ms:
            return None
        return reading_ms + self.shift_ms
