"""Data folders of another format under real processes: refused with advice, and left as they were."""

import json
import subprocess
from pathlib import Path

import pytest

from zkv.server.exits import Exit
from zkv.testing import Cluster

_START_S = 60.0


def contents(path: Path) -> dict[str, tuple[bytes, int]]:
    """Each file's bytes and time of change, and each folder's."""
    whole = {"": path} | {str(found.relative_to(path)): found for found in path.rglob("*")}
    return {
        name: (found.read_bytes() if found.is_file() else b"", found.stat().st_mtime_ns)
        for name, found in whole.items()
    }


@pytest.mark.parametrize("name", ["node1", "coordinator"])
def test_a_process_refuses_a_folder_of_a_newer_format_and_the_version_that_wrote_it_goes_on(
    cluster: Cluster, name: str
) -> None:
    with cluster.client() as client:
        client.put("kept", name)
    cluster.terminate(name)
    folder = cluster.folder_of(name)
    identity = (folder / "identity.json").read_bytes()
    (folder / "identity.json").write_text(json.dumps(json.loads(identity) | {"format": 3, "new": []}))
    before = contents(folder)
    ended = subprocess.run(cluster.command(name), capture_output=True, text=True, timeout=_START_S, check=False)
    assert ended.returncode == Exit.STORAGE
    [line] = [line for line in ended.stderr.splitlines() if "format" in line]
    assert "identity.json is of format 3, written by a newer zkv; this one reads up to 2" in line
    assert "start it with the version that wrote it" in line
    assert contents(folder) == before
    (folder / "identity.json").write_bytes(identity)
    cluster.start(name)
    cluster.wait_until_whole()
    with cluster.client() as client:
        assert client.get("kept") == name.encode()
