"""One run from beginning to end: a cluster, a load, faults one after the other, and the verdict."""

import math
import os
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import msgspec

import zkv
from zkv.chaos import plan, timeline, verdict
from zkv.chaos.crew import Crew
from zkv.chaos.failure import ChaosFailed
from zkv.chaos.faults import FAULTS, Needs
from zkv.chaos.final_reads import read_all
from zkv.chaos.history_file import now_ns
from zkv.chaos.keys import GENERATION_S, HASH, PARTINGS, RANGE, SHARDS, SPLITS, parse_name
from zkv.chaos.load import LoadSettings
from zkv.chaos.namespaces import Namespaces
from zkv.chaos.network import Network
from zkv.chaos.proxies import Proxies
from zkv.chaos.proxy import SOCKETS
from zkv.chaos.scene import Scene, Target
from zkv.chaos.small_disk import SmallDisk
from zkv.chaos.story import Listener, Story
from zkv.chaos.verdict import Ran, Verdict
from zkv.checkers.history import Call, Verb, from_lines
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.partition import partition_key
from zkv.core.cluster.shardmap import Partitioner
from zkv.errors import ZkvError
from zkv.testing.cluster import Cluster
from zkv.testing.names import coordinator_names

_PROCESSES, _TASKS = 3, 8
_QUIET_S = (1.0, 3.0)  # between two faults
_REPLICAS = 3


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is asked for. `address`: of the user's own cluster; "" for one of the run's own.

    `not_isolated`: why this process has no network and mounts of its own; "" if it has.
    """

    seconds: float
    seed: int
    folder: Path
    nodes: int = 3
    coordinators: int = 1
    kinds: tuple[str, ...] = ()
    address: str = ""
    rate_per_s: float = 400.0
    not_isolated: str = ""


def run(settings: RunSettings, listener: Listener) -> Verdict:
    """Do it. Raises ZkvError where it cannot begin; whatever goes wrong later is in the verdict."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        return _Run(settings, listener, stack).run()


