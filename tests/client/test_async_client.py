"""What is special to the asyncio client: many tasks at once, cancelled calls, closing."""

import asyncio
import time
from collections.abc import Iterator

import pytest

import zkv
from tests.client.fake_server import FakeServer
from tests.core.routing.fake_shards import EATEN
from zkv.core.shard.commands import Group, WriteGroup
from zkv.testing.ports import ClaimedPorts


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def test_tasks_by_the_hundred_share_messages(server: FakeServer) -> None:
    async def work() -> list[int]:
        async with await zkv.connect_async(server.coordinator) as client:

            async def one() -> list[int]:
                return [await client.increment("shared") for _ in range(20)]

            return [total for part in await asyncio.gather(*[one() for _ in range(200)]) for total in part]

    assert sorted(asyncio.run(work())) == list(range(1, 4_001))
    assert server.frames < 1_000


def test_an_answer_that_comes_while_something_is_sent_is_not_left_lying(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A send takes in what has arrived without a word from the FD: nobody looks again unless the turn does."""

    async def work() -> float:
        async with await zkv.connect_async(server.coordinator) as client:
            first, second = server.keys_in(1, 2)
            await client.get(first)

            def fault(address: str, group: Group) -> str | None:
                if isinstance(group, WriteGroup) and group.operations[0].key == second:
                    return EATEN
                time.sleep(0.03)  # the answer to the first leaves the server while the second is being sent
                return None

            server.fault = fault
            loop = asyncio.get_running_loop()
            began = loop.time()
            answered = asyncio.ensure_future(client.put(first, b"v"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            usual = client._turns.send

            def slow_send(now: int) -> None:
                time.sleep(0.06)
                usual(now)

            monkeypatch.setattr(client._turns, "send", slow_send)
            lost = asyncio.ensure_future(client.put(second, b"v"))
            await answered
            lost.cancel()
            return loop.time() - began

    assert asyncio.run(work()) < 0.3  # the alarm that would end the silence is at 0.4 s


def test_a_cancelled_call_leaves_the_client_whole(server: FakeServer) -> None:
    async def work() -> bytes | None:
        async with await zkv.connect_async(server.coordinator) as client:
            server.fault = lambda address, group: EATEN if isinstance(group, WriteGroup) else None
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.put("k", "v"), 0.05)
            server.fault = lambda address, group: None
            await client.put("k", "w")
            return await client.get("k")

    assert asyncio.run(work()) is not None


def test_a_call_under_way_at_close_ends_with_its_effect(server: FakeServer) -> None:
    async def work() -> None:
        client = await zkv.connect_async(server.coordinator)
        await client.get("warm")
        server.fault = lambda address, group: EATEN
        under_way = asyncio.ensure_future(client.put("k", "v"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(zkv.Unavailable):
            await under_way
        with pytest.raises(zkv.InvalidRequest):
            await client.get("k")

    asyncio.run(work())


def test_addresses_where_nobody_answers_are_named() -> None:
    async def work(address: str) -> None:
        with pytest.raises(zkv.Unavailable, match=address):
            await zkv.connect_async(address, timeout_s=0.3)

    with ClaimedPorts(1) as claimed:
        asyncio.run(work(f"127.0.0.1:{claimed.ports[0]}"))
