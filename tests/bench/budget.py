"""Where the microseconds of one operation go, by stage and role: `python -m tests.bench.budget`.

A coordinator, three nodes and a client take turns in one thread of one process, over real sockets, logs and engines, so
that what each stage takes of that thread's CPU can be told apart, and switching between processes costs nothing. A
stage within another is taken from it. The I/O threads of ZeroMQ do not count, nor does waiting for the disk. Figures in
us an operation, the timers included. A client's rest is making a request, placing it, and the callback.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zkv.client.driver import Driver
from zkv.client.turns import Turns
from zkv.core.node.host import Host
from zkv.core.node.node import Node
from zkv.core.node.service import Service
from zkv.core.raft.replica import Role
from zkv.core.routing import admin
from zkv.core.routing import operations as ops
from zkv.core.routing.router import Router
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.sessions import Session, Sessions
from zkv.net import drain
from zkv.net.clock import now_ms
from zkv.net.wait import Wait
from zkv.server.coordinator import CoordinatorProcess
from zkv.server.node import NodeProcess
from zkv.server.peers import PeerLinks
from zkv.server.settings import CoordinatorSettings, NodeSettings
from zkv.server.store import Store
from zkv.testing.ports import ClaimedPorts
from zkv.wire import codec

_DUE_MS = 50
KEYS, VALUE = [b"user%012d" % number for number in range(10_000)], b"v" * 100
STAGES: dict[str, list[tuple[object, str]]] = {
    "receive": [(drain, "drain"), (drain, "drain_router"), (Wait, "ready")],
    "decode": [(codec, "decode_to_node"), (codec, "decode_to_client")],
    "route": [(Router, "take"), (Node, "from_client")],
    "encode": [(codec, "encode")],
    "send": [(drain, "tell"), (drain, "answer")],
    "dedup": [(Sessions, "find"), (Session, "forget_below"), (Session, "remember")],
    "append": [(Service, "propose")],
    "replicate": [(Host, "step"), (PeerLinks, "send")],
    "flush": [(Store, "write"), (Store, "flushed")],
    "acknowledge": [(Host, "persisted")],
    "apply": [(ShardMachine, "apply"), (ShardMachine, "finish"), (Store, "apply"), (Store, "tend")],
    "read": [(ShardMachine, "read")],
    "answer": [(NodeProcess, "_answer"), (Router, "receive"), (Turns, "finished")],
    "raft": [(Host, "turn"), (Host, "tick")],
}


class Budget:
    """CPU seconds by role and stage. One stage runs at a time: the innermost."""

    def __init__(self) -> None:
        self.spent: dict[tuple[str, str], float] = {}
        self.role = ""
        self._open: list[str] = []
        self._since = time.thread_time()

    @contextmanager
    def of(self, role: str) -> Iterator[None]:
        """What runs within is this role's; what no stage takes is `the rest`."""
        self.enter("the rest")
        self.role = role
        try:
            yield
        finally:
            self.leave()
            self.role = ""

    def enter(self, stage: str) -> None:
        """A stage begins within the one that runs."""
        self._charge()
        self._open.append(stage)

    def leave(self) -> None:
        """It ends."""
        self._charge()
        self._open.pop()

    def watch(self, owner: object, name: str, stage: str) -> None:
        """Charge every call of this function to the stage."""
        function: Callable[..., object] = getattr(owner, name)

        def charged(*arguments: object, **named: object) -> object:
            self.enter(stage)
            try:
                return function(*arguments, **named)
            finally:
                self.leave()

        setattr(owner, name, charged)

    def _charge(self) -> None:
        now = time.thread_time()
        if self._open and self.role:
            key = self.role, self._open[-1]
            self.spent[key] = self.spent.get(key, 0.0) + now - self._since
        self._since = now