class _Run:
    def __init__(self, settings: RunSettings, listener: Listener, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._rng = Random(settings.seed)
        self._failures: list[str] = []
        self._network: Network | None = None
        self._disk: SmallDisk | None = None
        self._cluster: Cluster | None = None
        self._kinds, self._skipped = plan.chosen(settings.kinds, *self._possible())
        self._story = Story(settings.folder, listener)
        stack.callback(self._story.close)

    def run(self) -> Verdict:
        settings, story = self._settings, self._story
        for kind, why in self._skipped.items():
            story.say(f"{kind} is left out: {why}")
        addresses = [settings.address] if settings.address else self._start_cluster()
        with zkv.connect(*addresses, timeout_s=30.0) as client, self._tables(client) as tables:
            shard_of = _shards(client, tables)
            began_ns = now_ns()
            crew = self._stack.enter_context(Crew(self._loads(addresses, tables, began_ns), settings.folder))
            story.say(f"{_PROCESSES} processes ask {settings.rate_per_s:g} operations a second, in {settings.folder}")
            scene = Scene(
                story=story,
                rng=self._rng,
                crew=crew,
                target=Target(addresses, self._ports(client), tables[1]),
                cluster=self._cluster,
                network=self._network,
                disk=self._disk,
            )
            self._try(lambda: self._faults(scene))
            self._try(crew.stop)
            generations = math.ceil((now_ns() - began_ns) / 1e9 / GENERATION_S)
            story.say(f"the load has ended; reading every key of {generations} generations")
            self._try(lambda: read_all(client, tables, generations, settings.folder / "history-final.jsonl"))
            seconds = (now_ns() - began_ns) / 1e9
        calls = _history(settings.folder)
        story.say(f"checking {len(calls):,} operations")
        (settings.folder / "faults.json").write_bytes(msgspec.json.encode(story.spans))
        ran = Ran(settings.seed, seconds, settings.folder, self._skipped, story.spans, self._failures)
        found = verdict.reach(calls, ran, shard_of)
        title = f"zkv chaos --seed {settings.seed}: {'passed' if found.passed else 'FAILED'}"
        self._end_cluster(passed=found.passed)
        timeline.draw(calls, story.spans, began_ns, title, ran.timeline)
        return found

    def _possible(self) -> tuple[set[Needs], dict[Needs, str]]:
        """What faults may need and find here, and why they do not find the rest."""
        settings = self._settings
        if settings.address:
            why = "the cluster's processes are not this command's to touch"
            return {Needs.ADDRESS}, dict.fromkeys((Needs.PROCESSES, Needs.NETWORK, Needs.DISK), why)
        if not settings.not_isolated:
            return set(Needs), {}
        absent = {Needs.DISK: settings.not_isolated}
        if not SOCKETS.exists():  # by which proxies tell who is who
            absent[Needs.NETWORK] = f"{settings.not_isolated}, and there is no {SOCKETS}"
        return set(Needs) - set(absent), absent

    def _start_cluster(self) -> list[str]:
        settings = self._settings
        coordinators = coordinator_names(settings.coordinators)
        names = [*coordinators, *(f"node{number}" for number in range(1, settings.nodes + 1))]
        data = settings.folder / "cluster"
        spare = f"node{settings.nodes + 1}"
        self._network = self._make_network([*names, spare], data)
        places = dict(self._network.places) if self._network is not None else {}
        if not settings.not_isolated:
            self._disk = SmallDisk(settings.folder / "small-disk", names[-1])
            self._stack.callback(self._disk.close)
            places[names[-1]] = replace(places[names[-1]], folder=self._disk.folder)
            self._story.say(f"{names[-1]} has its folder on a small file system")
        self._cluster = Cluster(settings.nodes, data, coordinators=settings.coordinators, places=places)
        self._stack.callback(self._cluster.stop)
        of = f"{settings.nodes} nodes" + (f" and {settings.coordinators} coordinators" if coordinators[1:] else "")
        self._story.say(f"a cluster of {of} serves at {self._cluster.address}")
        return self._cluster.addresses()

    def _make_network(self, names: Sequence[str], data: Path) -> Network | None:
        """Whose links can be cut; None where nothing can."""
        network: Network
        if not self._settings.not_isolated:
            network = Namespaces(names)
        elif SOCKETS.exists():
            network = Proxies(names, data)
        else:
            return None
        self._stack.callback(network.close)
        self._story.say(f"links are cut by {network.name}")
        return network

    @contextmanager
    def _tables(self, client: zkv.Client) -> Iterator[list[str]]:
        """The load's two tables; on a user's cluster under names that nobody has, and dropped in the end."""
        tag = f"chaos-{os.urandom(4).hex()}-" if self._settings.address else ""
        tables = [tag + HASH, tag + RANGE]
        replicas = _REPLICAS if self._settings.address else min(_REPLICAS, self._settings.nodes)
        client.create_table(tables[0], "hash", replicas=replicas, shards=SHARDS)
        client.create_table(tables[1], "range", replicas=replicas, splits=SPLITS)
        try:
            yield tables
        finally:
            if self._settings.address:
                for table in tables:
                    client.drop_table(table)

    def _loads(self, addresses: list[str], tables: list[str], began_ns: int) -> list[LoadSettings]:
        settings = self._settings
        return [
            LoadSettings(
                name=f"p{number}",
                addresses=addresses,
                tables=tables,
                history=str(settings.folder / f"history-p{number}.jsonl"),
                seed=settings.seed,
                rate_per_s=settings.rate_per_s / _PROCESSES,
                tasks=_TASKS,
                began_ns=began_ns,
            )
            for number in range(1, _PROCESSES + 1)
        ]

    def _ports(self, client: zkv.Client) -> list[str]:
        """Where each process of the cluster listens."""
        shard_map = client.shard_map()
        return [*shard_map.coordinators, *shard_map.publishers, *(node.address for node in shard_map.nodes)]

    def _faults(self, scene: Scene) -> None:
        end = time.monotonic() + self._settings.seconds
        scene.wait_until_whole()
        scene.hold(*_QUIET_S)
        for kind in plan.endless(self._kinds, self._rng) if self._kinds else ():
            if time.monotonic() > end:
                break
            scene.perform(kind, FAULTS[kind].does)
            scene.hold(*_QUIET_S)
        while time.monotonic() < end:
            scene.hold(0.5, 0.5)

    def _end_cluster(self, *, passed: bool) -> None:
        """Stop it. What it stored is kept only where somebody will want to look at it."""
        if self._cluster is None:
            return
        self._cluster.stop()
        if not passed and self._disk is not None:
            self._disk.keep(self._cluster.data / self._disk.node)
        if passed:
            for folder in [path for path in self._cluster.data.iterdir() if path.is_dir()]:
                shutil.rmtree(folder)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (ChaosFailed, ZkvError) as error:
            self._failures.append(str(error))
            self._story.say(f"FAILED: {error}")


def _shards(client: zkv.Client, tables: Sequence[str]) -> Callable[[Call], int]:
    """Which shard an operation goes to, of those that are there when the range table has split wherever it may."""
    shard_map = ShardMap(client.shard_map())
    infos = {table: shard_map.named[table] for table in tables}
    borders = sorted((*SPLITS, *PARTINGS))

    def shard_of(call: Call) -> int:
        table, key = parse_name(call.key)
        if call.op is Verb.ADD:  # a row of its own
            key += (call.args.value or "").encode()
        if infos[table].partitioner is Partitioner.RANGE:
            return -1 - bisect_right(borders, key)
        shard = shard_map.locate(infos[table].table, partition_key(infos[table].partitioner, key))
        assert shard is not None, "the shards of a table have no holes"
        return shard.shard

    return shard_of


def _history(folder: Path) -> list[Call]:
    calls: list[Call] = []
    for path in sorted(folder.glob("history-*.jsonl")):
        with path.open("rb") as lines:
            calls += from_lines(lines)
    return calls
