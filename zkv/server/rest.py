"""Snapshots give way to those who ask: a turn that handled some is followed by a rest, and a longer one in a crowd.

A turn that took longer than it computed waited for the processor or the disk, and so does everybody who shares them:
the longer, the more there is to do. Where nobody else wants them the rest is short. It never is so long that a stream
would pass for dead: SNAPSHOT_RATE_BYTES_MIN is kept.
"""

import time
from typing import Final

from zkv import limits
from zkv.core.node.transfers import Transfers
from zkv.core.shard.machine import ShardMachine

_TOOK_TIMES: Final = 4  # of what the turn took,
_WAITED_TIMES: Final = 20  # and of what it waited
_REST_S_MAX: Final = limits.SNAPSHOT_TURN_BYTES / limits.SNAPSHOT_RATE_BYTES_MIN


class Rest:
    """When the snapshots of one node go on."""

    def __init__(self, transfers: Transfers[ShardMachine]) -> None:
        self._transfers = transfers
        self._until_s = 0.0
        self._began_s = self._computed_s = 0.0

    def begin(self) -> None:
        """A turn begins."""
        self._began_s = 0.0
        if self._transfers.busy:
            self._began_s, self._computed_s = time.perf_counter(), time.thread_time()
            self._transfers.pace.resting = self._began_s < self._until_s

    def end(self) -> None:
        """It is over."""
        if self._transfers.worked and self._began_s:
            now_s = time.perf_counter()
            took_s = now_s - self._began_s
            waited_s = max(took_s - (time.thread_time() - self._computed_s), 0.0)
            self._until_s = now_s + min(_TOOK_TIMES * took_s + _WAITED_TIMES * waited_s, _REST_S_MAX)
        self._transfers.worked = False
