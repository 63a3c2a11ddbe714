"""What can be wrong with a data folder, by what must be done about it."""

from zkv.errors import StorageError

REJOIN = "move the data folder away and start again: the node rejoins empty, and the others bring its data back"


class DiskFull(StorageError):
    """There is no room. Nothing was written or lost; the same call may be tried again when there is room."""

    advice = "free some space on the data folder's disk; it goes on by itself"


class FlushFailed(StorageError):
    """A write or flush failed: what the page cache now shows may not be on disk (rule 4). Fatal, never retried."""

    advice = f"check the disk; then {REJOIN}"


class Damaged(StorageError):
    """The folder does not hold what was on disk (rule 4). Nothing is guessed: the process does not start."""

    advice = REJOIN
