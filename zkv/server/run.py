"""Processes from settings to exit status: the only place where an error ends a process."""

import logging
from collections.abc import Callable

from zkv.errors import StartError, StorageError, ZkvError
from zkv.server.coordinator import CoordinatorProcess
from zkv.server.exits import Exit
from zkv.server.heap import map_large_blocks
from zkv.server.node import NodeProcess
from zkv.server.settings import CoordinatorSettings, NodeSettings
from zkv.storage.faults import DiskFull

log = logging.getLogger("zkv")


def run_node(settings: NodeSettings) -> int:
    """Run a node until it is told to stop. Returns its exit status; says why in one line where it is not 0."""
    return _run(lambda: NodeProcess(settings).run())


def run_coordinator(settings: CoordinatorSettings) -> int:
    """Run a coordinator until it is told to stop. Returns its exit status."""
    return _run(lambda: CoordinatorProcess(settings).run())


def _run(serve: Callable[[], None]) -> int:
    map_large_blocks()
    try:
        serve()
    except DiskFull as error:  # a later start may find room
        log.error("%s; %s", error.what, error.advice)
        return Exit.FAILED
    except StorageError as error:
        log.error("%s; %s", error.what, error.advice)
        return Exit.STORAGE
    except StartError as error:
        log.error("%s; %s", error.what, error.advice)
        return Exit.START
    except ZkvError as error:
        log.error("%s; %s", error.what, error.advice)
        return Exit.FAILED
    return Exit.OK
