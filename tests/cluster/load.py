"""A checked load: many requests in flight from several clients, while something happens to the cluster.

Each writer owns its key, so what a key may hold at the end is known: of puts, the last acknowledged value or a later
one whose outcome is unknown; of increments, at least as many as were acknowledged and at most as many as were ever
sent. A reader knows, before it asks, the newest value that was acknowledged by then: an older answer is a stale read.
"""

import asyncio
import threading
import time
from dataclasses import dataclass, field

import zkv

_TIMEOUT_S = 10.0


@dataclass
class Key:
    """What is known of one key. For puts the value is a rising number; for increments it is the sum."""

    name: bytes
    acknowledged: int = 0
    sent: int = 0


@dataclass
class Findings:
    """What the load has seen; `faults` must be empty."""

    operations: int = 0
    unknown: int = 0
    refused: int = 0
    longest_s: float = 0.0
    faults: list[str] = field(default_factory=list)


class CheckedLoad:
    """Runs in a thread of its own between `start` and `stop`; `clients` clients with `outstanding` requests in all."""

    def __init__(
        self,
        address: str,
        *,
        outstanding: int = 64,
        clients: int = 4,
        readers: int = 16,
        tag: str = "",
        table: str = "default",
    ) -> None:
        self.findings = Findings()
        self.tag = tag
        self.table = table
        self._address = address
        self._clients = clients
        self._puts = [Key(b"put-%s-%d" % (tag.encode(), number)) for number in range(outstanding // 2)]
        self._counters = [Key(b"counter-%s-%d" % (tag.encode(), number)) for number in range(outstanding // 2)]
        self._readers = readers
        self._stopping = False
        self._since = 0.0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)
        self._failed: BaseException | None = None

    def start(self) -> None:
        """Begin, and return once every writer has been answered once."""
        self._thread.start()
        self.wait_until_all_advanced()

    def wait_until_all_advanced(self, within_s: float = 30.0) -> None:
        """Block until each writer has had one more request answered."""
        marks = [(key, key.acknowledged) for key in (*self._puts, *self._counters)]
        end = time.monotonic() + within_s
        while not all(key.acknowledged > mark for key, mark in marks):
            if not self._thread.is_alive():
                raise AssertionError(f"the load ended early: {self._failed!r} {self.findings.faults}")
            if time.monotonic() > end:
                raise AssertionError("some writer was not answered in time")
            self._thread.join(0.02)

    def begin_round(self) -> None:
        """Measure the longest request from now on."""
        self.findings.longest_s = 0.0
        self._since = time.monotonic()

    def stop(self) -> Findings:
        """End the load and check, over a client of its own, what every key holds."""
        self._stopping = True
        self._thread.join(60.0)
        assert not self._thread.is_alive(), "some request did not end by its deadline"
        if self._failed is not None:
            raise self._failed
        with zkv.connect(self._address, timeout_s=30.0) as client:
            self._check(client)
        return self.findings

    def _check(self, client: zkv.Client) -> None:
        for key in (*self._puts, *self._counters):
            held = int(client.get(key.name, table=self.table) or b"0")
            if not key.acknowledged <= held <= key.sent:
                self.findings.faults.append(
                    f"{key.name.decode()} holds {held}; {key.acknowledged} was acknowledged, {key.sent} was sent"
                )

    async def _run(self) -> None:
        try:
            clients = [await zkv.connect_async(self._address, timeout_s=_TIMEOUT_S) for _ in range(self._clients)]
            jobs = [self._put(clients[number % self._clients], key) for number, key in enumerate(self._puts)]
            jobs += [self._count(clients[number % self._clients], key) for number, key in enumerate(self._counters)]
            jobs += [self._read(clients[number % self._clients], number) for number in range(self._readers)]
            await asyncio.gather(*jobs)
            for client in clients:
                await client.close()
        except BaseException as error:
            self._failed = error
            raise

    async def _put(self, client: zkv.AsyncClient, key: Key) -> None:
        while not self._stopping:
            key.sent += 1
            wanted = key.sent
            if await self._ask(client.put(key.name, b"%d" % wanted, table=self.table)):
                key.acknowledged = wanted

    async def _count(self, client: zkv.AsyncClient, key: Key) -> None:
        while not self._stopping:
            key.sent += 1
            if await self._ask(client.increment(key.name, table=self.table)):
                key.acknowledged += 1

    async def _read(self, client: zkv.AsyncClient, number: int) -> None:
        keys = [*self._puts, *self._counters]
        turn = number
        while not self._stopping:
            turn += 7
            key = keys[turn % len(keys)]
            known = key.acknowledged
            began = time.monotonic()
            try:
                value = int(await client.get(key.name, table=self.table) or b"0")
            except zkv.ZkvError:
                self.findings.refused += 1
                continue
            self._took(began)
            if value < known:
                self.findings.faults.append(
                    f"stale: {key.name.decode()} read as {value} after {known} was acknowledged"
                )
            if value > key.sent:
                self.findings.faults.append(f"{key.name.decode()} read as {value}; only {key.sent} was sent")

    async def _ask(self, request: "asyncio.Future[object]") -> bool:
        began = time.monotonic()
        try:
            await request
        except zkv.ZkvError as error:
            self.findings.unknown += error.effect == "unknown"
            self.findings.refused += error.effect == "none"
            return False
        self._took(began)
        return True

    def _took(self, began: float) -> None:
        self.findings.operations += 1
        if began >= self._since or self._since == 0.0:
            self.findings.longest_s = max(self.findings.longest_s, time.monotonic() - began)
        else:
            self.findings.longest_s = max(self.findings.longest_s, time.monotonic() - self._since)
