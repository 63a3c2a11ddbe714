"""The exit statuses of long-running processes, and which of them a restarter takes for an answer."""

from enum import IntEnum


class Exit(IntEnum):
    """Why a process ended. Statuses of commands that print data (3: no such key, 4: unavailable) are the CLI's."""

    OK = 0
    FAILED = 1  # a crash, or an error that the next start may not meet
    USAGE = 2
    STORAGE = 70  # its data folder is damaged, lost or foreign, or a flush failed: its pages lie (rule 4)
    START = 78  # a port is taken, or settings contradict one another


FINAL = frozenset({Exit.OK, Exit.USAGE, Exit.STORAGE, Exit.START})


def may_restart(status: int) -> bool:
    """Whether a restarter starts the process again. `status` is negative for a signal, as in `Popen.returncode`."""
    return status not in FINAL
