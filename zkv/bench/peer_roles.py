"""A process of load on another store: `python -m zkv.bench.peer_roles TASK`; it speaks as `load_roles` does."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec

from zkv.bench.load_roles import say, start
from zkv.bench.peers import PeerTask
from zkv.bench.plan import Outcome, Plan, Workload
from zkv.bench.recorder import Recorder
from zkv.bench.workloads import key_of

_STEP = 7_919
_LOOK_S = 0.01
_FILL = 500


class _Keys:
    """Every key, in an order that scatters."""

    def __init__(self, count: int) -> None:
        self._keys = [key_of(number) for number in range(count)]
        self._turn = 0

    def next(self) -> bytes:
        self._turn = turn = (self._turn + _STEP) % len(self._keys)
        return self._keys[turn]

    def all(self) -> list[bytes]:
        return self._keys


def load_redis(addresses: list[str], plan: Plan) -> Outcome:
    """Rounds of as many commands as are to be outstanding, each in one pipeline to the node that holds all slots.

    A round ends with its last answer, so each command of it counts with the round's time. The plain client takes half
    the CPU of redis-py's cluster client; a cluster of several leaders would need the latter.
    """
    import redis  # an optional extra

    host, _, port = addresses[0].rpartition(":")
    client = redis.Redis(host=host, port=int(port))
    keys, value, writes = _Keys(plan.keys), b"v" * plan.value_bytes, plan.workload is Workload.put
    for first in range(0, plan.keys, _FILL):
        pipeline = client.pipeline(transaction=False)
        for key in keys.all()[first : first + _FILL]:
            pipeline.set(key, value)
        pipeline.execute()
    recorder = start()
    clock, end = time.perf_counter, recorder.end
    while (begun := clock()) < end:
        recorder.look(begun)
        pipeline = client.pipeline(transaction=False)
        for _ in range(plan.outstanding):
            if writes:
                pipeline.set(keys.next(), value)
            else:
                pipeline.get(keys.next())
        try:
            pipeline.execute()
        except redis.exceptions.RedisError as error:
            recorder.errors.append(type(error).__name__)
            continue
        recorder.latencies += [clock() - begun] * plan.outstanding
    recorder.stop(clock())
    client.close()
    return recorder.outcome()


async def load_etcd(addresses: list[str], plan: Plan) -> Outcome:
    """A task a slot, each with one call under way, over a channel to each node in turn."""
    import grpc.aio  # an optional extra

    channels = [grpc.aio.insecure_channel(address) for address in addresses]
    puts = [channel.unary_unary("/etcdserverpb.KV/Put") for channel in channels]
    ranges = [channel.unary_unary("/etcdserverpb.KV/Range") for channel in channels]
    keys, value, writes = _Keys(plan.keys), b"v" * plan.value_bytes, plan.workload is Workload.put
    gate = asyncio.Semaphore(64)

    async def fill(key: bytes, number: int) -> None:
        async with gate:
            await puts[number % len(puts)](packed(key, value), wait_for_ready=True)

    await asyncio.gather(*(fill(key, number) for number, key in enumerate(keys.all())))
    recorder = start()

    def asker(number: int) -> Callable[[], Awaitable[bytes]]:
        put, fetch = puts[number % len(puts)], ranges[number % len(ranges)]
        if writes:
            return lambda: put(packed(keys.next(), value))
        return lambda: fetch(packed(keys.next()))

    slots = [
        asyncio.create_task(_slot(asker(number), recorder, grpc.aio.AioRpcError)) for number in range(plan.outstanding)
    ]
    while (now := time.perf_counter()) < recorder.end:
        recorder.look(now)
        await asyncio.sleep(_LOOK_S)
    recorder.stop(now)
    outcome = recorder.outcome()
    await asyncio.gather(*slots)
    for channel in channels:
        await channel.close()
    return outcome


async def _slot(call: Callable[[], Awaitable[bytes]], recorder: Recorder, failure: type[Exception]) -> None:
    clock = time.perf_counter
    while (begun := clock()) < recorder.end:
        try:
            await call()
        except failure as error:
            recorder.errors.append(type(error).__name__)
            continue
        recorder.latencies.append(clock() - begun)


def packed(*fields: bytes) -> bytes:
    """A protobuf message of bytes fields 1, 2, ...: etcd's PutRequest (key, value) or RangeRequest (key)."""
    return b"".join(
        bytes([number << 3 | 2]) + _varint(len(field)) + field for number, field in enumerate(fields, start=1)
    )


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def run(task: PeerTask) -> Outcome:
    """Ask as the task says, from when the starter says."""
    if task.store == "etcd":
        return asyncio.run(load_etcd(task.addresses, task.plan))
    return load_redis(task.addresses, task.plan)


if __name__ == "__main__":
    say(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=PeerTask))).decode())
