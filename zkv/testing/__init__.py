"""What anybody's tests need: a real cluster of processes (and, in `fixtures`, that cluster for pytest)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zkv.testing.cluster import Cluster

__all__ = ["Cluster"]


def __getattr__(name: str) -> object:
    # Pytest imports this package, for its fixtures, in every project where zkv is installed: that must cost nothing.
    if name == "Cluster":
        from zkv.testing.cluster import Cluster

        return Cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
