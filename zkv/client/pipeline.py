"""Many requests in flight from one thread: each verb returns the future of its result."""

from collections import deque
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Protocol, TypeVar

from zkv.client.waiting import Waiting
from zkv.core.routing import operations as ops
from zkv.core.routing.operations import Bytes, Entry, KeyRequest, Level, Receipt, Request

T = TypeVar("T")
OUTSTANDING_MAX: Final = 8_192  # above it a verb waits for the oldest result: memory stays bounded


class Ask(Protocol):
    """How a client takes a request."""

    def __call__(self, request: Request[T], *, timeout_s: float | None = None) -> Waiting[T]: ...


class Pipeline:
    """A context manager whose verbs return futures (`.result()`). Owned by one thread.

    Leaving it waits for everything, then raises the first error that nobody has asked for. The requests of one pipeline
    are under way together: which of two writes to one key comes last is not promised once one has to be retried.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._under_way: deque[Waiting[object]] = deque()
        self._failed: list[Waiting[object]] = []

    def put(
        self,
        key: Bytes,
        value: Bytes,
        *,
        table: str = "default",
        if_version: int | None = None,
        if_absent: bool = False,
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> Waiting[int]:
        """See Client.put."""
        request = ops.put(key, value, table=table, if_version=if_version, if_absent=if_absent, w=w)
        return self._add(request, timeout_s)

    def get(
        self, key: Bytes, *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> Waiting[bytes | None]:
        """See Client.get."""
        return self._add(ops.get(key, table=table, r=r), timeout_s)

    def get_entry(
        self, key: Bytes, *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> Waiting[Entry | None]:
        """See Client.get_entry."""
        return self._add(ops.get_entry(key, table=table, r=r), timeout_s)

    def delete(
        self,
        key: Bytes,
        *,
        table: str = "default",
        if_version: int | None = None,
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> Waiting[bool]:
        """See Client.delete."""
        return self._add(ops.delete(key, table=table, if_version=if_version, w=w), timeout_s)

    def increment(
        self, key: Bytes, by: int = 1, *, table: str = "default", w: Level = "majority", timeout_s: float | None = None
    ) -> Waiting[int]:
        """See Client.increment."""
        return self._add(ops.increment(key, by, table=table, w=w), timeout_s)

    def mput(
        self,
        rows: Mapping[bytes, Bytes] | Mapping[str, Bytes],
        *,
        table: str = "default",
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> Waiting[dict[bytes, int]]:
        """See Client.mput."""
        return self._add(ops.mput(rows, table=table, w=w), timeout_s)

    def mget(
        self, keys: Iterable[Bytes], *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> Waiting[dict[bytes, bytes | None]]:
        """See Client.mget."""
        return self._add(ops.mget(keys, table=table, r=r), timeout_s)

    def mdelete(
        self, keys: Iterable[Bytes], *, table: str = "default", w: Level = "majority", timeout_s: float | None = None
    ) -> Waiting[dict[bytes, bool]]:
        """See Client.mdelete."""
        return self._add(ops.mdelete(keys, table=table, w=w), timeout_s)

    def receipt(self, request: KeyRequest[T], *, timeout_s: float | None = None) -> Waiting[Receipt[T]]:
        """See Client.receipt."""
        return self._add(ops.with_receipt(request), timeout_s)

    def wait(self) -> None:
        """Return when everything asked so far has ended."""
        while self._under_way:
            self._retire(self._under_way.popleft())

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()
        unasked = [waiting for waiting in self._failed if not waiting.asked]
        if unasked and error is None:
            unasked[0].result()

    def _add(self, request: Request[T], timeout_s: float | None) -> Waiting[T]:
        under_way = self._under_way
        while under_way and (under_way[0].is_done or len(under_way) >= OUTSTANDING_MAX):
            self._retire(under_way.popleft())
        waiting = self._ask(request, timeout_s=timeout_s)
        under_way.append(waiting)
        return waiting

    def _retire(self, waiting: Waiting[object]) -> None:
        if waiting.error() is not None:
            self._failed.append(waiting)
