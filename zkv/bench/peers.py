"""etcd and Redis Cluster on this machine, under the load that zkv gets: `bin/bench-peers`.

Three nodes of each on loopback, with folders and ports of their own. Each is asked through the fastest Python client
that was found for it, from one process of load: etcd over grpcio's asyncio channels, with requests of two fields packed
by hand; Redis through redis-py's pipelines with hiredis, as many commands a round as are to be outstanding.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from zkv.bench.histogram import Histogram
from zkv.bench.plan import Outcome, Plan
from zkv.errors import Unavailable
from zkv.testing.ports import ClaimedPorts

_START_S: Final = 30.0
_LOOK_S: Final = 0.05


class PeerTask(msgspec.Struct, frozen=True, kw_only=True):
    """What the process of load is told."""

    store: str
    addresses: list[str]
    plan: Plan


class PeerResult(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    store: str
    workload: str
    outstanding: int
    ops_per_s: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us_per_op: float  # of the load and of all the store's processes
    load_cpu_us_per_op: float
    errors: dict[str, int]
    promises: str


class Nodes:
    """Processes of one store; ended by id, their folder deleted."""

    def __init__(self, name: str, ports: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"zkv-peers-{name}-"))
        self._claimed = ClaimedPorts(ports)
        self.ports = list(self._claimed.ports)
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str]) -> None:
        """Start one process."""
        log = (self.folder / f"{len(self._started)}.log").open("wb")
        with log:
            self._started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def wait(self, condition: Callable[[], bool]) -> None:
        """Return once it holds. Raises Unavailable when a process dies or it takes too long."""
        end = time.monotonic() + _START_S
        while not condition():
            dead = [process.args for process in self._started if process.poll() is not None]
            if dead or time.monotonic() > end:
                raise Unavailable(f"{dead or 'the nodes'} did not start; see {self.folder}")
            time.sleep(_LOOK_S)

    def cpu_s(self) -> float:
        """CPU seconds of all of them so far."""
        return sum(cpu_s_of(process.pid) for process in self._started)

    def stop(self) -> None:
        """End them and delete their folder."""
        for process in self._started:
            process.kill()
            process.wait()
        self._claimed.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def cpu_s_of(pid: int) -> float:
    """CPU seconds of a process with all its threads, from /proc."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def missing() -> dict[str, str]:
    """The stores that cannot be measured here, and what is missing."""
    found = {
        "etcd": [] if shutil.which("etcd") else ["etcd is not on the PATH"],
        "redis": [] if shutil.which("redis-server") else ["redis-server is not on the PATH"],
    }
    if not _installed("grpc"):
        found["etcd"].append("its client is not installed (pip install 'zkv[peers]')")
    if not _installed("redis"):
        found["redis"].append("its client is not installed (pip install 'zkv[peers]')")
    return {store: ", ".join(what) for store, what in found.items() if what}


@contextmanager
def etcd_nodes() -> Iterator[tuple[Nodes, list[str]]]:
    """Three etcd nodes; their client addresses."""
    nodes = Nodes("etcd", 6)
    try:
        clients, peers = nodes.ports[:3], nodes.ports[3:]
        everybody = ",".join(f"n{number}=http://127.0.0.1:{port}" for number, port in enumerate(peers))
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            command = ["etcd", "--name", f"n{number}", "--data-dir", str(nodes.folder / f"n{number}")]
            command += ["--listen-client-urls", f"http://127.0.0.1:{client}"]
            command += ["--advertise-client-urls", f"http://127.0.0.1:{client}"]
            command += ["--listen-peer-urls", f"http://127.0.0.1:{peer}"]
            command += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"]
            command += ["--initial-cluster", everybody, "--initial-cluster-state", "new", "--log-level", "error"]
            nodes.start(command)
        yield nodes, [f"127.0.0.1:{port}" for port in clients]
    finally:
        nodes.stop()


