"""What the client's tests ask of a fake server, asked of real processes through every shell."""

from collections.abc import Iterator

import pytest

import zkv
from tests.client.shells import SHELLS, Shell, check_errors, check_keys, check_tables
from zkv.testing.cluster import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=SHELLS, ids=["sync", "asyncio", "pipeline"])
def shell(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Shell]:
    shell: Shell = request.param(cluster.address)
    yield shell
    shell.close()


@pytest.fixture
def table(shell: Shell) -> Iterator[str]:
    """A table of its own."""
    name = f"conformance-{type(shell).__name__}"
    shell.call("create_table", name)
    yield name
    shell.call("drop_table", name)


def test_each_verb_gives_the_same_through_every_shell(shell: Shell, table: str) -> None:
    check_keys(shell, table)


def test_tables_are_the_same_through_every_shell(shell: Shell) -> None:
    check_tables(shell)


def test_errors_are_the_same_through_every_shell(shell: Shell, table: str) -> None:
    check_errors(shell, table)


def test_a_client_that_may_speak_to_one_node_only_gets_right_answers_for_every_key(cluster: Cluster) -> None:
    rows = {b"far%d" % number: b"%d" % number for number in range(300)}
    with zkv.connect(cluster.address) as client:
        client.mput(rows)
        nodes = [node.address for node in client.shard_map().nodes]
    for address in nodes:
        with zkv.connect(address, direct=False) as client:
            assert client.mget(rows) == rows
            assert client.increment(b"seen by each") > 0
    with zkv.connect(*nodes) as client:
        assert client.get(b"seen by each") == b"%d" % len(nodes)
