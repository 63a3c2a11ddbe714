"""A real cluster of processes for anybody's tests: to kill, pause and start again at will."""

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import zkv
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.partition import partition_key
from zkv.core.cluster.shardmap import NodeState
from zkv.errors import NoSuchTable, StartError, Timeout, ZkvError
from zkv.testing.names import COORDINATOR, coordinator_names
from zkv.testing.ports import ClaimedPorts
from zkv.testing.warden import Warden
from zkv.testing.wholeness import why_not_whole

_SERVE_S = 60.0
_START_S = 30.0
_STOP_S = 15.0
_LOOK_S = 0.02
_TAIL_LINES = 15
_PROBES = 500  # keys that are tried until each shard has one


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process lives if it is not to live like the others; "" and None: as usual.

    `within`: words before its command, which must end by becoming it (`nsenter ...`). `advertise`: by which address
    other processes come to a node; `join`: by which one it comes to the coordinator; `publish`: where that broadcasts.
    """

    listen: str = ""
    publish: str = ""
    advertise: str = ""
    join: str = ""
    within: tuple[str, ...] = ()
    folder: Path | None = None


class Cluster:
    """`coordinators` and `nodes` on free ports of 127.0.0.1; it serves when the constructor returns.

    The coordinators are called "coordinator", "coordinator2" and so on, the nodes "node1", "node2" and so on.

    `data` is the folder of all their folders and logs; None: a temporary one that goes with `stop`. `options`: further
    words for each node's command line, by its name; `places`: where a process lives that lives elsewhere, by its name,
    one that is added later, too. All that was started goes when Python exits or is killed.
    """

    def __init__(
        self,
        nodes: int = 3,
        data: str | Path | None = None,
        *,
        coordinators: int = 1,
        options: Mapping[str, list[str]] | None = None,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        self._temporary = data is None
        self.data = Path(tempfile.mkdtemp(prefix="zkv-cluster-") if data is None else data).absolute()
        self.data.mkdir(parents=True, exist_ok=True)
        self.coordinators = coordinator_names(coordinators)
        self.names = [*self.coordinators, *(f"node{number}" for number in range(1, nodes + 1))]
        self._places = dict.fromkeys(self.names, Place()) | dict(places or {})
        told = [self._places[name].publish for name in self.coordinators]
        told += [self._places[name].listen for name in self.names]
        self._claimed = ClaimedPorts(told.count(""))
        free = iter(self._claimed.ports)
        addresses = [address or f"127.0.0.1:{next(free)}" for address in told]
        self._publish = dict(zip(self.coordinators, addresses, strict=False))
        self._address = dict(zip(self.names, addresses[len(self.coordinators) :], strict=True))
        self._options = options or {}
        self._added: list[ClaimedPorts] = []  # of nodes that were added later
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._paused: set[str] = set()
        self._warden = Warden(self.data if self._temporary else None)
        atexit.register(self.stop)
        try:
            for name in self.names:
                self._spawn(name)
            for name in self.names:
                self._wait_until_running(name)
            self.wait_until_serving()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """HOST:PORT of the first coordinator."""
        return self._address[COORDINATOR]

    @property
    def publish_address(self) -> str:
        """HOST:PORT of the first coordinator's broadcast."""
        return self._publish[COORDINATOR]

    def address_of(self, name: str) -> str:
        """HOST:PORT of one process."""
        return self._address[name]

    def addresses(self) -> list[str]:
        """By which address clients come to each process."""
        return [self._places[name].advertise or address for name, address in self._address.items()]

    def folder_of(self, name: str) -> Path:
        """The process's data folder."""
        return self._places[name].folder or self.data / name

    def client(self, *, timeout_s: float = 5.0) -> zkv.Client:
        """A new client that knows every address; the caller closes it."""
        return zkv.connect(*self.addresses(), timeout_s=timeout_s)

    def pid(self, name: str) -> int:
        """The process's id. Raises KeyError if it is not running."""
        return self._running[name].pid

    def running(self) -> list[str]:
        """The names of the processes that were started and have not ended, the paused ones among them."""
        return [name for name in self.names if name in self._running and self._running[name].poll() is None]

    def died(self) -> dict[str, int]:
        """The processes that ended although nobody ended them, with their exit statuses (a signal is negative)."""
        ended = {name: process.poll() for name, process in self._running.items()}
        return {name: status for name, status in ended.items() if status is not None}

    def log(self, name: str) -> str:
        """What the process has written to stderr so far, over all its starts."""
        return self._log_file(name).read_text(errors="replace")

    def kill(self, name: str) -> None:
        """SIGKILL; returns when the process is gone."""
        process = self._running.pop(name)
        process.kill()
        process.wait()
        self._paused.discard(name)

    def terminate(self, name: str) -> int:
        """SIGTERM; returns the exit status when the process has stopped by itself."""
        process = self._running.pop(name)
        process.terminate()
        try:
            return process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Timeout(f"{name} did not stop within {_STOP_S:g} s of SIGTERM") from None

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        os.kill(self.pid(name), signal.SIGSTOP)
        self._paused.add(name)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        os.kill(self.pid(name), signal.SIGCONT)
        self._paused.discard(name)

    def start(self, *names: str) -> None:
        """Start processes that are not running, on their old folders and ports; returns when all serve.

        A node that there was not yet ("node4") is added, with an empty folder, and has joined when this returns.
        """
        for name in names:
            if name in self.running():
                raise StartError(f"{name} is running", advice="kill it first")
        added = [name for name in names if name not in self.names]
        for name in added:
            self._add(name)
        for name in names:
            self._spawn(name)
        for name in names:
            self._wait_until_running(name)
        if added:
            with self.client() as client:
                self._wait(lambda: _has_joined(client, added), _START_S, f"{', '.join(added)} did not join")

    def _add(self, name: str) -> None:
        if not re.fullmatch(r"node[1-9][0-9]*", name):
            raise StartError(f"there is no process {name}", advice='a new node is called "node" and a number')
        self.names.append(name)
        place = self._places.setdefault(name, Place())
        if not place.listen:
            claimed = ClaimedPorts(1)
            self._added.append(claimed)
        self._address[name] = place.listen or f"127.0.0.1:{claimed.ports[0]}"

    def forget(self, name: str) -> None:
        """A node that was added has ended, and left the cluster: it is no process of this one any more."""
        if name in self.running():
            raise StartError(f"{name} is running", advice="drain and terminate it first")
        self.names.remove(name)
        del self._address[name]

    def start_to_end(self, name: str) -> int | None:
        """Start a process that is expected to refuse; its exit status, or None: it runs."""
        if name in self.running():
            raise StartError(f"{name} is running", advice="kill it first")
        self._spawn(name)
        process = self._running[name]
        self._wait(lambda: process.poll() is not None or self._has_begun(name), _START_S, f"{name} did not start")
        if process.returncode is not None:
            del self._running[name]
        return process.returncode

    def leader_of(self, key: bytes | str, table: str = "default") -> str:
        """The name of the node that leads the key's shard by its own word; waits until a running one does."""
        with self.client() as client:
            shard = self._shard_of(client, key.encode() if isinstance(key, str) else key, table)
            found: list[str] = []

            def led() -> bool:
                found[:] = self._leaders(client, shard)
                return bool(found)

            self._wait(led, _SERVE_S, f"shard {shard} of {table} has no leader")
        return found[0]

    def wait_until_serving(self) -> None:
        """Block until every shard of `default` has a leader and a put is taken. Raises Timeout, with the logs' ends."""
        with self.client(timeout_s=2.0) as client:
            self._wait(lambda: serves(client), _SERVE_S, "the cluster does not serve")

    def wait_until_whole(self, *, within_s: float = 60.0, lag_max: int = 0) -> None:
        """Block until every node is up and every shard has all its replicas, at most `lag_max` entries apart."""
        with self.client(timeout_s=2.0) as client:

            def whole() -> bool:
                try:
                    return not why_not_whole(client, lag_max=lag_max)
                except ZkvError:
                    return False

            self._wait(whole, within_s, "the cluster is not whole")

    def stop(self) -> None:
        """Stop every process, and delete the folder if it is temporary. May be called twice."""
        atexit.unregister(self.stop)
        for name in list(self._paused):
            self.resume(name)
        for process in self._running.values():
            # Nobody misses what a temporary folder holds, so its processes need not hand over.
            process.kill() if self._temporary else process.terminate()
        for process in self._running.values():
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        self._warden.dismiss()
        for claimed in (self._claimed, *self._added):
            claimed.release()
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Processes ------------------------------------------------------------------------------------------------------

    def _spawn(self, name: str) -> None:
        with self._log_file(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                self.command(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._warden.group,
            )

    def command(self, name: str) -> list[str]:
        """The command line of that process, for whoever wants to run it otherwise."""
        role = COORDINATOR if name in self.coordinators else "node"
        place = self._places[name]
        words = [*place.within, sys.executable, "-m", "zkv.cli.main", role, "--id", name]
        words += ["--data", str(self.folder_of(name)), "--listen", self._address[name]]
        if role == COORDINATOR:
            words += ["--publish", self._publish[name]]
            words += ["--group", ",".join(map(self.member, self.coordinators))] if len(self.coordinators) > 1 else []
        else:
            words += ["--join", place.join or ",".join(self._address[one] for one in self.coordinators)]
        words += ["--advertise", place.advertise] if place.advertise else []
        return words + self._options.get(name, [])

    def member(self, name: str) -> str:
        """A coordinator as `--group` and `zkv coordinators add` name it."""
        return f"{name}={self._address[name]}/{self._publish[name].rpartition(':')[2]}"

    def _log_file(self, name: str) -> Path:
        return self.data / f"{name}.log"

    def _wait_until_running(self, name: str) -> None:
        process = self._running[name]

        def runs() -> bool:
            if process.poll() is not None:
                del self._running[name]
                raise StartError(f"{name} ended with exit status {process.returncode}:\n{self._tail(name)}\n")
            return self._has_begun(name)

        self._wait(runs, _START_S, f"{name} did not start")

    def _has_begun(self, name: str) -> bool:
        """Whether it has its port and has read its folder: then it writes its id there."""
        pid_file = self.folder_of(name) / "pid"
        return pid_file.exists() and pid_file.read_text().strip() == str(self._running[name].pid)

    def _wait(self, condition: Callable[[], bool], within_s: float, complaint: str) -> None:
        end = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(f"--- {name}\n{self._tail(name)}" for name in self.names)
                raise Timeout(f"{complaint} within {within_s:g} s\n{logs}\n")
            time.sleep(_LOOK_S)

    def _tail(self, name: str) -> str:
        return "\n".join(self.log(name).splitlines()[-_TAIL_LINES:])

    # Leaders --------------------------------------------------------------------------------------------------------

    def _shard_of(self, client: zkv.Client, key: bytes, table: str) -> int:
        shard_map = ShardMap(client.shard_map())
        info = shard_map.table(table)
        if info is None:
            raise NoSuchTable(f"there is no table {table!r}")
        shard = shard_map.locate(info.table, partition_key(info.partitioner, key))
        assert shard is not None, "the shards of a table have no holes"
        return shard.shard

    def _leaders(self, client: zkv.Client, shard: int) -> list[str]:
        """Running nodes that say they lead the shard, the one of the highest term first."""
        awake = {name for name in self.running() if name not in self.coordinators and name not in self._paused}
        led: list[tuple[int, str]] = []
        for name, figures in client.status().items():
            shards = figures.get("shards") if figures is not None and name in awake else None
            replica = shards.get(str(shard)) if isinstance(shards, dict) else None
            if isinstance(replica, dict) and replica["role"] == "leader":
                led.append((int(replica["term"]), name))
        return [name for _, name in sorted(led, reverse=True)]


def _has_joined(client: zkv.Client, names: list[str]) -> bool:
    up = {node.node for node in client.shard_map().nodes if node.state is NodeState.UP}
    return up >= set(names)


def serves(client: zkv.Client) -> bool:
    """Whether every shard of `default` answers a linearizable read, and a put is taken.

    Where somebody dropped that table: whether every shard that there is has a leader by the map.
    """
    shard_map = ShardMap(client.shard_map())
    default = shard_map.table("default")
    if default is None:
        led = all(shard.leading() is not None for shard in shard_map.shards.values())
        return led and _ever_had_a_table(client)
    wanted = {info.shard for info in shard_map.shards_of(default.table)}
    probes: dict[int, bytes] = {}
    for number in range(_PROBES):
        key = b"zkv-testing-probe-%d" % number
        owner = shard_map.locate(default.table, partition_key(default.partitioner, key))
        if owner is not None:
            probes.setdefault(owner.shard, key)
    try:
        client.mget(probes.values())
        for key in list(probes.values())[:1]:
            client.put(key, b"")
            client.delete(key)
    except ZkvError:
        return False
    return bool(wanted) and wanted == set(probes)


def _ever_had_a_table(client: zkv.Client) -> bool:
    """A cluster without tables is still being founded, or its tables were dropped: its coordinator knows."""
    try:
        told = client.status().values()
    except ZkvError:
        return False
    return any(figures.get("tables_made") for figures in told if figures is not None)
