"""What a fault has to work with: the cluster, chance, the network and the disks, and waits that notice trouble."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

import zkv
from zkv.chaos.crew import Crew
from zkv.chaos.failure import ChaosFailed
from zkv.chaos.keys import COUNTERS, REGISTERS, keys_of
from zkv.chaos.network import Network
from zkv.chaos.small_disk import SmallDisk
from zkv.chaos.story import Span, Story
from zkv.core.routing.operations import Request
from zkv.errors import ZkvError
from zkv.testing.cluster import Cluster
from zkv.testing.wholeness import why_not_whole

_LOOK_S = 0.1
_LAST_CHARACTERS = 2_000
_WHOLE_S = 90.0  # within so long of a fault's end every replica must be there and level
_TOLD_S = 20.0  # within so long a node must have noticed what was done to it
_LAG_MAX = 1_000  # entries that replicas may be apart under load and count as level


class Target(NamedTuple):
    """What is under load. `ports`: of every process, the broadcast's too; `range_table`: the load's."""

    addresses: list[str]
    ports: list[str]
    range_table: str


class Scene:
    """One run's stage. Faults act only through it. `cluster`, `network` are absent where the cluster is the user's."""

    def __init__(
        self,
        *,
        story: Story,
        rng: Random,
        crew: Crew,
        target: Target,
        cluster: Cluster | None = None,
        network: Network | None = None,
        disk: SmallDisk | None = None,
    ) -> None:
        self.rng = rng
        self.target = target
        self.network = network
        self.disk = disk
        self._addresses = target.addresses
        self._cluster = cluster
        self._story = story
        self._crew = crew
        self.spare = f"node{len(self.nodes()) + 1}" if cluster is not None else ""  # may come beside the cluster's own
        self._span: Span | None = None
        self._moved = 0
        self._excused: dict[str, int] = {}

    @property
    def cluster(self) -> Cluster:
        """The run's own cluster."""
        assert self._cluster is not None, "a fault that needs the cluster's processes is not drawn without them"
        return self._cluster

    def perform(self, kind: str, fault: Callable[["Scene"], None]) -> None:
        """Do one fault, from a whole cluster to a whole cluster. Raises ChaosFailed where it does not recover."""
        span = self._span = self._story.begin(kind)
        try:
            fault(self)
            span.undone_ns = time.monotonic_ns()
            self.wait_until_whole()
            span.whole_ns = time.monotonic_ns()
            took_s = (span.whole_ns - span.undone_ns) / 1e9
            self._story.say(f"undone; whole {took_s:.1f} s later", kind)
        finally:
            self._span = None

    def say(self, text: str) -> None:
        """What the fault does."""
        if self._span is not None:
            self._span.told.append(text)
        self._story.say(text, self._span.kind if self._span is not None else "")

    def hold(self, least_s: float, most_s: float) -> None:
        """Let time pass while the fault lasts, as long as chance says."""
        end = time.monotonic() + self.rng.uniform(least_s, most_s)
        while (left_s := end - time.monotonic()) > 0:
            self.watch()
            time.sleep(min(left_s, _LOOK_S))

    def watch(self) -> None:
        """Raises ChaosFailed where a process ended that nobody ended."""
        self._story.tick()
        self._crew.watch()
        if self._cluster is not None:
            died = self._cluster.died()
            for name, status in [one for one in died.items() if self._excused.get(one[0]) != one[1]]:
                last_words = self._cluster.log(name)[-_LAST_CHARACTERS:]
                raise ChaosFailed(f"{name} ended by itself with exit status {status}:\n{last_words}")

    def wait_until_whole(self) -> None:
        """Block until every node is up and every shard has all its replicas, about level."""
        end = time.monotonic() + _WHOLE_S
        with zkv.connect(*self._addresses, timeout_s=5.0) as client:
            while why := _why_not_whole(client):
                self.watch()
                if time.monotonic() > end:
                    raise ChaosFailed(f"the cluster is not whole within {_WHOLE_S:g} s: {why}")
                time.sleep(_LOOK_S)

    def ask(self, request: Request[object]) -> None:
        """Have the coordinator do this. Raises ZkvError."""
        with zkv.connect(*self._addresses, timeout_s=_TOLD_S) as client:
            client.ask(request).result()

    def wait_until(self, condition: Callable[[zkv.Client], bool], what: str, within_s: float) -> None:
        """Block until the condition holds; a cluster that does not answer yet counts as not yet. Raises ChaosFailed."""
        end = time.monotonic() + within_s
        with zkv.connect(*self._addresses, timeout_s=5.0) as client:
            while why := _why_not(condition, client):
                self.watch()
                if time.monotonic() > end:
                    raise ChaosFailed(f"not within {within_s:g} s: {what} ({why})")
                time.sleep(_LOOK_S)

    @contextmanager
    def excused(self, name: str, status: int) -> Iterator[None]:
        """Meanwhile this process may end with this exit status; in the end it is started again if it did."""
        self._excused[name] = status
        try:
            yield
        finally:
            del self._excused[name]
        if name in self.cluster.died():
            self.say(f"{name} had ended with exit status {status}, as it may; it starts again")
            self.cluster.start(name)

    def wait_until_told(self, name: str, figure: str, value: object) -> None:
        """Block until the node tells this figure of itself, or has died and is excused. Raises ChaosFailed."""
        end = time.monotonic() + _TOLD_S
        with zkv.connect(*self._addresses, timeout_s=5.0) as client:
            while (told := (client.status().get(name) or {}).get(figure)) != value:
                self.watch()
                if name in self.cluster.died():
                    return  # excused
                if time.monotonic() > end:
                    raise ChaosFailed(f"{name} tells {figure} {told!r}, and not {value!r}, for {_TOLD_S:g} s")
                time.sleep(_LOOK_S)

    def a_node(self, *, besides: str = "") -> str:
        """Any node but that one."""
        return self.rng.choice([name for name in self.nodes() if name != besides])

    def nodes(self) -> list[str]:
        """All nodes."""
        return [name for name in self.cluster.names if name not in self.cluster.coordinators]

    def a_coordinator(self) -> str:
        """Half of the time the one that leads, else any."""
        coordinators = self.cluster.coordinators
        if len(coordinators) > 1 and self.rng.random() < 0.5:
            leading: list[str] = []

            def leads(client: zkv.Client) -> bool:
                told = client.status()
                leading[:] = [name for name in coordinators if (told.get(name) or {}).get("leading")]
                return len(leading) == 1

            self.wait_until(leads, "one coordinator leads", _TOLD_S)
            return leading[0]
        return self.rng.choice(coordinators)

    def a_leader(self, table: str) -> str:
        """The node that leads some shard of the load."""
        keys = keys_of(table, 0)
        number = self.rng.randrange(REGISTERS + COUNTERS)
        return self.cluster.leader_of((keys.registers + keys.counters)[number], table)

    def empty(self, name: str) -> None:
        """Move a dead process's folder away, as docs/operations.md says; it then starts on an empty one."""
        self._moved += 1
        folder = self.cluster.folder_of(name)
        target = self.cluster.data / "lost" / f"{name}.{self._moved}"
        target.parent.mkdir(exist_ok=True)
        shutil.move(folder, target)
        self.say(f"moved {folder} to {target}")


def _why_not(condition: Callable[[zkv.Client], bool], client: zkv.Client) -> str:
    try:
        return "" if condition(client) else "it is not so"
    except ZkvError as error:
        return error.what


def _why_not_whole(client: zkv.Client) -> str:
    try:
        return why_not_whole(client, lag_max=_LAG_MAX)
    except ZkvError as error:
        return error.what
