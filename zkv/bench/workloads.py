"""The requests of each workload, for the bare driver and as calls of a client, from keys that are drawn beforehand."""

from collections.abc import Awaitable, Callable
from itertools import accumulate
from random import Random

from zkv.bench.plan import BATCH, Plan, Workload
from zkv.client.aio import AsyncClient
from zkv.client.client import Client
from zkv.core.routing import operations
from zkv.core.routing.operations import KeyRequest, Request
from zkv.core.routing.scan import Scan, ScanPage

_STEP = 7_919  # a prime: visits every key before it repeats one, unless there is a multiple of it
_DRAWN = 1 << 17  # keys drawn by Zipf's law, used again and again
_ZIPF = 0.99  # YCSB's exponent
_READS = {Workload.a: 0.5, Workload.b: 0.95, Workload.c: 1.0}

Drawn = list[tuple[bool, bytes]]  # whether it is a read, and its key


def key_of(number: int) -> bytes:
    """16 bytes."""
    return b"user%012d" % number


def zipfian(count: int, wanted: int, rng: Random) -> list[int]:
    """`wanted` numbers below `count`, the n-th most frequent of which comes in proportion to 1 / n ** 0.99.

    Which number is how frequent is scattered, so that the frequent ones are no neighbours.
    """
    sums = list(accumulate(1.0 / rank**_ZIPF for rank in range(1, count + 1)))
    return [rank * _STEP % count for rank in rng.choices(range(count), cum_weights=sums, k=wanted)]


class Stream:
    """An endless row of requests. `part` starts it elsewhere, so that processes ask for different keys at a time."""

    def __init__(self, plan: Plan, table: str, part: int = 0) -> None:
        self._plan, self._table = plan, table
        self._keys = [key_of(number) for number in range(plan.keys)]
        self._value = b"v" * plan.value_bytes
        self._turn = part * (plan.keys // 7 + 1) % plan.keys
        self._drawn = self._draw(Random(part)) if plan.workload in _READS else []
        self._next_drawn = 0

    def requests(self) -> Callable[[], Request[object]]:
        """Makes the next request for a Driver."""
        value, table, w, r = self._value, self._table, self._plan.w, self._plan.r
        match self._plan.workload:
            case Workload.put:
                return lambda: operations.put(self._key(), value, table=table, w=w)
            case Workload.get:
                return lambda: operations.get(self._key(), table=table, r=r)
            case Workload.mput:
                return lambda: operations.mput(dict.fromkeys(self._batch(), value), table=table, w=w)
            case Workload.mget:
                return lambda: operations.mget(self._batch(), table=table, r=r)
            case Workload.scan:
                return self._scan
            case _:
                return self._mixed

    def calls(self, client: Client) -> Callable[[], object]:
        """Makes the next call of a sync client, and returns its result."""
        if self._plan.workload is Workload.scan:
            return lambda: list(client.scan(self._first(), limit=BATCH, table=self._table, r=self._plan.r))
        request = self.requests()
        return lambda: client.ask(request()).result()

    def awaitables(self, client: AsyncClient) -> Callable[[], Awaitable[object]]:
        """Makes the next call of an asyncio client, to be awaited."""
        value, table, w, r = self._value, self._table, self._plan.w, self._plan.r

        async def scan() -> object:
            return [row async for row in client.scan(self._first(), limit=BATCH, table=table, r=r)]

        match self._plan.workload:
            case Workload.put:
                return lambda: client.put(self._key(), value, table=table, w=w)
            case Workload.get:
                return lambda: client.get(self._key(), table=table, r=r)
            case Workload.mput:
                return lambda: client.mput(dict.fromkeys(self._batch(), value), table=table, w=w)
            case Workload.mget:
                return lambda: client.mget(self._batch(), table=table, r=r)
            case Workload.scan:
                return scan
            case _:
                return lambda: client.ask(self._mixed())

    def _key(self) -> bytes:
        self._turn = turn = (self._turn + _STEP) % len(self._keys)
        return self._keys[turn]

    def _batch(self) -> list[bytes]:
        keys, count = self._keys, len(self._keys)
        self._turn = turn = (self._turn + BATCH) % count
        return keys[turn : turn + BATCH] if turn + BATCH <= count else keys[turn:] + keys[: turn + BATCH - count]

    def _first(self) -> bytes:
        """A key that has BATCH - 1 others behind it."""
        self._turn = turn = (self._turn + _STEP) % (len(self._keys) - BATCH + 1)
        return self._keys[turn]

    def _scan(self) -> KeyRequest[ScanPage]:
        request = Scan(self._table, start=self._first(), limit=BATCH, r=self._plan.r).next_request()
        assert request is not None
        return request

    def _mixed(self) -> Request[object]:
        self._next_drawn = at = (self._next_drawn + 1) % _DRAWN
        reads, key = self._drawn[at]
        if reads:
            return operations.get(key, table=self._table, r=self._plan.r)
        return operations.put(key, self._value, table=self._table, w=self._plan.w)

    def _draw(self, rng: Random) -> Drawn:
        reads = _READS[self._plan.workload]
        return [(rng.random() < reads, self._keys[number]) for number in zipfian(self._plan.keys, _DRAWN, rng)]


def rows_of(result: object) -> int:
    """How many rows a successful request of BATCH rows brought or stored."""
    if isinstance(result, ScanPage):
        return len(result.rows)
    assert isinstance(result, dict | list)
    return len(result)
