"""The real `zkv` on a machine that is ill: python -m tests.cluster.ill AILMENT VALUE -- WORDS OF ZKV...

flush FILE     from the moment that FILE exists, every fdatasync fails with EIO
clock SECONDS  the time of day is that much behind, and the boot clock began with this process, as after a reboot
"""

import errno
import os
import sys
import time
from pathlib import Path

from zkv.cli.main import main


def fail_flushes(once_there: Path) -> None:
    """As a disk does that has lost what it was given."""
    fdatasync = os.fdatasync

    def failing(file: int) -> None:
        if once_there.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fdatasync(file)

    os.fdatasync = failing  # type: ignore[assignment]  # it takes a descriptor, as every caller gives one


def set_clocks_back(seconds: float) -> None:
    """As a machine whose battery is dead."""
    of_day, of_boot = time.time, time.clock_gettime_ns
    began = of_boot(time.CLOCK_BOOTTIME)
    time.time = lambda: of_day() - seconds
    time.time_ns = lambda: int((of_day() - seconds) * 1e9)
    time.clock_gettime_ns = lambda clock: of_boot(clock) - began


if __name__ == "__main__":
    ailment, value, _, *words = sys.argv[1:]
    if ailment == "flush":
        fail_flushes(Path(value))
    else:
        set_clocks_back(float(value))
    sys.argv = ["zkv", *words]
    main()
