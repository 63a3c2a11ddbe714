"""Figures that only the shell knows, put beside the core's own for `zkv status` and `zkv bench`."""

import os
import resource
import time
from pathlib import Path

from zkv.core.node.service import Service
from zkv.net.unread import Receivers
from zkv.server.store import Store

_LOOK_MS = 1_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class Gauges:
    """A node's. Counts are since the process began; rates are of the last whole second or so.

    `received` and `answered` are the messages that its socket for clients and peers took and gave: summed over all
    nodes, each message between clients and nodes, and between nodes, is counted once. `bad_frames` were no message.
    `unread_bytes` wait for those who do not read; `unread_dropped` are the answers that found no more room there.
    """

    def __init__(self, service: Service, store: Store, receivers: Receivers) -> None:
        self.bad_frames = 0
        self.received = 0
        self.received_bytes = 0
        self.answered = 0
        self.answered_bytes = 0
        self._service = service
        self._store = store
        self._receivers = receivers
        self._looked_ms = 0
        self._counted = (0, 0)
        self._rates = (0, 0)

    def tend(self, now_ms: int) -> None:
        """Bring the rates up to date, if it is time."""
        since = now_ms - self._looked_ms
        if since < _LOOK_MS:
            return
        reads, writes = self._service.reads_served, self._service.writes_applied
        self._rates = (
            round((reads - self._counted[0]) * 1000 / since),
            round((writes - self._counted[1]) * 1000 / since),
        )
        self._looked_ms, self._counted = now_ms, (reads, writes)

    def figures(self) -> dict[str, int | float]:
        """All of them, by name."""
        return process_gauges() | {
            "log_bytes": self._store.log.size_bytes,
            "engine_bytes": self._store.engine.size_bytes(),
            "flushes": self._store.flushes,
            "flushed_bytes": self._store.log.position,
            "disk_full": self._store.full,
            "bad_frames": self.bad_frames,
            "received": self.received,
            "received_bytes": self.received_bytes,
            "answered": self.answered,
            "answered_bytes": self.answered_bytes,
            "unread_bytes": self._receivers.bytes,
            "unread_dropped": self._receivers.dropped,
            "reads_per_s": self._rates[0],
            "writes_per_s": self._rates[1],
        }


def process_gauges() -> dict[str, int | float]:
    """What every process has: its id, its memory, the CPU seconds that all its threads have used."""
    return {"pid": os.getpid(), "memory_bytes": memory_bytes(), "cpu_s": time.process_time()}


def memory_bytes() -> int:
    """This process's resident memory; where the system does not tell, the most it ever had."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
