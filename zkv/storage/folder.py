"""A data folder: whose it is, that one process at a time uses it, and that it still holds what it held (rules 1, 4).

identity.json   format, role, name, incarnation, cluster; replaced whole, never written over
lock            held while a process uses the folder; the kernel lets go when the process ends, however it ends
pid             of that process, for people and scripts
failed          why the last process stopped for good, if it did
log/  rows/     the log's segments, the engine's files

The format is of all files together. A folder that is refused, of another format or for anything else, is as it was.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from zkv.errors import StorageError
from zkv.storage.disk import FULL, Disk
from zkv.storage.faults import REJOIN, Damaged, DiskFull
from zkv.storage.open_engine import stored_kind
from zkv.storage.segment_file import SUFFIX

FORMAT = 2
Migration = Callable[[Path], None]


def _as_it_is(path: Path) -> None:
    """Format 2 has splits and merges in logs, and ranges of several spaces; format 1 means the same in it."""


# By the format that each begins with: brings a folder's files to the next format. `identity.json` names that only when
# the step has returned, so a step that was interrupted is begun anew, and whatever it has done must still be readable
# as the old format: it writes beside what there is.
MIGRATIONS: Final[dict[int, Migration]] = {1: _as_it_is}
_IDENTITY, _LOCK, _PID, _FAILED = "identity.json", "lock", "pid", "failed"
_HALF_MADE = _IDENTITY + ".new"
_MAY_BE_THERE = frozenset({_LOCK, _PID, _HALF_MADE, "lost+found"})  # in a folder that is nobody's yet


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a folder belongs to. `incarnation` is random: a new folder is never taken for the old one (rule 1).

    `cluster` is 0 until the folder's process has joined one; before that nobody was promised anything.
    """

    format: int
    role: str
    name: str
    incarnation: int
    cluster: int


class _Format(msgspec.Struct, frozen=True):
    format: int


class Owner(NamedTuple):
    """Who opens a folder."""

    role: str
    name: str


class Folder:
    """A data folder in use by this process, until `close`."""

    def __init__(self, path: Path, identity: Identity, lock: int) -> None:
        self.path = path
        self._identity = identity
        self._lock = lock

    @classmethod
    def open(cls, path: Path, *, name: str, role: str) -> "Folder":
        """Take the folder at `path`; an empty or missing one becomes `name`'s.

        Raises StorageError: in use, foreign, unreadable, or of another format; Damaged: it lost what it held, or a
        flush failed here before. Nothing is written to a folder that is refused, not even the lock.
        """
        owner = Owner(role, name)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _examine(path, owner)
            lock = _take_lock(path)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            found = _examine(path, owner)  # again: now nobody else can change it
            identity = _found(path, owner) if found is None else _migrate(path, found)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, identity, lock)

    @property
    def incarnation(self) -> int:
        """This folder's random number, 1 to 2**63 - 1."""
        return self._identity.incarnation

    @property
    def cluster(self) -> int:
        """The cluster it belongs to; 0: none yet."""
        return self._identity.cluster

    @property
    def is_new(self) -> bool:
        """Whether it never belonged to a cluster: nothing that it may lack was ever promised."""
        return self._identity.cluster == 0

    @property
    def log_path(self) -> Path:
        """Where the log is kept."""
        return self.path / "log"

    @property
    def rows_path(self) -> Path:
        """Where the engine keeps its files."""
        return self.path / "rows"

    def set_cluster(self, cluster: int) -> None:
        """Join `cluster`, for good: on disk when this returns. The log and the engine exist already.

        From here on, a folder without them is a lost disk. Raises StorageError.
        """
        assert cluster > 0, "0 stands for none"
        assert not _missing(self.path), "its log and rows are made before it joins"
        if self._identity.cluster not in (0, cluster):
            raise StorageError(f"{self.path} belongs to cluster {self._identity.cluster:x}, not {cluster:x}")
        identity = msgspec.structs.replace(self._identity, cluster=cluster)
        _store(self.path, identity)
        self._identity = identity

    def free_bytes(self) -> int:
        """Room on its disk for this process."""
        return shutil.disk_usage(self.path).free

    def write_pid(self) -> None:
        """Say in the file `pid` who uses the folder. Raises StorageError."""
        try:
            (self.path / _PID).write_text(f"{os.getpid()}\n")
        except OSError as error:
            raise _unusable(self.path, error) from error

    def mark_failed(self, reason: str) -> None:
        """A flush failed, so no process may trust these files again (rule 4): `open` refuses now. Best effort."""
        try:
            (self.path / _FAILED).write_text(reason + "\n")
            Disk().flush_folder(self.path)
        except (OSError, StorageError):
            return  # the disk is failing; the exit status says the same to the restarter

    def close(self) -> None:
        """Let go of the folder."""
        (self.path / _PID).unlink(missing_ok=True)
        os.close(self._lock)


