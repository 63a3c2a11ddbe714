"""One body for all shells: sync, asyncio and pipeline give the same answers and the same errors."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

import zkv
from tests.client.fake_server import FakeServer
from tests.core.routing.fake_shards import LOST
from zkv.client.driver import Driver
from zkv.core.routing import operations as ops
from zkv.core.shard.commands import WriteGroup


class Shell(Protocol):
    """A way to call a verb by its name and have its result or its error."""

    def call(self, verb: str, *args: object, **options: object) -> Any: ...  # whatever the verb gives

    def rows(self, **options: object) -> list[tuple[bytes, bytes]]: ...

    def close(self) -> None: ...


class SyncShell:
    def __init__(self, address: str) -> None:
        self.client = zkv.connect(address)

    def call(self, verb: str, *args: object, **options: object) -> Any:
        return getattr(self.client, verb)(*args, **options)

    def rows(self, **options: Any) -> list[tuple[bytes, bytes]]:
        return list(self.client.scan(**options))

    def close(self) -> None:
        self.client.close()


class AsyncShell:
    def __init__(self, address: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = self.loop.run_until_complete(zkv.connect_async(address))

    def call(self, verb: str, *args: object, **options: object) -> Any:
        return self.loop.run_until_complete(getattr(self.client, verb)(*args, **options))

    def rows(self, **options: Any) -> list[tuple[bytes, bytes]]:
        async def gather() -> list[tuple[bytes, bytes]]:
            return [row async for row in self.client.scan(**options)]

        return self.loop.run_until_complete(gather())

    def close(self) -> None:
        self.loop.run_until_complete(self.client.close())
        self.loop.close()


class PipelineShell(SyncShell):
    def call(self, verb: str, *args: object, **options: object) -> Any:
        with self.client.pipeline() as pipeline:
            if not hasattr(pipeline, verb):
                return super().call(verb, *args, **options)
            waiting = getattr(pipeline, verb)(*args, **options)
            return waiting.result()


SHELLS: list[Callable[[str], Shell]] = [SyncShell, AsyncShell, PipelineShell]


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
    assert shell.call("put", "k", "v") == 1
    assert shell.call("get", "k") == b"v"
    assert shell.call("get", b"absent") is None
    assert shell.call("get_entry", "k")[:2] == (b"v", 1)
    assert shell.call("delete", "k") is True
    assert shell.call("increment", "n", 5) == 5
    assert list(shell.call("mput", {"a": "1", "b": b"2"})) == [b"a", b"b"]
    assert shell.call("mget", ["a", "b", "c"]) == {b"a": b"1", b"b": b"2", b"c": None}
    assert shell.call("mdelete", ["a", "c"]) == {b"a": True, b"c": False}
    assert sorted(shell.rows()) == [(b"b", b"2"), (b"n", b"5")]
    assert shell.rows(prefix="b") == [(b"b", b"2")]
    receipt = shell.call("receipt", zkv.requests.increment("n"))
    assert (receipt.result, receipt.committed) == (6, True)


def test_tables_status_and_the_map_are_the_same_through_every_shell(shell: Shell) -> None:
    shell.call("create_table", "log", "range", splits=["m"])
    shell.call("mput", {b"%c" % letter: b"v" for letter in b"azmn"}, table="log")
    assert [key for key, _ in shell.rows(table="log")] == [b"a", b"m", b"n", b"z"]
    assert [key for key, _ in shell.rows(table="log", reverse=True, limit=3)] == [b"z", b"n", b"m"]
    assert [table.name for table in shell.call("shard_map").tables] == ["default", "log"]
    shell.call("drop_table", "log")
    with pytest.raises(zkv.NoSuchTable):
        shell.call("get", "a", table="log")
    assert shell.call("status") == {name: {"name": name} for name in ("n1", "n2", "n3", "coordinator")}


def test_errors_are_the_same_through_every_shell(shell: Shell, server: FakeServer) -> None:
    shell.call("put", "k", "v")
    with pytest.raises(zkv.ConditionFailed) as failed:
        shell.call("put", "k", "w", if_absent=True)
    assert (failed.value.version, failed.value.effect) == (1, "none")
    for faulty in ({"key": ""}, {"key": 5}, {"key": "k", "timeout_s": 0}, {"key": "k", "r": "some"}):
        with pytest.raises(zkv.InvalidRequest):
            shell.call("get", **faulty)
    with pytest.raises(zkv.TooLarge):
        shell.call("put", "k", b"v" * (2**20 + 1))
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
