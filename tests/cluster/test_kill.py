"""kill -9 and SIGSTOP under a checked load: nothing acknowledged is lost, nothing applied twice, no read is stale."""

import pytest

from tests.cluster.load import CheckedLoad
from tests.cluster.rounds import KINDS, run_round
from zkv.testing import Cluster


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_round_loses_nothing_doubles_nothing_and_shows_nothing_stale(cluster: Cluster, kind: str) -> None:
    load = CheckedLoad(cluster.address, tag=kind)
    load.start()
    run_round(cluster, load, kind)
    found = load.stop()
    assert found.faults == []
    assert found.operations > 0