@contextmanager
def redis_nodes(*, always: bool) -> Iterator[tuple[Nodes, list[str]]]:
    """Three Redis nodes in cluster mode: one holds all slots, two copy it. `always`: it flushes before it answers."""
    nodes = Nodes("redis", 6)
    try:
        ports, buses = nodes.ports[:3], nodes.ports[3:]
        for port, bus in zip(ports, buses, strict=True):
            folder = nodes.folder / str(port)
            folder.mkdir()
            command = ["redis-server", "--port", str(port), "--cluster-port", str(bus), "--bind", "127.0.0.1"]
            command += ["--dir", str(folder), "--cluster-enabled", "yes", "--save", "", "--daemonize", "no"]
            command += ["--appendonly", "yes" if always else "no", "--appendfsync", "always"]
            nodes.start(command)
        nodes.wait(lambda: all(_redis(port, "ping") == "PONG" for port in ports))
        first, *others = ports
        _redis(first, "cluster", "addslotsrange", "0", "16383")
        for port, bus in zip(others, buses[1:], strict=True):
            _redis(first, "cluster", "meet", "127.0.0.1", str(port), str(bus))
        leader = _redis(first, "cluster", "myid")
        for port in others:
            nodes.wait(lambda port=port: _redis(port, "cluster", "replicate", leader) == "OK")  # type: ignore[misc]  # bound early
        nodes.wait(lambda: "cluster_state:ok" in _redis(first, "cluster", "info"))
        nodes.wait(lambda: "connected_slaves:2" in _redis(first, "info", "replication"))
        yield nodes, [f"127.0.0.1:{port}" for port in ports]
    finally:
        nodes.stop()


def measure_peer(store: str, promises: str, nodes: Nodes, addresses: list[str], plan: Plan) -> PeerResult:
    """One measurement, from a process of its own. Raises Unavailable if that dies."""
    task = PeerTask(store=store, addresses=addresses, plan=plan)
    command = [sys.executable, "-m", "zkv.bench.peer_roles", msgspec.json.encode(task).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise Unavailable(f"the load of {store} ended without a word")
            begin = time.perf_counter() + plan.warmup
            process.stdin.write(f"[{begin},{begin + plan.seconds}]\n")
            time.sleep(plan.warmup)
            before, at = nodes.cpu_s(), time.perf_counter()
            time.sleep(plan.seconds)
            cpu = (nodes.cpu_s() - before) / (time.perf_counter() - at)
            line = process.stdout.readline()
            if not line:
                raise Unavailable(f"the load of {store} ended without a word")
            outcome = msgspec.json.decode(line, type=Outcome)
        finally:
            process.kill()
    rate, load_cpu = outcome.rows / outcome.seconds, outcome.cpu_s / outcome.seconds
    latencies = Histogram(outcome.latencies)
    return PeerResult(
        store=store,
        workload=plan.workload,
        outstanding=plan.outstanding,
        ops_per_s=round(rate),
        p50_ms=latencies.quantile_ms(0.5),
        p99_ms=latencies.quantile_ms(0.99),
        p999_ms=latencies.quantile_ms(0.999),
        cpu_us_per_op=round((load_cpu + cpu) * 1e6 / rate, 1) if rate else 0.0,
        load_cpu_us_per_op=round(load_cpu * 1e6 / rate, 1) if rate else 0.0,
        errors=outcome.errors,
        promises=promises,
    )


def _redis(port: int, *words: str) -> str:
    """What one node answers to a command, or "" while it does not."""
    import redis  # an optional extra

    with redis.Redis(port=port, decode_responses=True) as client:
        try:
            answer = client.execute_command(*words)
        except redis.exceptions.RedisError:
            return ""
    if answer is True:
        return "PONG" if words == ("ping",) else "OK"
    return str(answer) if not isinstance(answer, dict) else "\n".join(f"{key}:{value}" for key, value in answer.items())


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None
