"""What a measuring loop writes down: latencies in bulk, errors by name, a line for each second. Memory is bounded."""

import time
from collections import Counter

from zkv.bench.histogram import Histogram
from zkv.bench.plan import Outcome, Second

_BULK = 512  # latencies counted at once: few enough that the loop does not pause for it


class Recorder:
    """Records from `begin` to `end`, moments of `time.perf_counter`.

    The loop appends seconds to `latencies` and names to `errors`, and calls `look` between its turns. What came before
    `begin` is thrown away.
    """

    def __init__(self, begin: float, end: float) -> None:
        self.begin = begin
        self.end = end
        self.latencies: list[float] = []
        self.errors: list[str] = []
        self.rows = 0
        self._due = begin
        self._total = Histogram()
        self._second = Histogram()
        self._failed: Counter[str] = Counter()
        self._failed_before = 0
        self._timeline: list[Second] = []
        self._begun_at = 0.0
        self._seconds = 0.0
        self._cpu_s = 0.0

    def look(self, now: float) -> None:
        """Count what has come, if that is enough, or a second is over."""
        if now >= self._due:
            self._turn_the_page(now)
        elif len(self.latencies) >= _BULK or len(self.errors) >= _BULK:
            self._count()

    def stop(self, now: float) -> None:
        """The measurement is over; what is appended after this still counts, for an open loop."""
        self._count()
        self._seconds = now - self._begun_at if self._begun_at else self.end - self.begin
        self._cpu_s = time.process_time() - self._cpu_s

    def outcome(self) -> Outcome:
        """All of it, after `stop`."""
        self._count()
        self._total.merge(self._second)
        self._second = Histogram()
        requests = self._total.total
        return Outcome(
            seconds=self._seconds,
            requests=requests,
            rows=self.rows or requests,
            errors=dict(self._failed),
            latencies=dict(self._total.counts),
            timeline=self._timeline,
            cpu_s=self._cpu_s,
        )

    def _count(self) -> None:
        # By length and not by swapping the lists: threads may be appending.
        taken = len(self.latencies)
        self._second.add(self.latencies[:taken])
        del self.latencies[:taken]
        taken = len(self.errors)
        self._failed.update(self.errors[:taken])
        del self.errors[:taken]

    def _turn_the_page(self, now: float) -> None:
        self._count()
        if not self._begun_at:
            self._second, self._failed, self.rows = Histogram(), Counter(), 0
            self._begun_at, self._cpu_s = now, time.process_time()
            self._due = now + 1.0
            return
        second = self._second
        failed = self._failed.total()
        self._timeline.append(
            Second(
                at=round(now - self._begun_at),
                requests=second.total,
                errors=failed - self._failed_before,
                p50=second.quantile_ms(0.5),
                p99=second.quantile_ms(0.99),
                p999=second.quantile_ms(0.999),
            )
        )
        self._total.merge(second)
        self._second, self._failed_before = Histogram(), failed
        self._due += 1.0
