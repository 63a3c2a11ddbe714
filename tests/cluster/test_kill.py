"""kill -9 and SIGSTOP under a checked load: nothing acknowledged is lost, nothing applied twice, no read is stale."""

from functools import partial

import pytest

from tests.cluster.load import CheckedLoad
from tests.cluster.rounds import KINDS, Kind, absence, run_round
from zkv.testing import Cluster

SHORTER = {"absence": partial(absence, lasting_s=8.0)}  # the whole minute: python -m tests.cluster.rounds


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_round_loses_nothing_doubles_nothing_and_shows_nothing_stale(cluster: Cluster, kind: str) -> None:
    load = CheckedLoad(cluster.address, tag=kind)
    load.start()
    round_of_it: Kind = SHORTER.get(kind, KINDS[kind])
    run_round(cluster, load, round_of_it)
    found = load.stop()
    assert found.faults == []
    assert found.operations > 0
