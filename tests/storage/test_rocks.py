"""What the RocksDB engine must not cost, however much it holds."""

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from zkv.storage.rocks import BLOCK_CACHE_BYTES, RocksEngine

ROWS = 240_000
VALUE = b"v" * 1_000
GETS = 500
GET_BYTES_MAX = 64 * 1024


def bytes_read() -> int:
    """All that this process has read from files, by its own calls."""
    words = Path("/proc/self/io").read_text().split()
    return int(words[words.index("rchar:") + 1])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a process reads")
def test_a_get_reads_a_few_blocks_also_when_the_rows_are_far_more_than_the_cache_holds(tmp_path: Path) -> None:
    with closing(RocksEngine(tmp_path)) as engine:
        keys = [b"row-with-a-longer-name-%08d" % (number * 7_919 % ROWS) for number in range(ROWS)]
        for first in range(0, ROWS, 1_000):
            engine.apply(dict.fromkeys(keys[first : first + 1000], VALUE))
        engine.flush()
        assert ROWS * len(VALUE) > 3 * BLOCK_CACHE_BYTES
        before = bytes_read()
        for key in keys[:: ROWS // GETS]:
            assert engine.get(key) == VALUE
        assert (bytes_read() - before) / GETS < GET_BYTES_MAX


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no such priority")
def test_compactions_run_when_nobody_else_wants_the_processor(tmp_path: Path) -> None:
    with closing(RocksEngine(tmp_path / "rows")):
        compactions = [
            task for task in Path("/proc/self/task").iterdir() if (task / "comm").read_text() == "rocksdb:low\n"
        ]
        assert compactions, "RocksDB has another name for these threads now"
        assert {os.sched_getscheduler(int(task.name)) for task in compactions} == {os.SCHED_IDLE}
