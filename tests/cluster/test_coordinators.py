"""Three coordinators as real processes: the leading one is killed again and again, and one comes, and one goes."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zkv
from tests.cluster.load import CheckedLoad
from tests.cluster.waits import wait_until
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import MapDelta
from zkv.net import drain, sockets
from zkv.testing import Cluster
from zkv.testing.ports import ClaimedPorts
from zkv.wire import codec


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3, coordinators=3) as running:
        yield running


class Ear:
    """Hears what is broadcast at any of these addresses, from its making until `close`."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.heard: list[MapDelta] = []
        self._context = sockets.context()
        self._sources = [sockets.subscriber(self._context, address) for address in addresses]
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._closing.is_set():
            for source in [source for source in self._sources if source.poll(5)]:
                messages = map(codec.decode_broadcast, drain.drain(source))
                self.heard += [message for message in messages if isinstance(message, MapDelta)]
        for source in self._sources:
            sockets.close(source, clean=False)
        self._context.term()

    def close(self) -> list[MapDelta]:
        """What it has heard."""
        self._closing.set()
        self._thread.join()
        return self.heard


def leader(client: zkv.Client) -> str:
    """The coordinator that leads by its own word; waits for one."""
    found: list[str] = []

    def led() -> bool:
        told = {name: one for name, one in client.status().items() if one and one.get("role") == "coordinator"}
        found[:] = [name for name, one in told.items() if one.get("leading")]
        return len(found) == 1

    wait_until(led, "one coordinator leads")
    return found[0]


def test_the_leading_coordinator_dies_three_times_and_no_request_for_data_fails(cluster: Cluster) -> None:
    load = CheckedLoad(cluster.address, outstanding=16, clients=2, readers=4, tag="ha")
    with cluster.client(timeout_s=15.0) as client:
        load.start()
        ear = Ear(client.shard_map().publishers)
        changes: list[Callable[[], None]] = [
            lambda: client.create_table("young", shards=2),
            lambda: cluster.start("node4"),
            lambda: client.drop_table("young"),
        ]
        for change in changes:
            dead = leader(client)
            cluster.kill(dead)
            change()
            cluster.start(dead)
        found = load.stop()
        heard = ear.close()
        wait_until(lambda: maps_agree(client), "every coordinator and this client have the same map")
        names = {node.node for node in client.shard_map().nodes}
    assert found.faults == []
    assert (found.refused, found.unknown) == (0, 0)
    versions = [delta.version for delta in heard]
    assert versions == sorted(versions), "nobody published a version after a later one"
    assert set(versions) == set(range(versions[0], versions[-1] + 1)), "nor left one out: the last is said again"
    assert names == {"node1", "node2", "node3", "node4"}


def maps_agree(client: zkv.Client) -> bool:
    told = [one for one in client.status().values() if one and one.get("role") == "coordinator"]
    return len(told) == 3 and {one["map_version"] for one in told} == {client.shard_map().version}


def test_one_more_comes_and_the_one_that_leads_goes(cluster: Cluster, tmp_path: Path) -> None:
    with ClaimedPorts(2) as claimed, cluster.client() as client:
        listen, publish = claimed.ports
        member = f"c4=127.0.0.1:{listen}/{publish}"
        group = ",".join([*map(cluster.member, cluster.coordinators), member])
        words = ["coordinator", "--id", "c4", "--data", str(tmp_path / "c4"), "--group", group]
        with subprocess.Popen([sys.executable, "-m", "zkv.cli.main", *words]) as added:
            try:
                shown = zkv_cli(cluster, "coordinators", "add", member)
                assert shown == ""
                going = leader(client)
                zkv_cli(cluster, "coordinators", "remove", going, "--yes")
                cluster.terminate(going)
                assert leader(client) != going
                rows = zkv_cli(cluster, "coordinators").splitlines()[1:]
                expected = sorted({*cluster.coordinators, "c4"} - {going})
                assert sorted(row.split()[0] for row in rows) == expected
                assert all(row.split()[-1] == "up" for row in rows)
                client.create_table("late", shards=1)
                wait_until(lambda: f"127.0.0.1:{listen}" in client.shard_map().coordinators, "clients hear of it")
                assert ShardMap(client.shard_map()).table("late") is not None
            finally:
                added.terminate()


def zkv_cli(cluster: Cluster, *words: str) -> str:
    addresses = ",".join(cluster.addresses())
    command = [sys.executable, "-m", "zkv.cli.main", *words, "--address", addresses]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
