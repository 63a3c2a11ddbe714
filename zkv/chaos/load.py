"""One process of the load, `python -m zkv.chaos.load JSON`: a mix of all operations, each recorded, until stdin ends.

Several tasks ask one client, each waiting for its answer before it asks again. Every value written is unlike all
others, so that a history says which write a read has seen; conditions ask for a version that this process saw lately.
"""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random

import msgspec

import zkv
from zkv.chaos.history_file import HistoryFile, now_ns
from zkv.chaos.keys import Keys, generation_at, keys_of
from zkv.checkers.history import Args, Outcome, Verb, text
from zkv.core.routing import operations as op
from zkv.core.routing.operations import KeyRequest, Receipt
from zkv.errors import ZkvError
from zkv.sim.client import Ask
from zkv.sim.workload import ask, name_of, write

_CONNECT_S = 60.0
_BATCH = 4


class LoadSettings(msgspec.Struct, frozen=True):
    """What a process of the load is told. `began_ns`: of the clock of histories; the first generation begins then."""

    name: str
    addresses: list[str]
    tables: list[str]
    history: str
    seed: int
    rate_per_s: float
    tasks: int
    began_ns: int
    timeouts_s: tuple[float, ...] = (0.5, 2.0, 10.0)  # of a request, one of these


class Load:
    """The tasks of one process."""

    def __init__(self, settings: LoadSettings, client: zkv.AsyncClient, history: HistoryFile) -> None:
        self._settings = settings
        self._client = client
        self._history = history
        self._rng = Random(f"{settings.seed} {settings.name}")
        self._versions: dict[bytes, int] = {}
        self._asked = 0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Until stdin ends; then every task waits for its last answer."""
        tasks = [asyncio.create_task(self._task(f"{self._settings.name}.{n}")) for n in range(self._settings.tasks)]
        stdin = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
        await asyncio.wait([asyncio.create_task(stdin.read()), *tasks], return_when=asyncio.FIRST_COMPLETED)
        self._stopping.set()
        await asyncio.gather(*tasks)

    async def _task(self, me: str) -> None:
        pause_s = self._settings.tasks / self._settings.rate_per_s
        while not self._stopping.is_set():
            keys = keys_of(self._rng.choice(self._settings.tables), generation_at(now_ns(), self._settings.began_ns))
            await self._step(me, keys)
            try:
                await asyncio.wait_for(self._stopping.wait(), self._rng.expovariate(1.0) * pause_s)
            except TimeoutError:
                continue

    async def _step(self, me: str, keys: Keys) -> None:
        chance = self._rng.random()
        if chance < 0.05:
            await self._batch_put(me, keys)
        elif chance < 0.10:
            await self._batch_get(me, keys)
        elif chance < 0.18:
            await self._add(me, keys)
        elif chance < 0.19:
            await self._members(me, keys)
        else:
            await self._one(me, self._draw(keys))

    async def _one(self, me: str, asked: Ask) -> None:
        token = self._history.begin(me, asked.key, asked.verb, asked.args)
        stale = asked.request.level == op.ANY_REPLICA and asked.verb is Verb.GET
        try:
            receipt = await self._client.ask(asked.request, timeout_s=self._rng.choice(self._settings.timeouts_s))
        except ZkvError as error:
            self._history.end(token, error)
            return
        assert isinstance(receipt, Receipt)
        self._history.end(token, receipt, stale=stale)
        if receipt.version:
            self._versions[asked.key] = receipt.version

    async def _batch_put(self, me: str, keys: Keys) -> None:
        rows = {key: self._value() for key in self._rng.sample(keys.registers, _BATCH)}
        tokens = {key: self._history.begin(me, keys.named(key), Verb.PUT, Args(value)) for key, value in rows.items()}
        results = await self._batch(op.mput(rows, table=keys.table), tokens)
        for key, result in results.items():
            self._history.end(tokens[key], result if isinstance(result, ZkvError) else Outcome(_integer(result)))

    async def _batch_get(self, me: str, keys: Keys) -> None:
        wanted = self._rng.sample(keys.registers + keys.counters, _BATCH)
        tokens = {key: self._history.begin(me, keys.named(key), Verb.GET, Args()) for key in wanted}
        results = await self._batch(op.mget(wanted, table=keys.table), tokens)
        for key, result in results.items():
            self._history.end(tokens[key], result if isinstance(result, ZkvError) else _found(result))

    async def _batch(self, request: KeyRequest[object], tokens: Mapping[bytes, int]) -> Mapping[bytes, object]:
        """The result or error of each key."""
        try:
            results = await self._client.ask(request, timeout_s=self._rng.choice(self._settings.timeouts_s))
        except ZkvError as error:
            return {key: error.results.get(key, error) for key in tokens}
        assert isinstance(results, dict)
        return results

    async def _add(self, me: str, keys: Keys) -> None:
        element = self._value().encode()
        token = self._history.begin(me, keys.named(keys.set_prefix), Verb.ADD, Args(element.decode()))
        request = op.with_receipt(op.put(keys.set_prefix + element, b"", table=keys.table))
        try:
            await self._client.ask(request, timeout_s=self._rng.choice(self._settings.timeouts_s))
        except ZkvError as error:
            self._history.end(token, error)
            return
        self._history.end(token, Outcome())

    async def _members(self, me: str, keys: Keys) -> None:
        token = self._history.begin(me, keys.named(keys.set_prefix), Verb.MEMBERS, Args())
        found: list[str] = []
        try:
            async for key, _ in self._client.scan(prefix=keys.set_prefix, table=keys.table, timeout_s=10.0):
                found.append(text(key[len(keys.set_prefix) :]))
        except ZkvError as error:
            self._history.end(token, error)
            return
        self._history.end(token, Outcome(members=tuple(found)))

    def _draw(self, keys: Keys) -> Ask:
        rng, table = self._rng, keys.table
        counter = rng.random() < 0.3
        key = rng.choice(keys.counters if counter else keys.registers)
        if rng.random() < 0.45:
            level = "any" if rng.random() < 0.3 else "linearizable"
            return ask(table, key, Verb.GET, Args(), op.get(key, table=table, r=level))
        if counter:
            by = rng.choice([1, 1, 1, 2, 3])
            return ask(table, key, Verb.INCREMENT, Args(by=by), op.increment(key, by, table=table))
        return write(rng, table, key, value=self._value(), version=self._versions.get(name_of(table, key), 1))

    def _value(self) -> str:
        self._asked += 1
        return f"{self._settings.name}.{self._asked}"


def _integer(version: object) -> int:
    assert isinstance(version, int), f"the result of a put in a batch is {version!r}"
    return version


def _found(value: object) -> Outcome:
    assert value is None or isinstance(value, bytes), f"the result of a get in a batch is {value!r}"
    return Outcome(value=None if value is None else text(value), found=value is not None)


async def _main(settings: LoadSettings) -> None:
    client = await zkv.connect_async(*settings.addresses, timeout_s=_CONNECT_S)
    with HistoryFile(Path(settings.history)) as history:
        async with client:
            await Load(settings, client, history).run()


if __name__ == "__main__":
    asyncio.run(_main(msgspec.json.decode(sys.argv[1].encode(), type=LoadSettings)))
