"""Scans: pages across shards in range order, and a place to resume from that outlives splits and moves.

A position is a partition key, not a shard: whatever shards there are when the next page is asked for, the one that
owns the position goes on from it. So each row is met once, and a cursor may be kept for as long as its table lives.
"""

from base64 import b64decode, urlsafe_b64encode
from typing import NamedTuple

from zkv import limits
from zkv.core.cluster.partition import partition_key
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.routing.operations import OPERATION_BYTES, SCAN, Bytes, KeyRequest, Proof, plain_bytes, read_level
from zkv.core.shard.commands import Page
from zkv.core.shard.descriptor import ShardInfo
from zkv.errors import InvalidRequest, TooLarge

Row = tuple[bytes, int, bytes]  # user key, version, value


class Window(NamedTuple):
    """What one page is asked for. `position`: the partition key to go on from; None: the scan's beginning."""

    start: bytes
    end: bytes
    prefix: bytes
    limit: int
    reverse: bool
    position: bytes | None


class ScanPage(NamedTuple):
    """Rows in the order of the scan, and where it goes on; `position` None: this was the last page."""

    rows: tuple[Row, ...]
    position: bytes | None
    partitioner: Partitioner


def bounds(window: Window, partitioner: Partitioner) -> tuple[bytes, bytes]:
    """[low, high) of the partition keys still to be looked at; a high of b"" has no end."""
    low, high = b"", b""
    if partitioner == Partitioner.RANGE:
        low = max(window.start, window.prefix)
        high = _earlier(window.end, after_prefix(window.prefix))
    if window.position is not None:
        if window.reverse:
            high = _earlier(high, window.position)
        else:
            low = max(low, window.position)
    return low, high


def owner(shards: tuple[ShardInfo, ...], low: bytes, high: bytes, *, reverse: bool) -> ShardInfo | None:
    """The shard that has the next page; None if the map shows a hole there."""
    if reverse:
        below = [info for info in shards if not high or info.start < high]
        last = below[-1] if below else None
        return last if last is not None and (not last.end or (high and high <= last.end)) else None
    return next((info for info in shards if info.owns(low)), None)


def page_of(window: Window, page: Page, info: ShardInfo, partitioner: Partitioner) -> ScanPage:
    """The page as the caller sees it; `info` is the shard whose range was scanned."""
    low, high = bounds(window, partitioner)
    rows = page.rows
    if partitioner == Partitioner.HASH and (window.start or window.end):
        rows = tuple([row for row in rows if window.start <= row[0] and (not window.end or row[0] < window.end)])
    if page.more:
        return ScanPage(rows, page.resume, partitioner)
    if window.reverse:
        return ScanPage(rows, info.start if info.start > low else None, partitioner)
    finished = not info.end or (high and high <= info.end)
    return ScanPage(rows, None if finished else info.end, partitioner)


def after_prefix(prefix: bytes) -> bytes:
    """The smallest key above all keys with this prefix; b"" if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b""


class Scan:
    """One scan's progress, fed with pages and asked for the next request. Owned by one iterator.

    `cursor` resumes a scan of the same arguments after the last row handed out; None once all were.
    """

    def __init__(
        self,
        table: str,
        *,
        start: Bytes | None = None,
        end: Bytes | None = None,
        prefix: Bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        r: str = "linearizable",
        cursor: str | None = None,
    ) -> None:
        if limit is not None and (type(limit) is not int or limit < 0):
            raise InvalidRequest(f"limit is a number of rows, not {limit!r}")
        self._table = table
        self._level = read_level(r)
        self._bounds = (_bound(start, "start"), _bound(end, "end"), _bound(prefix, "prefix"))
        self._reverse = reverse
        self._unasked = limit  # rows that no page was asked for yet; None: no limit
        self._position = _decode_cursor(cursor, reverse=reverse) if cursor is not None else None
        self._handed = self._position  # what `cursor` says
        self._finished = limit == 0
        self._exhausted = limit == 0

    @property
    def cursor(self) -> str | None:
        """Where to go on after the last row handed out; None if nothing is left."""
        return None if self._exhausted else _encode_cursor(self._handed, reverse=self._reverse)

    def next_request(self) -> KeyRequest[ScanPage] | None:
        """Ask for the page after the last one that arrived; None when all have."""
        if self._finished:
            return None
        most = limits.SCAN_PAGE_ROWS_MAX
        limit = most if self._unasked is None else min(most, self._unasked)
        window = Window(*self._bounds, limit, self._reverse, self._position)
        size = sum(map(len, self._bounds)) + OPERATION_BYTES
        return KeyRequest(SCAN, self._table, self._level, (window,), _as_is, size)

    def arrived(self, page: ScanPage) -> None:
        """Take a page in, so that the next one can be asked for before its rows are handed out."""
        self._position = page.position
        if self._unasked is not None:
            self._unasked -= len(page.rows)
        self._finished = page.position is None or self._unasked == 0

    def handed_out(self, page: ScanPage, row: Row) -> None:
        """The caller has this row."""
        place = partition_key(page.partitioner, row[0])
        self._handed = place if self._reverse else place + b"\0"

    def page_handed_out(self, page: ScanPage) -> None:
        """The caller has every row of this page."""
        if page.position is None:
            self._exhausted = True
        else:
            self._handed = page.position


def _as_is(raw: object, proof: Proof) -> object:
    return raw


def _earlier(one: bytes, other: bytes) -> bytes:
    """The smaller of two ends, where b"" is none."""
    return min(one, other) if one and other else one or other


def _bound(given: Bytes | None, what: str) -> bytes:
    bound = plain_bytes(given, what) if given is not None else b""
    if len(bound) > limits.KEY_BYTES_MAX:
        raise TooLarge(f"{what} has {len(bound)} bytes; {limits.KEY_BYTES_MAX} is the most")
    return bound


def _encode_cursor(position: bytes | None, *, reverse: bool) -> str:
    began = b"" if position is None else b"+" + position
    return ("r" if reverse else "f") + urlsafe_b64encode(began).decode()


def _decode_cursor(cursor: str, *, reverse: bool) -> bytes | None:
    direction = "r" if reverse else "f"
    try:
        began = b64decode(cursor[1:], altchars=b"-_", validate=True)
    except ValueError as error:
        raise InvalidRequest("the cursor is none that a scan gave out") from error
    if cursor[:1] != direction or began[:1] not in (b"", b"+") or len(began) > limits.KEY_BYTES_MAX + 16:
        raise InvalidRequest("the cursor is none that a scan in this direction gave out")
    return began[1:] if began else None
