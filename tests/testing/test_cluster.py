"""`zkv.testing.Cluster` does to its processes what it says."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from zkv.errors import StartError, Timeout, Unavailable
from zkv.testing import Cluster, ports
from zkv.testing.ports import ClaimedPorts, is_free


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_paused_and_started_again_it_keeps_its_word(tmp_path: Path) -> None:
    with Cluster(nodes=3, data=tmp_path / "data") as cluster:
        assert cluster.names == ["coordinator", "node1", "node2", "node3"]
        for name in cluster.names:
            assert int((cluster.data / name / "pid").read_text()) == cluster.pid(name)
        with cluster.client() as client:
            client.put("key", "before")
        leader = cluster.leader_of("key")
        killed = cluster.pid(leader)
        cluster.kill(leader)
        assert not is_running(killed)
        assert cluster.leader_of("key") != leader
        with cluster.client() as client:
            client.put("key", "after")
        cluster.start(leader)
        with pytest.raises(StartError):
            cluster.start(leader)
        paused = cluster.leader_of("key")
        cluster.pause(paused)
        assert cluster.leader_of("key") != paused
        cluster.resume(paused)
        assert cluster.terminate("coordinator") == 0
        cluster.start("coordinator")
        pids = [cluster.pid(name) for name in cluster.names]
    assert [pid for pid in pids if is_running(pid)] == []
    with Cluster(nodes=3, data=tmp_path / "data") as again, again.client() as client:
        assert client.get("key") == b"after"


def test_a_temporary_cluster_leaves_nothing() -> None:
    cluster = Cluster(nodes=1)
    assert "node1 serves at" in cluster.log("node1")
    assert cluster.data.exists()
    cluster.stop()
    cluster.stop()
    assert not cluster.data.exists()


def test_a_process_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "node1").write_text("not a folder")
    with pytest.raises(StartError, match=r"(?s)node1 ended with exit status 2.*is not a folder"):
        Cluster(nodes=1, data=tmp_path)


def test_a_cluster_that_does_not_serve_is_a_timeout(tmp_path: Path) -> None:
    with Cluster(nodes=1, data=tmp_path) as cluster:
        cluster.kill("node1")
        with pytest.raises((Timeout, Unavailable)):
            cluster.client(timeout_s=0.5).put("key", "value")


def test_two_claims_never_share_a_port() -> None:
    with ClaimedPorts(20) as first, ClaimedPorts(20) as second:
        assert len(set(first.ports + second.ports)) == 40
        assert all(is_free(port) for port in first.ports)


def test_a_port_is_claimed_with_those_beside_it_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # nobody else's claims
    monkeypatch.setattr(ports, "_FIRST", 31_000)
    monkeypatch.setattr(ports, "_LAST", 31_002)
    monkeypatch.setattr(ports, "is_free", lambda port: port != 31_001)
    with ClaimedPorts(1, beside=(10, 20)) as claimed:
        assert claimed.ports == [31_000]
        with pytest.raises(StartError):
            ClaimedPorts(1)
    with pytest.raises(StartError):
        ClaimedPorts(1, beside=(1,))
    with ClaimedPorts(1) as claimed:
        assert claimed.ports == [31_000]


OWNER = """
import signal
from zkv.testing import Cluster
cluster = Cluster(nodes=1)
cluster.pause("node1")
print(cluster.data, *(cluster.pid(name) for name in cluster.names), flush=True)
signal.pause()
"""


def test_nothing_outlives_an_owner_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder, *pids = owner.stdout.readline().split()
        assert len(pids) == 2
        assert all(is_running(int(pid)) for pid in pids)
        owner.kill()
    end = time.monotonic() + 20.0
    while Path(folder).exists() or any(is_alive(int(pid)) for pid in pids):
        assert time.monotonic() < end, f"{folder} or one of {pids} is still there"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs: one that has ended and that nobody has taken leave of does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip() != "" and not state.startswith("Z")
