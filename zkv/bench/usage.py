"""What the processes of a cluster spent on each operation: CPU, messages, bytes, flushes, from their own status."""

import time
from collections.abc import Iterable

import msgspec

from zkv.client.client import Client


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The counts in one process's status; a coordinator has only the first."""

    cpu_s: float
    pid: int = 0
    received: int = 0
    received_bytes: int = 0
    answered: int = 0
    answered_bytes: int = 0
    flushes: int = 0
    flushed_bytes: int = 0


class Sample(msgspec.Struct, frozen=True):
    """The counts of every process that answered, and when."""

    at: float
    told: dict[str, Told]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """For each operation, over all nodes; None where nothing was flushed.

    Messages and bytes are those between clients and nodes and among nodes, as zkv hands them to ZeroMQ. An operation is
    flushed by each of its replicas: `flushed_bytes_per_op` is their sum, `ops_per_flush` the mean over the nodes.
    """

    cpu_us_per_op: dict[str, float]
    cpu_us_per_op_total: float
    messages_per_op: float
    wire_bytes_per_op: float
    flushed_bytes_per_op: float
    flushes_per_s: float
    ops_per_flush: float | None


def sample(client: Client) -> Sample:
    """Ask every process now."""
    told = {name: msgspec.convert(one, Told) for name, one in client.status().items() if one and "cpu_s" in one}
    return Sample(time.perf_counter(), told)


def usage(before: Sample, after: Sample, ops_per_s: float, load_cpu: float, replicas: int) -> Usage:
    """`load_cpu`: CPU seconds a second of all processes of load. One that was started anew meanwhile is left out."""
    seconds = after.at - before.at
    both = [name for name, one in after.told.items() if name in before.told and before.told[name].pid == one.pid]

    def rate(field: str, names: Iterable[str] = both) -> float:
        """Of a count, a second, over these processes."""
        grown: float = sum(getattr(after.told[name], field) - getattr(before.told[name], field) for name in names)
        return grown / seconds

    def per_op(a_second: float, digits: int = 1) -> float:
        return round(a_second / ops_per_s, digits) if ops_per_s else 0.0

    cpu = {"load": per_op(load_cpu * 1e6)} | {name: per_op(rate("cpu_s", [name]) * 1e6) for name in sorted(both)}
    flushes = rate("flushes")
    return Usage(
        cpu_us_per_op=cpu,
        cpu_us_per_op_total=round(sum(cpu.values()), 1),
        messages_per_op=per_op(rate("received") + rate("answered"), 3),
        wire_bytes_per_op=per_op(rate("received_bytes") + rate("answered_bytes")),
        flushed_bytes_per_op=per_op(rate("flushed_bytes")),
        flushes_per_s=round(flushes, 1),
        ops_per_flush=round(ops_per_s * replicas / flushes, 1) if flushes >= 1 else None,
    )
