"""Which ends of a process are answers, and which a restarter mends."""

import pytest

from zkv.server.exits import Exit, may_restart


@pytest.mark.parametrize(
    ("status", "again"),
    [(0, False), (1, True), (2, False), (70, False), (78, False), (-9, True), (-11, True), (-15, True), (137, True)],
)
def test_only_accidents_are_mended(status: int, again: bool) -> None:
    assert may_restart(status) == again


def test_a_failed_disk_has_the_status_that_operators_know() -> None:
    assert Exit.STORAGE == 70
