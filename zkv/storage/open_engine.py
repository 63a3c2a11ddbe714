"""Which state engine a data folder has. The only place that may find RocksDB missing."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from zkv.errors import StorageError
from zkv.storage.engine import Engine
from zkv.storage.sqlite import FILE_NAME, SqliteEngine

Kind = Literal["rocksdb", "sqlite"]

if find_spec("rocksdict") is None:  # no wheel for this machine
    _rocks: Callable[[Path], Engine] | None = None
else:
    from zkv.storage.rocks import RocksEngine

    _rocks = RocksEngine


def open_engine(folder: Path, kind: Kind | None = None) -> Engine:
    """The engine in `folder`, made if it is missing: of the kind that is there, or of `kind`, or RocksDB if it can.

    Raises StorageError: another kind is there, RocksDB is not installed, or the engine cannot open its files.
    """
    there = stored_kind(folder)
    if kind is not None and there is not None and kind != there:
        raise StorageError(f"{folder} holds a {there} engine, not {kind}", advice=f"start it with {there}")
    wanted = kind or there or ("sqlite" if _rocks is None else "rocksdb")
    if wanted == "sqlite":
        return SqliteEngine(folder)
    if _rocks is None:
        raise StorageError("rocksdict is not installed", advice="install it, or start anew with the sqlite engine")
    return _rocks(folder)


def stored_kind(folder: Path) -> Kind | None:
    """The kind of engine whose files are in `folder`; None: there is none."""
    if (folder / "CURRENT").exists():
        return "rocksdb"
    return "sqlite" if (folder / FILE_NAME).exists() else None
