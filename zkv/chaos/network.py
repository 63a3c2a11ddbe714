"""What a run can do to the links between processes, whoever does it: namespaces, or proxies where there are none."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from zkv.testing.cluster import Place

CLIENTS = "clients"  # the load and the run itself, as an end of a link
Link = tuple[str, str]  # from, to; a cut one loses, or holds back, all that goes that way


class Network(Protocol):
    """The links of one cluster. Everything is undone by `heal`, and gone after `close`."""

    @property
    def name(self) -> str:
        """How a person calls it."""

    @property
    def places(self) -> Mapping[str, Place]:
        """Where the cluster's processes must live for it to work."""

    def cut(self, links: Iterable[Link]) -> None:
        """From now on nothing passes these links."""

    def slow(self, name: str) -> str:
        """From now on the links of one process are slow; says how slow."""

    def heal(self) -> None:
        """All is as at the beginning."""

    def close(self) -> None:
        """Take it down."""
