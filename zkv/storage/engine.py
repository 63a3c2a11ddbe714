"""The state engine: ordered rows that survive a restart, as of some batch.

An engine has no log of its own: after a crash it holds every batch up to some point and none after it (whole
batches, in order). The node's log replays the rest from the applied index that travels in the same batches.
"""

from collections.abc import Iterator
from typing import Protocol

from zkv.core.shard.rows import Changes


class Engine(Protocol):
    """One data folder's rows. Used by one thread. Fits `core.shard.rows.Rows`."""

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        ...

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end as they are at the call; see `Rows.scan`. Raises StorageError at damage."""
        ...

    def apply(self, changes: Changes) -> None:
        """Make all changes visible at once; durable only after `flush`. Raises StorageError, after which: stop."""
        ...

    def drop(self, start: bytes, end: bytes) -> None:
        """Delete start <= key < end, cheaply; ordered with `apply`."""
        ...

    def flush(self) -> None:
        """Return once everything applied so far is on disk. Raises StorageError, after which: stop."""
        ...

    def size_bytes(self) -> int:
        """Roughly what the engine takes on disk and in memory."""
        ...

    def close(self) -> None:
        """Release files and locks. Does not flush."""
        ...
