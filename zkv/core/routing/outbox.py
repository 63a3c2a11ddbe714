"""What leaves at the end of a turn: one Requests to each node, however many asked for something."""

from typing import Final

from zkv import limits
from zkv.core.cluster.frames import Requests
from zkv.core.message import Message
from zkv.core.routing.peers import Target
from zkv.core.shard.commands import Group

_FRAME_BYTES: Final = limits.FRAME_BYTES_MAX - 256 * 1024


class Outbox:
    """Messages by receiver, in order; groups gather until `take` frames them."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, Message]] = []
        self._groups: dict[Target, list[Group]] = {}
        self._sizes: dict[Target, int] = {}
        self._full: list[tuple[Target, list[Group]]] = []

    def tell(self, address: str, message: Message) -> None:
        """A message of its own."""
        self._messages.append((address, message))

    def ask(self, target: Target, group: Group, size: int) -> None:
        """A group of about `size` bytes, in the next frame that has room for it."""
        groups = self._groups.get(target)
        if groups is None:
            groups = self._groups[target] = []
        filled = self._sizes.get(target, 0)
        if groups and (filled + size > _FRAME_BYTES or len(groups) == limits.FRAME_GROUPS_MAX):
            self._full.append((target, groups))
            groups = self._groups[target] = []
            filled = 0
        groups.append(group)
        self._sizes[target] = filled + size

    def take(self, cluster: int, map_version: int) -> list[tuple[str, Message]]:
        """Everything, in the order in which it must leave."""
        messages, self._messages = self._messages, []
        for target, groups in [*self._full, *self._groups.items()]:
            messages.append((target.address, Requests(cluster, map_version, tuple(groups), target.forwarding)))
        self._full, self._groups, self._sizes = [], {}, {}
        return messages
