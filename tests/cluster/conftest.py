"""One real cluster for the tests of a file, and waits for conditions."""

from collections.abc import Iterator

import pytest

from zkv.testing import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3) as running:
        yield running
