"""What a measurement asks for, and what one process of load says of it: passed between processes as JSON."""

from enum import StrEnum

import msgspec

from zkv.core.routing.operations import copies_of, read_level
from zkv.errors import InvalidRequest

BATCH = 100  # rows of one mput, mget or scan
OPEN_LOOP_IN_FLIGHT = 4_096  # of one process, where nothing else is said


class Workload(StrEnum):
    """What is asked, again and again. a, b, c: as YCSB names them, keys drawn by Zipf's law."""

    a = "a"
    b = "b"
    c = "c"
    put = "put"
    get = "get"
    mput = "mput"
    mget = "mget"
    scan = "scan"

    @property
    def operations(self) -> int:
        """How many operations (rows) one request holds."""
        return BATCH if self in (Workload.mput, Workload.mget, Workload.scan) else 1

    @property
    def writes(self) -> bool:
        """Whether the disk is in its path."""
        return self in (Workload.a, Workload.put, Workload.mput)


class Shell(StrEnum):
    """Which client asks: the bare driver, the asyncio client with a task, or the sync client with a thread a slot."""

    driver = "driver"
    aio = "async"
    sync = "sync"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. Checked by `check`."""

    workload: Workload
    outstanding: int = 64  # requests in flight of each client; in an open loop the most in flight of each process
    seconds: float = 3.0
    warmup: float = 1.0
    keys: int = 10_000
    value_bytes: int = 100
    clients: int = 1  # in all processes together
    processes: int = 1
    shell: Shell = Shell.driver
    rate: float = 0.0  # requests a second, asked for whatever the answers do; 0: each answer is followed by a request
    w: str = "majority"
    r: str = "linearizable"
    shards: int = 1  # 0: as many as a new table has

    def check(self) -> None:
        """Raises InvalidRequest where it cannot be done."""
        copies_of(self.w)
        read_level(self.r)
        if self.keys < self.workload.operations:
            raise InvalidRequest(
                f"{self.workload} takes {self.workload.operations} keys at once, and there are {self.keys}"
            )
        if not 0 < self.processes <= self.clients:
            raise InvalidRequest(f"{self.clients} clients cannot be spread over {self.processes} processes")
        if self.rate and (self.shell is not Shell.driver or self.clients != self.processes):
            raise InvalidRequest("an open loop (a rate) is for the bare driver, with one client in each process")


class Second(msgspec.Struct, frozen=True, array_like=True):
    """What happened in one second of a measurement; latencies in ms."""

    at: int  # seconds since the measurement began
    requests: int
    errors: int
    p50: float
    p99: float
    p999: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of load has seen, between the moments that it was told."""

    seconds: float
    requests: int  # that succeeded
    rows: int  # of those
    errors: dict[str, int]
    latencies: dict[int, int]  # a Histogram's counts
    timeline: list[Second]
    cpu_s: float


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of load is told at its start: its part of the plan."""

    addresses: str
    table: str
    clients: int
    part: int  # which process it is
    plan: Plan
