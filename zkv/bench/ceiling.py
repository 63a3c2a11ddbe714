"""What bare pyzmq does on this machine, right now: the ceiling that zkv's own figures are a share of.

put      client -> primary -> two replicas, in memory; answered when the primary and one replica have it
durable  the same, with every batch appended to a file and flushed before it is acknowledged
get      client -> one server, a dict lookup

Single operations in single messages, one client process, closed loop. No elections, checksums, deduplication,
routing or membership: a real node does more and stays below. The processes are in `zkv.bench.ceiling_roles`.
"""

import json
import subprocess
import sys
import tempfile
from enum import StrEnum
from typing import Self

import msgspec

from zkv.errors import Unavailable


class Kind(StrEnum):
    """What the ceiling is measured of."""

    put = "put"
    durable = "durable"
    get = "get"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked: `outstanding` requests at a time for `seconds`, over `keys` keys, with values of `value_bytes`."""

    outstanding: int
    seconds: float
    keys: int
    value_bytes: int


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Quantiles are of single requests."""

    ops_per_s: int
    operations: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float


def rate_of(latencies_s: list[float], seconds: float) -> Rate:
    """The figures of the requests that were answered within `seconds`; sorts the list."""
    latencies_s.sort()
    count = len(latencies_s)

    def quantile_ms(share: float) -> float:
        return round(latencies_s[int(share * count)] * 1e3, 3) if count else 0.0

    return Rate(
        ops_per_s=round(count / seconds),
        operations=count,
        p50_ms=quantile_ms(0.5),
        p90_ms=quantile_ms(0.9),
        p99_ms=quantile_ms(0.99),
        p999_ms=quantile_ms(0.999),
    )


class _Roles:
    """Processes of one measurement; all are killed at its end."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, role: str, *arguments: str) -> str:
        """Start one and return the line that it prints: a port, or a result. Raises Unavailable if it dies first."""
        command = [sys.executable, "-m", "zkv.bench.ceiling_roles", role, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise Unavailable(f"the benchmark's {role} ended without a word")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def measure(kind: Kind, shape: Shape) -> Rate:
    """Run one measurement in processes of its own. Raises Unavailable if one of them dies."""
    with tempfile.TemporaryDirectory(prefix="zkv-ceiling-") as folder, _Roles() as roles:
        where = folder if kind is Kind.durable else ""
        if kind is Kind.get:
            port = roles.start("reader", json.dumps([shape.keys, shape.value_bytes]))
        else:
            replicas = [roles.start("replica", where) for _ in range(2)]
            port = roles.start("primary", where, *replicas)
        line = roles.start("client", port, kind, msgspec.json.encode(shape).decode())
    return msgspec.json.decode(line, type=Rate)
