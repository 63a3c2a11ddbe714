"""The clock that leases are judged by, which counts on while the machine sleeps; and the time of day."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ms() -> int:
    """Milliseconds since some moment before this process began; never falls, counts suspended time where it can."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


def wall_ms() -> int:
    """Milliseconds since 1970, by a clock that anybody may set."""
    return time.time_ns() // 1_000_000
