"""A state engine in a dict: what the core sees of one."""

from collections.abc import Iterator

from zkv.core.shard.rows import Changes


class DictRows:
    """Rows as of the last `apply`."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.held.get(key)

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(((k, v) for k, v in self.held.items() if start <= k < end), reverse=reverse))

    def apply(self, changes: Changes) -> None:
        for key, value in changes.items():
            if value is None:
                self.held.pop(key, None)
            else:
                self.held[key] = value
