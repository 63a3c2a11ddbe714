"""Figures that only the shell knows, put beside the core's own for `zkv status`: memory, disk, rates."""

import os
import resource
from pathlib import Path

from zkv.core.node.node import Node
from zkv.server.store import Store

_LOOK_MS = 1_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class Gauges:
    """Renewed once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked_ms = 0
        self._reads = 0
        self._writes = 0

    def tend(self, node: Node, now_ms: int) -> None:
        """Bring the node's gauges up to date, if it is time."""
        since = now_ms - self._looked_ms
        if since < _LOOK_MS:
            return
        reads, writes = node.service.reads_served, node.service.writes_applied
        node.gauges = {
            "pid": os.getpid(),
            "memory_bytes": memory_bytes(),
            "log_bytes": self._store.log.size_bytes,
            "engine_bytes": self._store.engine.size_bytes(),
            "flushes": self._store.flushes,
            "disk_full": self._store.full,
            "reads_per_s": round((reads - self._reads) * 1000 / since),
            "writes_per_s": round((writes - self._writes) * 1000 / since),
        }
        self._looked_ms, self._reads, self._writes = now_ms, reads, writes


def memory_bytes() -> int:
    """This process's resident memory; where the system does not tell, the most it ever had."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
