"""Load through the clients that users have: the asyncio client with a task, the sync client with a thread a slot."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from zkv.bench.loops import TIMEOUT_S, Start
from zkv.bench.plan import Plan
from zkv.bench.recorder import Recorder
from zkv.bench.workloads import Stream, rows_of
from zkv.client.aio import connect_async
from zkv.client.client import Client
from zkv.errors import ZkvError

_LOOK_S = 0.01


def async_loop(addresses: str, stream: Stream, plan: Plan, start: Start, clients: int) -> Recorder:
    """`clients` asyncio clients on one event loop, each with `plan.outstanding` tasks that await one call each."""
    return asyncio.run(_tasks(addresses, stream, plan, start, clients))


def sync_loop(addresses: str, stream: Stream, plan: Plan, start: Start, clients: int) -> Recorder:
    """`clients` sync clients, each with `plan.outstanding` threads that wait for one call each."""
    opened = [Client(addresses, timeout_s=TIMEOUT_S) for _ in range(clients)]
    recorder = start()
    slots = [
        threading.Thread(target=_slot, args=(stream.calls(client), plan, recorder))
        for client in opened
        for _ in range(plan.outstanding)
    ]
    for slot in slots:
        slot.start()
    while (now := time.perf_counter()) < recorder.end:
        recorder.look(now)
        time.sleep(_LOOK_S)
    recorder.stop(now)
    for slot in slots:
        slot.join()
    for client in opened:
        client.close()
    return recorder


def _slot(call: Callable[[], object], plan: Plan, recorder: Recorder) -> None:
    clock, end = time.perf_counter, recorder.end
    latencies, errors = recorder.latencies, recorder.errors
    batched = plan.workload.operations > 1
    while (begun := clock()) < end:
        try:
            result = call()
        except ZkvError as error:
            errors.append(type(error).__name__)
            continue
        latencies.append(clock() - begun)
        if batched:
            recorder.rows += rows_of(result)


async def _tasks(addresses: str, stream: Stream, plan: Plan, start: Start, clients: int) -> Recorder:
    opened = [await connect_async(addresses, timeout_s=TIMEOUT_S) for _ in range(clients)]
    recorder = start()
    tasks = [
        asyncio.create_task(_task(stream.awaitables(client), plan, recorder))
        for client in opened
        for _ in range(plan.outstanding)
    ]
    while (now := time.perf_counter()) < recorder.end:
        recorder.look(now)
        await asyncio.sleep(_LOOK_S)
    recorder.stop(now)
    await asyncio.gather(*tasks)
    for client in opened:
        await client.close()
    return recorder


async def _task(call: Callable[[], Awaitable[object]], plan: Plan, recorder: Recorder) -> None:
    clock, end = time.perf_counter, recorder.end
    latencies, errors = recorder.latencies, recorder.errors
    batched = plan.workload.operations > 1
    while (begun := clock()) < end:
        try:
            result = await call()
        except ZkvError as error:
            errors.append(type(error).__name__)
            continue
        latencies.append(clock() - begun)
        if batched:
            recorder.rows += rows_of(result)