def _unusable(path: Path, error: OSError) -> StorageError:
    what = f"cannot use the data folder {path}: {error.strerror}"
    return DiskFull(what) if error.errno in FULL else StorageError(what, advice="choose another")


def _take_lock(path: Path) -> int:
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise StorageError(
            f"the data folder {path} is in use by process {holder or 'unknown'}",
            advice="stop that process, or choose another folder",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _examine(path: Path, owner: Owner) -> Identity | None:
    """Whose the folder is; None: nobody's yet. Reads only. Raises StorageError where `owner` cannot have it."""
    file = path / _IDENTITY
    if not file.exists():
        _refuse_strangers(path)
        return None
    identity = _read(file)
    if identity.role != owner.role or identity.name != owner.name:
        raise StorageError(
            f"the data folder {path} belongs to {identity.role} {identity.name}, not to {owner.role} {owner.name}",
            advice="start it under that name, or choose another folder",
        )
    failed = path / _FAILED
    if failed.exists():
        raise Damaged(f"a flush failed in {path}, so its files may lack what was promised ({_line(failed)})")
    missing = _missing(path)
    if identity.cluster and missing:
        raise Damaged(f"the data folder {path} has lost its {missing}", advice=f"put it back, or {REJOIN}")
    return identity


def _refuse_strangers(path: Path) -> None:
    strangers = sorted(found.name for found in path.iterdir() if found.name not in _MAY_BE_THERE)
    if strangers:
        raise StorageError(
            f"the data folder {path} is not empty and has no {_IDENTITY}: it holds {', '.join(strangers[:3])}",
            advice=f"choose an empty folder; if it was zkv's, {REJOIN}",
        )


def _found(path: Path, owner: Owner) -> Identity:
    identity = Identity(FORMAT, owner.role, owner.name, secrets.randbelow(2**63 - 1) + 1, 0)
    _store(path, identity)
    Disk().flush_folder(path.absolute().parent)
    return identity


def _migrate(path: Path, identity: Identity) -> Identity:
    """Bring a folder of an older format to ours, step by step; each is on disk before the next begins."""
    while identity.format < FORMAT:
        MIGRATIONS[identity.format](path)
        identity = msgspec.structs.replace(identity, format=identity.format + 1)
        _store(path, identity)
    return identity


def _refuse_format(file: Path, stored: int) -> None:
    if stored > FORMAT:
        raise StorageError(
            f"{file} is of format {stored}, written by a newer zkv; this one reads up to {FORMAT}",
            advice="start it with the version that wrote it, or a later one; the folder is as it was",
        )
    if stored < _oldest():
        raise StorageError(
            f"{file} is of format {stored}, which this version of zkv reads no more; it reads {_oldest()} to {FORMAT}",
            advice=f"start it with a version between, which brings it forward; or, for a node, {REJOIN}",
        )


def _oldest() -> int:
    """The oldest format from which the migrations lead to ours without a gap."""
    oldest = FORMAT
    while oldest - 1 in MIGRATIONS:
        oldest -= 1
    return oldest


def _read(file: Path) -> Identity:
    try:
        content = file.read_bytes()
        _refuse_format(file, msgspec.json.decode(content, type=_Format).format)
        return msgspec.json.decode(content, type=Identity)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{file} cannot be read: {error}") from error
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror}") from error


def _store(path: Path, identity: Identity) -> None:
    """Replace the identity, at once or not at all."""
    disk = Disk()
    half_made = path / _HALF_MADE
    half_made.unlink(missing_ok=True)
    file = disk.create(half_made)
    try:
        disk.write(file, [msgspec.json.encode(identity) + b"\n"], 0)
        disk.flush(file)
    finally:
        disk.close(file)
    disk.rename(half_made, path / _IDENTITY)
    disk.flush_folder(path)


def _missing(path: Path) -> str:
    """What a folder that belongs to a cluster lacks; "" when it is all there."""
    if not any((path / "log").glob(f"*{SUFFIX}")):
        return "log (log/)"
    return "" if stored_kind(path / "rows") else "state rows (rows/)"


def _line(file: Path) -> str:
    return " ".join(file.read_text(errors="replace").split())[:200]
