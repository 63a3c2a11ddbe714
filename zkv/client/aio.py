"""The asyncio client: the same verbs awaited. The event loop waits for the one FD that stands for all sockets.

It wakes the loop only once all that was there is taken (`Wait`): so whoever was sent on is asked after each turn.
"""

import asyncio
from collections.abc import Iterable, Mapping
from secrets import randbits
from types import TracebackType
from typing import TypeVar

from zkv.client.rows import AsyncRows
from zkv.client.turns import Given, Turns, deadline_after, parse_addresses
from zkv.core.cluster.shardmap import MapSnapshot
from zkv.core.routing import admin
from zkv.core.routing import operations as ops
from zkv.core.routing.operations import Bytes, Entry, KeyRequest, Level, Receipt, Request
from zkv.core.routing.scan import Scan
from zkv.errors import InvalidRequest, ZkvError
from zkv.net.clock import now_ms

T = TypeVar("T")


class AsyncClient:
    """A connection to a cluster for one event loop; see Client for the verbs. Made by `connect_async`.

    A call that is cancelled may still take effect.
    """

    def __init__(self, *addresses: Given, timeout_s: float = 5.0, direct: bool = True) -> None:
        deadline_after(timeout_s, 0)
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._turns = Turns(parse_addresses(addresses), direct=direct)
        self._turn_is_due = False
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop.add_reader(self._turns.waiting.fileno(), self._wake)
        self._call_turn()

    async def put(
        self,
        key: Bytes,
        value: Bytes,
        *,
        table: str = "default",
        if_version: int | None = None,
        if_absent: bool = False,
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> int:
        """See Client.put."""
        request = ops.put(key, value, table=table, if_version=if_version, if_absent=if_absent, w=w)
        return await self.ask(request, timeout_s=timeout_s)

    async def get(
        self, key: Bytes, *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> bytes | None:
        """See Client.get."""
        return await self.ask(ops.get(key, table=table, r=r), timeout_s=timeout_s)

    async def get_entry(
        self, key: Bytes, *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> Entry | None:
        """See Client.get_entry."""
        return await self.ask(ops.get_entry(key, table=table, r=r), timeout_s=timeout_s)

    async def delete(
        self,
        key: Bytes,
        *,
        table: str = "default",
        if_version: int | None = None,
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> bool:
        """See Client.delete."""
        return await self.ask(ops.delete(key, table=table, if_version=if_version, w=w), timeout_s=timeout_s)

    async def increment(
        self, key: Bytes, by: int = 1, *, table: str = "default", w: Level = "majority", timeout_s: float | None = None
    ) -> int:
        """See Client.increment."""
        return await self.ask(ops.increment(key, by, table=table, w=w), timeout_s=timeout_s)

    async def mput(
        self,
        rows: Mapping[bytes, Bytes] | Mapping[str, Bytes],
        *,
        table: str = "default",
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> dict[bytes, int]:
        """See Client.mput."""
        return await self.ask(ops.mput(rows, table=table, w=w), timeout_s=timeout_s)

    async def mget(
        self, keys: Iterable[Bytes], *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> dict[bytes, bytes | None]:
        """See Client.mget."""
        return await self.ask(ops.mget(keys, table=table, r=r), timeout_s=timeout_s)

    async def mdelete(
        self, keys: Iterable[Bytes], *, table: str = "default", w: Level = "majority", timeout_s: float | None = None
    ) -> dict[bytes, bool]:
        """See Client.mdelete."""
        return await self.ask(ops.mdelete(keys, table=table, w=w), timeout_s=timeout_s)

    def scan(  # noqa: PLR0913  each names one side of the same window
        self,
        start: Bytes | None = None,
        end: Bytes | None = None,
        prefix: Bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
        table: str = "default",
        r: str = "linearizable",
        cursor: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncRows:
        """See Client.scan; the iterator is asynchronous."""
        scan = Scan(table, start=start, end=end, prefix=prefix, limit=limit, reverse=reverse, r=r, cursor=cursor)
        return AsyncRows(scan, lambda request: self.ask(request, timeout_s=timeout_s))

    async def receipt(self, request: KeyRequest[T], *, timeout_s: float | None = None) -> Receipt[T]:
        """See Client.receipt."""
        return await self.ask(ops.with_receipt(request), timeout_s=timeout_s)

    async def create_table(
        self,
        name: str,
        partitioner: str = "hash",
        *,
        replicas: int = 3,
        shards: int | None = None,
        splits: Iterable[Bytes] = (),
        timeout_s: float | None = None,
    ) -> None:
        """See Client.create_table."""
        request = admin.create_table(
            name, randbits(62), partitioner=partitioner, replicas=replicas, shards=shards, splits=tuple(splits)
        )
        await self.ask(request, timeout_s=timeout_s)

    async def merge_shards(self, name: str, at: Bytes, *, timeout_s: float | None = None) -> None:
        """See Client.merge_shards."""
        await self.ask(admin.merge_shards(name, at), timeout_s=timeout_s)

    async def split_table(self, name: str, at: Bytes, *, timeout_s: float | None = None) -> None:
        """See Client.split_table."""
        await self.ask(admin.split_table(name, at), timeout_s=timeout_s)

    async def drop_table(self, name: str, *, timeout_s: float | None = None) -> None:
        """See Client.drop_table."""
        await self.ask(admin.drop_table(name), timeout_s=timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> dict[str, admin.Figures | None]:
        """See Client.status."""
        return await self.ask(admin.status(), timeout_s=timeout_s)

    async def shard_map(self, *, timeout_s: float | None = None) -> MapSnapshot:
        """See Client.shard_map."""
        return await self.ask(admin.shard_map(), timeout_s=timeout_s)

    def ask(self, request: Request[T], *, timeout_s: float | None = None) -> "asyncio.Future[T]":
        """Hand a request over (see `zkv.requests`); what one pass of the event loop asks travels together."""
        if self._closed:
            raise InvalidRequest("the client is closed")
        now = now_ms()
        deadline_ms = deadline_after(self._timeout_s if timeout_s is None else timeout_s, now)
        future: asyncio.Future[T] = self._loop.create_future()
        self._turns.router.submit(request, future, deadline_ms, now)
        self._call_turn()
        return future

    async def close(self) -> None:
        """Close the connections. Calls under way end with Unavailable; later ones raise InvalidRequest."""
        if self._closed:
            return
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._loop.remove_reader(self._turns.waiting.fileno())
        for token, outcome in self._turns.router.abandon():
            _bring(token, outcome)
        self._turns.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _call_turn(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """What the loop is asked for by `ask`, an alarm, or a turn that left something."""
        self._turn_is_due = False
        if not self._closed:
            self._send(self._turns.receive(self._turns.waiting.ready(0)))

    def _wake(self) -> None:
        """Something has come: at once, for callers whose answers are here ask again in this pass of the loop."""
        if self._closed:
            return
        turns = self._turns
        now = turns.receive(turns.waiting.ready(0))
        for token, outcome in turns.finished():
            _bring(token, outcome)
        self._send(now)

    def _send(self, now: int) -> None:
        turns = self._turns
        turns.send(now)
        for token, outcome in turns.finished():
            _bring(token, outcome)
        if turns.waiting.here():
            self._call_turn()
        self._set_alarm(now)

    def _set_alarm(self, now: int) -> None:
        when = self._loop.time() + max(self._turns.router.next_ms() - now, 0) / 1_000
        if self._alarm is not None and not self._alarm.cancelled():
            if self._loop.time() < self._alarm.when() <= when:
                return  # it comes early enough, and sets the next one
            self._alarm.cancel()
        self._alarm = self._loop.call_at(min(when, self._loop.time() + 3_600), self._call_turn)


async def connect_async(*addresses: Given, timeout_s: float = 5.0, direct: bool = True) -> AsyncClient:
    """A client for the running event loop; see Client for the arguments and what it raises."""
    client = AsyncClient(*addresses, timeout_s=timeout_s, direct=direct)
    try:
        await client.shard_map()
    except BaseException:
        await client.close()
        raise
    return client


def _bring(token: object, outcome: object) -> None:
    assert isinstance(token, asyncio.Future)
    if token.done():
        return  # its caller was cancelled
    if isinstance(outcome, ZkvError):
        token.set_exception(outcome)
    else:
        token.set_result(outcome)