class Town:
    """All processes of a cluster, in this one."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self._budget = budget
        self._due_ms: dict[int, int] = {}
        self._asked = False  # what was submitted has had a turn in which to leave
        self._claimed = ClaimedPorts(5)
        at = [f"127.0.0.1:{port}" for port in self._claimed.ports]
        self._coordinator = CoordinatorProcess(CoordinatorSettings("c", folder / "c", at[0], at[1]))
        self._coordinator.core.load(self._coordinator.store.recovered.replicas, now_ms())
        self.nodes = [
            NodeProcess(NodeSettings(id=name, data=folder / name, listen=listen, join=(at[0],)))
            for name, listen in zip(("n1", "n2", "n3"), at[2:], strict=True)
        ]
        for process in self.nodes:
            process.node.load(process.store.recovered.replicas, now_ms())
        self.client = Driver(at[0], timeout_s=30)

    def turn(self) -> None:
        """One turn of everybody who has something to do; nobody sleeps in it."""
        if self._has_something(self._coordinator, self._coordinator._wait):
            with self._budget.of("coordinator"):
                self._coordinator._turn()
        for process in self.nodes:
            if self._has_something(process, process._wait):
                newest = max(process.node.host.hosted.items(), default=None, key=lambda one: one[0])
                leads = newest is not None and newest[1].replica.role is Role.LEADER
                with self._budget.of("leader" if leads else "follower"):
                    process.turn()
        if self._has_something(self.client, self.client._turns.waiting) or not self._asked:
            self._asked = True
            with self._budget.of("client"):
                self.client.turn(most_ms=0)

    def _has_something(self, process: object, wait: Wait) -> bool:
        """Whether something has come, or it has not had a turn for a while."""
        now = now_ms()
        if not wait.ready(0) and now < self._due_ms.get(id(process), 0):
            return False
        self._due_ms[id(process)] = now + _DUE_MS
        return True

    def ask(self, request: ops.Request[object]) -> None:
        """Ask, and return when it is answered."""
        answers: list[object] = []
        self.client.submit(request, answers.append)
        self._asked = False
        while not answers:
            self.turn()
        if isinstance(answers[0], Exception):
            raise answers[0]

    def load(self, ask: Callable[[bytes], ops.Request[object]], outstanding: int, count: int) -> None:
        """`count` operations, `outstanding` at a time."""
        asked = 0

        def next_one(result: object) -> None:
            nonlocal asked
            if isinstance(result, Exception):
                raise result
            if asked < count:
                asked += 1
                self.client.submit(ask(KEYS[asked * 7_919 % len(KEYS)]), next_one)

        for _ in range(outstanding):
            next_one(None)
        self._asked = False
        while self.client.outstanding:
            self.turn()

    def close(self) -> None:
        """Give everything back."""
        self.client.close()
        for process in self.nodes:
            process.close()
        self._coordinator._close()
        self._claimed.release()


def table(spent: dict[tuple[str, str], float], count: int) -> list[str]:
    """A line for each stage; the follower's column is one follower's."""
    roles = {"client": 1, "leader": 1, "follower": 2}
    lines = [f"{'stage':12} " + " ".join(f"{role:>9}" for role in roles)]
    stages = [*STAGES, "the rest"]
    for stage in stages:
        figures = [spent.get((role, stage), 0.0) / many / count * 1e6 for role, many in roles.items()]
        lines.append(f"{stage:12} " + " ".join(f"{figure:9.2f}" for figure in figures))
    sums = [sum(spent.get((role, stage), 0.0) for stage in stages) / many for role, many in roles.items()]
    return [*lines, f"{'all':12} " + " ".join(f"{figure / count * 1e6:9.2f}" for figure in sums)]


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outstanding", type=int, default=64)
    parser.add_argument("--operations", type=int, default=20_000)
    options = parser.parse_args(arguments)
    signal.alarm(600)  # it is one thread: where it stands still, nobody else would notice
    budget = Budget()
    for stage, functions in STAGES.items():
        for owner, name in functions:
            budget.watch(owner, name, stage)
    with tempfile.TemporaryDirectory(prefix="zkv-budget-") as folder:
        town = Town(Path(folder), budget)
        town.ask(admin.create_table("t", 1, shards=1))
        while not any(one.replica.holds_lease() for node in town.nodes for one in node.node.host.hosted.values()):
            town.turn()
        for name, ask in (
            ("put", lambda key: ops.put(key, VALUE, table="t")),
            ("get", lambda key: ops.get(key, table="t")),
        ):
            town.load(ask, options.outstanding, options.operations // 4)
            budget.spent.clear()
            town.load(ask, options.outstanding, options.operations)
            title = f"one {name}, {options.outstanding} outstanding, us of CPU\n"
            sys.stdout.write("\n".join([title, *table(budget.spent, options.operations), "", ""]))
        town.close()


if __name__ == "__main__":
    main(sys.argv[1:])
