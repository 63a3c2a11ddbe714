"""The engine on SQLite from the standard library: for machines without a rocksdict wheel, and as a second opinion.

Each batch is one transaction of a write-ahead log that is not flushed (synchronous NORMAL): after a crash SQLite keeps
the transactions up to some point and none after it (sqlite.org/wal.html, "Performance Considerations"). `flush` commits
once with synchronous FULL, which flushes that log and with it every transaction before.

SQLite has no checksums of its own pages, so each value carries the CRC-32 of its key and value.
"""

import sqlite3
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from zkv.core.shard.rows import Changes
from zkv.errors import StorageError
from zkv.storage.faults import Damaged, DiskFull

CACHE_KIB = 32 * 1024
WAL_BYTES = 32 * 1024 * 1024  # its file is cut back to this once all of it is in the table
FILE_NAME = "rows.sqlite"
_CRC_BYTES = 4
_READERS_KEPT = 4  # idle connections for scans

Scan = Generator[tuple[bytes, bytes], None, None]


class SqliteEngine:
    """Rows in one table, ordered by key. Fits `zkv.storage.engine.Engine`.

    One connection writes and gets; each scan has a connection of its own, whose read transaction pins what it shows.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE_NAME
        self._idle: list[sqlite3.Connection] = []
        self._scans: weakref.WeakSet[Scan] = weakref.WeakSet()
        self._failed = False
        try:
            self._writer = self._connect()
            self._writer.execute(
                "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT"
            )
        except sqlite3.Error as error:
            raise _fault(error) from error

    def get(self, key: bytes) -> bytes | None:
        try:
            row = self._writer.execute("SELECT value FROM rows WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise _fault(error) from error
        return None if row is None else _unseal(key, row[0])

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        if start >= end:
            return iter(())
        try:
            reader = self._idle.pop() if self._idle else self._connect()
            order = "DESC" if reverse else "ASC"
            # This steps to the first row, which begins the read transaction: it shows the rows as they are now.
            rows = reader.execute(
                f"SELECT key, value FROM rows WHERE key >= ? AND key < ? ORDER BY key {order}", (start, end)
            )
        except sqlite3.Error as error:
            raise _fault(error) from error
        scan = self._walk(reader, rows)
        next(scan)  # into its `try`, so that closing it unread gives the reader back
        self._scans.add(scan)
        return scan

    def apply(self, changes: Changes) -> None:
        puts = ((key, _seal(key, value)) for key, value in changes.items() if value is not None)
        deletes = ((key,) for key, value in changes.items() if value is None)
        with self._transaction():
            self._writer.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", puts)
            self._writer.executemany("DELETE FROM rows WHERE key = ?", deletes)

    def drop(self, start: bytes, end: bytes) -> None:
        with self._transaction():
            self._writer.execute("DELETE FROM rows WHERE key >= ? AND key < ?", (start, end))

    def flush(self) -> None:
        with self._transaction(flushed=True):
            (flushes,) = self._writer.execute("PRAGMA user_version").fetchone()
            # Any write will do: its commit flushes the log that holds all transactions since the last checkpoint.
            self._writer.execute(f"PRAGMA user_version = {(flushes + 1) % 2**31}")

    def size_bytes(self) -> int:
        files = (self._path, self._path.with_name(FILE_NAME + "-wal"))
        return sum(path.stat().st_size for path in files if path.exists())

    def close(self) -> None:
        for scan in list(self._scans):
            scan.close()
        for connection in [*self._idle, self._writer]:
            connection.close()

    @contextmanager
    def _transaction(self, *, flushed: bool = False) -> Iterator[None]:
        """Commit what is done inside, or nothing of it and nothing after it: a batch left out would leave a hole."""
        if self._failed:
            raise StorageError("the state engine failed before, so it takes nothing more")
        try:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if flushed else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            yield
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed = True
            self._writer.rollback()
            raise _fault(error) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for setting in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            f"cache_size = -{CACHE_KIB}",
            f"journal_size_limit = {WAL_BYTES}",
        ):
            connection.execute(f"PRAGMA {setting}")
        return connection

    def _walk(self, reader: sqlite3.Connection, rows: sqlite3.Cursor) -> Scan:
        try:
            yield b"", b""
            for key, value in rows:
                yield key, _unseal(key, value)
        except sqlite3.Error as error:
            raise _fault(error) from error
        finally:
            rows.close()  # ends the read transaction
            self._release(reader)

    def _release(self, reader: sqlite3.Connection) -> None:
        if len(self._idle) < _READERS_KEPT:
            self._idle.append(reader)
        else:
            reader.close()


def _seal(key: bytes, value: bytes) -> bytes:
    return value + crc32(value, crc32(key)).to_bytes(_CRC_BYTES, "big")


def _unseal(key: bytes, stored: bytes) -> bytes:
    value = stored[:-_CRC_BYTES]
    if crc32(value, crc32(key)).to_bytes(_CRC_BYTES, "big") != stored[-_CRC_BYTES:]:
        raise Damaged(f"the state engine failed: the row of key {key!r} is damaged")
    return value


def _fault(error: sqlite3.Error) -> StorageError:
    what = f"the state engine failed: {error}"
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return DiskFull(what)
    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    return Damaged(what) if damaged else StorageError(what)
