"""The clock that leases are judged by: it counts on while the machine sleeps."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ms() -> int:
    """Milliseconds since some moment before this process began; never falls, counts suspended time where it can."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000
