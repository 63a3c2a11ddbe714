"""What all tests share. The cluster of real processes is the fixture `zkv_cluster` that zkv itself brings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.small_disk import SmallDisk

# A busy machine is no fault of the code: no deadline for one example; the suite has its own timeout.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("suite")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 400 MiB, to be filled; for root on Linux."""
    disk = SmallDisk(tmp_path / "disk", mebibytes=400)
    yield disk
    disk.unmount()
