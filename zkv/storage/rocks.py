"""The engine on RocksDB, through rocksdict in raw mode: bytes in, bytes out, no log of its own.

Traps of rocksdict 0.3.29, all seen here: its errors are bare `Exception`s; `items()` and its kin end in silence at a
damaged block (so scans use an iterator and ask its `status`); an iterator shows the rows as they were when it was made,
whatever snapshot it was made from; one that lives keeps the folder locked after `close`; its upper bound is freed with
the ReadOptions it came from (half of all scans went wrong: so they are kept beside it); a lower bound has no effect (so
it is checked here); a batch can be written once.

Measured (two cores, rows of 100 bytes): `flush` lets other threads run; it takes 2-3 ms for up to 1,000 rows, 14 ms for
10,000, 70 ms for 100,000, and 15 us when there is nothing to flush; `get` 2 us, a scan 10 us and 1 us a row.
"""

import os
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path

import rocksdict

from zkv.core.shard.rows import Changes
from zkv.errors import StorageError
from zkv.storage.faults import Damaged, DiskFull

BLOCK_CACHE_BYTES = 32 * 1024 * 1024
WRITE_BUFFER_BYTES = 1024 * 1024 * 1024  # never full: only the owner decides what is flushed when (`memtable`)
OPEN_FILES_MAX = 256
_FLUSHES_PER_COMPACTION = 10  # each replica that comes is flushed for itself; each compaction rewrites what is there
_NO_ROOM = "No space left on device"  # in the words of the system, which RocksDB passes on
_COMPACTIONS = "rocksdb:low\n"  # what RocksDB calls the threads that do them
_SIZES = ("rocksdb.live-sst-files-size", "rocksdb.cur-size-all-mem-tables")

Scan = Generator[tuple[bytes, bytes], None, None]


class RocksEngine:
    """Rows in one column family. Fits `zkv.storage.engine.Engine`.

    Without a log, what a crash leaves is what the last `flush` found: the write buffer is never full before.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._db = rocksdict.Rdict(str(folder), _options())
        except Exception as error:  # rocksdict raises nothing narrower, here and below
            raise _fault(error) from error
        _let_compactions_wait()
        self._write = rocksdict.WriteOptions()
        self._write.disable_wal = True  # type: ignore[method-assign, assignment]  # the stub calls this property a method
        self._scans: weakref.WeakSet[Scan] = weakref.WeakSet()

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise _fault(error) from error
        return value

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        if start >= end:
            return iter(())
        bounds = rocksdict.ReadOptions()
        bounds.set_iterate_upper_bound(end)
        try:
            rows = self._db.iter(bounds)  # made now, so that it shows the rows as they are now
            if reverse:
                rows.seek_to_last()
            else:
                rows.seek(start)
        except Exception as error:
            raise _fault(error) from error
        scan = _up(rows, bounds) if not reverse else _down(rows, bounds, start)
        self._scans.add(scan)
        return scan

    def apply(self, changes: Changes) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in changes.items():
            if value is None:
                delete(key)
            else:
                put(key, value)
        try:
            self._db.write(batch, self._write)
        except Exception as error:
            raise _fault(error) from error

    def drop(self, start: bytes, end: bytes) -> None:
        if start >= end:
            return
        try:
            self._db.delete_range(start, end, self._write)
        except Exception as error:
            raise _fault(error) from error

    def flush(self) -> None:
        try:
            self._db.flush()
        except Exception as error:
            raise _fault(error) from error

    def size_bytes(self) -> int:
        return sum(self._db.property_int_value(name) or 0 for name in _SIZES)

    def close(self) -> None:
        for scan in list(self._scans):
            scan.close()
        try:
            self._db.close()  # RocksDB without a log flushes what it still has, and may fail at that
        except Exception as error:
            raise _fault(error) from error


def _up(rows: rocksdict.RdictIter, bounds: rocksdict.ReadOptions) -> Scan:
    assert bounds, "they hold the bound that `rows` ends at"
    try:
        while rows.valid():
            yield rows.key(), rows.value()
            rows.next()
        rows.status()
    except Exception as error:
        raise _fault(error) from error


def _down(rows: rocksdict.RdictIter, bounds: rocksdict.ReadOptions, start: bytes) -> Scan:
    assert bounds, "they hold the bound that `rows` began at"
    try:
        while rows.valid():
            key = rows.key()
            if key < start:
                return
            yield key, rows.value()
            rows.prev()
        rows.status()
    except Exception as error:
        raise _fault(error) from error


def _fault(error: Exception) -> StorageError:
    what = f"the state engine failed: {error}"
    if _NO_ROOM in what:
        return DiskFull(what)
    return Damaged(what) if "Corruption" in what else StorageError(what)


def _let_compactions_wait() -> None:
    """Where the system can, compactions run when nobody else wants the processor.

    RocksDB's own low priority (nice 19) is not enough: whoever wakes waits for the rest of the slice (3 ms) of what
    runs, and a put is a chain of wake-ups. Who runs idle is displaced at once.
    """
    if not hasattr(os, "SCHED_IDLE"):
        return
    for thread in Path("/proc/self/task").iterdir():
        if (thread / "comm").read_text() == _COMPACTIONS:
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def _options() -> rocksdict.Options:
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(rocksdict.Cache(BLOCK_CACHE_BYTES))
    blocks.set_cache_index_and_filter_blocks(True)  # else they grow with the data, outside of the cache's bound
    # An index or a filter in one piece outgrows the cache with the data (it is cut in 64 parts): each get would read
    # megabytes, and take 0.4 ms at 150,000 rows of 1 KB, 1.1 ms at 400,000. In pieces: 14-26 us.
    blocks.set_index_type(rocksdict.BlockBasedIndexType.two_level_index_search())
    blocks.set_partition_filters(True)
    blocks.set_metadata_block_size(4 * 1024)
    blocks.set_pin_top_level_index_and_filter(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_bloom_filter(10, False)
    env = rocksdict.Env()
    env.lower_thread_pool_cpu_priority()  # compactions take what requests and flushes leave
    env.lower_thread_pool_io_priority()
    options = rocksdict.Options(raw_mode=True)
    options.set_env(env)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_max_background_jobs(2)
    options.set_level_zero_file_num_compaction_trigger(_FLUSHES_PER_COMPACTION)
    options.set_paranoid_checks(True)
    options.set_max_log_file_size(1024 * 1024)
    options.set_keep_log_file_num(2)
    return options
