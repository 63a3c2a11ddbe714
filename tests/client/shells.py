"""The three shells behind one face, and what each of them must do: run over a fake server and over real processes."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import pytest

import zkv


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


def check_keys(shell: Shell, table: str) -> None:
    """Every verb on keys, in a table that is new."""
    assert shell.call("put", "k", "v", table=table) == 1
    assert shell.call("get", "k", table=table) == b"v"
    assert shell.call("get", b"absent", table=table) is None
    assert shell.call("get_entry", "k", table=table)[:2] == (b"v", 1)
    assert shell.call("put", "k", "w", table=table, if_version=1) == 2
    assert shell.call("get", "k", table=table, r="linearizable") == b"w"
    assert shell.call("delete", "k", table=table) is True
    assert shell.call("delete", "k", table=table) is False
    assert shell.call("increment", "n", 5, table=table) == 5
    assert list(shell.call("mput", {"a": "1", "b": b"2"}, table=table)) == [b"a", b"b"]
    assert shell.call("mget", ["a", "b", "c"], table=table) == {b"a": b"1", b"b": b"2", b"c": None}
    assert shell.call("mdelete", ["a", "c"], table=table) == {b"a": True, b"c": False}
    assert sorted(shell.rows(table=table)) == [(b"b", b"2"), (b"n", b"5")]
    assert shell.rows(prefix="b", table=table) == [(b"b", b"2")]
    receipt = shell.call("receipt", zkv.requests.increment("n", table=table))
    assert (receipt.result, receipt.committed) == (6, True)
    assert shell.call("put", "early", "v", table=table, w=1) >= 0  # 0, unless it was committed by then
    assert shell.call("put", "late", "v", table=table, w="all") > 0


def check_tables(shell: Shell) -> None:
    """A range table from its creation to its end."""
    shell.call("create_table", "log", "range", splits=["m"])
    with pytest.raises(zkv.TableExists):
        shell.call("create_table", "log")
    shell.call("mput", {b"%c" % letter: b"v" for letter in b"azmn"}, table="log")
    assert [key for key, _ in shell.rows(table="log")] == [b"a", b"m", b"n", b"z"]
    assert [key for key, _ in shell.rows(table="log", reverse=True, limit=3)] == [b"z", b"n", b"m"]
    assert [key for key, _ in shell.rows(table="log", start="b", end="n")] == [b"m"]
    assert "log" in {table.name for table in shell.call("shard_map").tables}
    shell.call("drop_table", "log")
    with pytest.raises(zkv.NoSuchTable):
        shell.call("get", "a", table="log")
    with pytest.raises(zkv.NoSuchTable):
        shell.call("drop_table", "log")


def check_errors(shell: Shell, table: str) -> None:
    """Errors that need no fault."""
    first = shell.call("put", "held", "v", table=table)
    with pytest.raises(zkv.ConditionFailed) as failed:
        shell.call("put", "held", "w", table=table, if_absent=True)
    assert (failed.value.version, failed.value.effect) == (first, "none")
    with pytest.raises(zkv.ConditionFailed) as failed:
        shell.call("increment", "held", table=table)
    assert failed.value.version == first
    for faulty in ({"key": ""}, {"key": 5}, {"key": "k", "timeout_s": 0}, {"key": "k", "r": "some"}):
        with pytest.raises(zkv.InvalidRequest):
            shell.call("get", table=table, **faulty)
    with pytest.raises(zkv.TooLarge):
        shell.call("put", "k", b"v" * (2**20 + 1), table=table)
    with pytest.raises(zkv.InvalidRequest):
        shell.call("increment", "k", table=table, w=1)
