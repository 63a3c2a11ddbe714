"""A torn end must be cut, and a flipped bit must be found, wherever they fall."""

import shutil
from pathlib import Path
from random import Random

import pytest

from tests.storage.test_disk_log import ONE, SEGMENT, filled, held
from zkv.chaos.log_damage import flip, tear
from zkv.storage.faults import Damaged
from zkv.storage.log import Log


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three segments: entries 1 to 120 of one replica."""
    folder = tmp_path_factory.mktemp("log")
    filled(folder, *range(1, 121)).close()
    assert len(list(folder.iterdir())) >= 3
    return folder


@pytest.mark.parametrize("seed", range(40))
def test_a_torn_end_is_cut_and_costs_nothing_that_was_written(log_folder: Path, tmp_path: Path, seed: int) -> None:
    folder = shutil.copytree(log_folder, tmp_path / "log")
    said = tear(folder, Random(seed))
    log, recovered = Log.open(folder, segment_bytes=SEGMENT)
    log.close()
    assert recovered.torn_bytes > 0, said
    assert [entry.index for entry in recovered.replicas[ONE].entries] == list(range(1, 121))
    assert held(folder) == recovered.replicas, "nothing is left of it"


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_refused(log_folder: Path, tmp_path: Path, seed: int) -> None:
    folder = shutil.copytree(log_folder, tmp_path / "log")
    said = flip(folder, Random(seed))
    changed = [path for path in folder.iterdir() if path.read_bytes() != (log_folder / path.name).read_bytes()]
    assert [path.name for path in changed] == [said.rpartition(" ")[2]]
    with pytest.raises(Damaged):
        Log.open(folder, segment_bytes=SEGMENT)
