"""Pytest fixtures for anybody who tests against a real cluster; pytest finds them once zkv is installed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # pytest loads this file in every project where zkv is installed: it must cost nothing
    from zkv.testing.cluster import Cluster


@pytest.fixture(scope="module")
def zkv_cluster() -> Iterator["Cluster"]:
    """A cluster of a coordinator and three nodes; one for each test module."""
    from zkv.testing.cluster import Cluster

    with Cluster() as cluster:
        yield cluster
