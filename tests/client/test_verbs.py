"""One body for all shells: sync, asyncio and pipeline give the same answers and the same errors."""

from collections.abc import Iterator

import pytest

import zkv
from tests.client.fake_server import FakeServer
from tests.client.shells import SHELLS, Shell, check_errors, check_keys, check_tables
from tests.core.routing.fake_shards import LOST
from zkv.client.driver import Driver
from zkv.core.routing import operations as ops
from zkv.core.shard.commands import WriteGroup


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(params=SHELLS, ids=["sync", "asyncio", "pipeline"])
def shell(request: pytest.FixtureRequest, server: FakeServer) -> Iterator[Shell]:
    shell: Shell = request.param(server.coordinator)
    yield shell
    shell.close()


def test_each_verb_gives_the_same_through_every_shell(shell: Shell) -> None:
    check_keys(shell, "default")


def test_tables_are_the_same_through_every_shell(shell: Shell) -> None:
    check_tables(shell)


def test_errors_are_the_same_through_every_shell(shell: Shell) -> None:
    check_errors(shell, "default")


def test_status_is_the_same_through_every_shell(shell: Shell) -> None:
    assert shell.call("status") == {name: {"name": name} for name in ("n1", "n2", "n3", "coordinator")}


def test_a_lost_answer_is_a_timeout_of_unknown_effect_through_every_shell(shell: Shell, server: FakeServer) -> None:
    server.fault = lambda address, group: LOST if isinstance(group, WriteGroup) else None
    with pytest.raises(zkv.Timeout) as late:
        shell.call("put", "k", "w", timeout_s=0.2)
    assert late.value.effect == "unknown"


def test_a_killed_leader_costs_no_call_and_no_call_is_applied_twice(shell: Shell, server: FakeServer) -> None:
    key = server.key_in(1)
    assert shell.call("increment", key) == 1
    server.die(server.leader_address(1))
    server.do_there(lambda: server.lead(1, "n2"))
    assert shell.call("increment", key) == 2
    assert len(server.effects) == 2


def test_a_client_hears_of_a_table_that_another_made(shell: Shell, server: FakeServer) -> None:
    with zkv.connect(server.coordinator) as other:
        other.create_table("new")
    assert shell.call("put", "k", "v", table="new") == 1


def test_the_driver_does_the_same_with_callbacks(server: FakeServer) -> None:
    results: list[object] = []
    with Driver(server.coordinator) as driver:
        driver.ready()
        for request in (ops.put("k", "v"), ops.get("k"), ops.put("k", "w", if_absent=True)):
            driver.submit(request, results.append)
            driver.drain()
    version, value, error = results
    assert (version, value) == (1, b"v")
    assert isinstance(error, zkv.ConditionFailed)


def test_a_callback_may_submit_what_leaves_in_the_same_turn(server: FakeServer) -> None:
    with Driver(server.coordinator) as driver:
        driver.ready()
        sums: list[object] = []

        def again(result: object) -> None:
            sums.append(result)
            if len(sums) < 50:
                driver.submit(ops.increment("n"), again)

        driver.submit(ops.increment("n"), again)
        driver.drain()
    assert sums == list(range(1, 51))
