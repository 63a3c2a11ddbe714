"""What `scan` returns: an iterator that asks for the next page while its caller has this one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from zkv.client.waiting import Waiting
from zkv.core.routing.operations import KeyRequest
from zkv.core.routing.scan import Row, Scan, ScanPage


class _Progress:
    """What both iterators know: the page in hand and the last row given out."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._page: ScanPage | None = None
        self._rows: Iterator[Row] = iter(())
        self._last: Row | None = None

    @property
    def cursor(self) -> str | None:
        """Give it to an equal `scan` to go on after the last row that came from this one; None: there is no more."""
        if self._page is not None and self._last is not None:
            self._scan.handed_out(self._page, self._last)
        return self._scan.cursor

    def _next_in_page(self) -> tuple[bytes, bytes] | None:
        row = next(self._rows, None)
        if row is not None:
            self._last = row
            return row[0], row[2]
        if self._page is not None:
            self._scan.page_handed_out(self._page)
            self._page = self._last = None
        return None

    def _take(self, page: ScanPage) -> KeyRequest[ScanPage] | None:
        """Have this page next; returns the request for the one after it."""
        self._scan.arrived(page)
        self._page, self._rows, self._last = page, iter(page.rows), None
        return self._scan.next_request()


class Rows(_Progress):
    """Iterates over (key, value). An error ends the iteration; `cursor` says where it had come to."""

    def __init__(self, scan: Scan, ask: Callable[[KeyRequest[ScanPage]], Waiting[ScanPage]]) -> None:
        super().__init__(scan)
        self._ask = ask
        first = scan.next_request()
        self._coming = ask(first) if first is not None else None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self

    def __next__(self) -> tuple[bytes, bytes]:
        while True:
            row = self._next_in_page()
            if row is not None:
                return row
            coming, self._coming = self._coming, None
            if coming is None:
                raise StopIteration
            request = self._take(coming.result())
            self._coming = self._ask(request) if request is not None else None


class AsyncRows(_Progress):
    """The same under asyncio."""

    def __init__(self, scan: Scan, ask: Callable[[KeyRequest[ScanPage]], Awaitable[ScanPage]]) -> None:
        super().__init__(scan)
        self._ask = ask
        first = scan.next_request()
        self._coming = ask(first) if first is not None else None

    def __aiter__(self) -> AsyncIterator[tuple[bytes, bytes]]:
        return self

    async def __anext__(self) -> tuple[bytes, bytes]:
        while True:
            row = self._next_in_page()
            if row is not None:
                return row
            coming, self._coming = self._coming, None
            if coming is None:
                raise StopAsyncIteration
            request = self._take(await coming)
            self._coming = self._ask(request) if request is not None else None
