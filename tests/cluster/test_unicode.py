"""Real input: all Unicode character names, in with `zkv import`, back through each node, before and after kill -9."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import zkv
from zkv.testing import Cluster

ROWS_MIN = 130_000


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table as a tab-separated file: code point, name."""
    path = tmp_path_factory.mktemp("unicode") / "names.tsv"
    rows = ((f"{code:06X}", unicodedata.name(chr(code), "")) for code in range(sys.maxunicode + 1))
    path.write_text("".join(f"{key}\t{name}\n" for key, name in rows if name))
    return path


def zkv_command(address: str, *words: str) -> bytes:
    """Run a zkv command to its end and return what it printed."""
    command = [sys.executable, "-m", "zkv.cli.main", *words, "--address", address]
    return subprocess.run(command, check=True, capture_output=True, timeout=240).stdout


def read_back(address: str, expected: dict[bytes, bytes]) -> None:
    """Every row equals, read through that one node alone."""
    keys = list(expected)
    with zkv.connect(address, direct=False, timeout_s=30.0) as client:
        for first in range(0, len(keys), 1_000):
            part = keys[first : first + 1_000]
            assert client.mget(part) == {key: expected[key] for key in part}


@pytest.mark.timeout(600)
def test_every_character_name_goes_in_and_comes_back_also_after_all_were_killed(cluster: Cluster, names: Path) -> None:
    lines = names.read_bytes().splitlines()
    expected = dict(line.split(b"\t", 1) for line in lines)
    assert len(expected) == len(lines) > ROWS_MIN
    zkv_command(cluster.address, "import", str(names))
    for node in ("node1", "node2", "node3"):
        read_back(cluster.address_of(node), expected)
    for name in cluster.names:
        cluster.kill(name)
    for name in cluster.names:
        cluster.start(name)
    cluster.wait_until_whole()
    for node in ("node1", "node2", "node3"):
        read_back(cluster.address_of(node), expected)
    assert sorted(zkv_command(cluster.address, "export").splitlines()) == sorted(lines)
