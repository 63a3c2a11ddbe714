"""Faults and wishes of a cluster that changes: nodes join, are drained, replaced, removed; a move's ends are killed.

A run uses them only if its plan says `elastic`. All their draws have sources of their own, so a seed without them
means what it always meant; with them it means the same faults and these beside them.
"""

from collections.abc import Callable, Collection
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from zkv.core.cluster.shardmap import NodeDuty, Tuning
from zkv.core.cluster.upkeep import may_cancel
from zkv.core.routing.admin import AdminRequest, cancel_operator, change_node, change_tuning, merge_shards, split_table
from zkv.core.shard.draft import reach
from zkv.sim.cluster import Cluster
from zkv.sim.processes import Process, SimNode
from zkv.sim.swarm import WEATHER, Swarm
from zkv.sim.world import MS, SECOND

_AMID = "kill amid a snapshot"
_CALL_OFF = "call off a split or merge"
ELASTIC = (
    "grow",
    "drain",
    "undrain",
    "replace",
    "remove",
    "reweigh",
    "cancel",
    "kill a mover",
    _AMID,
    "split shard",
    "merge shards",
    _CALL_OFF,
)
_NODES_MAX = 6
_NODES_MIN = 4  # that serve, so that one of them can be spared
_AIMED = 0.4  # of the seeds use nothing else: much moves only where little else goes wrong
_SHARE = 0.6  # of the seeds use each kind
_OFTEN = {
    "kill a mover": 0.3,
    _AMID: 0.5,
    "grow": 1.0,
    "drain": 2.0,
    "split shard": 1.0,
    "merge shards": 1.0,
    _CALL_OFF: 1.0,
}  # seconds from strike to strike, in the mean
_USUALLY = 4.0
_HASTY = 0.7  # of the seeds even out range tables every half second, with short memories
_HOT = 0.8  # of the seeds split shards for load
_SPLIT_TABLE = "ordered"
_SPLIT_KEYS = (b"c1", b"c2", b"e", b"eclient2", b"eclient4", b"r", b"r1", b"r2", b"r4", b"z")
_SHARDS_MAX = 8
_SLOW_BYTES_PER_S = 1_500
_AMBUSH_MS = 2_000  # so long a strike waits for a snapshot
_CHUNKS = {"SNAPSHOT_CHUNK_BYTES": (30, 60, 200), "SNAPSHOT_CREDIT_CHUNKS": (1, 2, 8), "DRAFT_CREDIT_CHUNKS": (1, 4)}

Order = Callable[[AdminRequest[None]], None]


def with_elastic(rng: Callable[[str], Random], swarm: Swarm, without: tuple[str, ...]) -> Swarm:
    """The swarm, with the kinds of this page that the seed draws. Growth is always among them: it makes room."""
    kinds = tuple(kind for kind in ELASTIC if kind == "grow" or rng(f"swarm {kind}").random() < _SHARE)
    every_us = {kind: int(_OFTEN.get(kind, _USUALLY) * SECOND) for kind in ELASTIC}
    kinds = tuple(kind for kind in kinds if kind not in without)
    others = swarm.kinds
    if rng("aim at moves").random() < _AIMED:
        others = tuple(kind for kind in others if kind in WEATHER)
    return Swarm(
        (*others, *kinds),
        swarm.weather,
        swarm.disk,
        swarm.drift,
        swarm.timing,
        swarm.limits,
        swarm.every_us | every_us,
    )


def chunks_of(rng: Random, kinds: Collection[str]) -> dict[str, int]:
    """Limits for snapshots that are to be struck: shards are small here, and one chunk is over before anybody dies."""
    return {name: rng.choice(values) for name, values in _CHUNKS.items()} if _AMID in kinds else {}


def tuning_of(rng: Random, kinds: Collection[str]) -> Tuning:
    """How the cluster of a seed changes by itself. Where snapshots are to be struck, they take their time."""
    tuning = Tuning(
        balance=rng.random() < 0.9,
        grace_ms=rng.choice([2_000, 4_000, 60_000]),
        moves_per_node=rng.choice([1, 2, 4]),
        bytes_per_s=rng.choice([0, 20_000, 64 * 1024 * 1024]),
    )
    return replace(tuning, bytes_per_s=_SLOW_BYTES_PER_S) if _AMID in kinds else tuning


def is_hasty(rng: Random, without: tuple[str, ...]) -> bool:
    """Whether range tables are evened out in the seconds of a run, too; a plan may go without ("evening out")."""
    return "evening out" not in without and rng.random() < _HASTY


class Heat(NamedTuple):
    """When shards of range tables are too hot in a run: above so many requests a second, said of them for so long."""

    requests: int
    ms: int


def heat_of(rng: Random, without: tuple[str, ...]) -> Heat | None:
    """Whether shards are split for the load of a run, too; a plan may go without ("hot shards")."""
    if "hot shards" in without or rng.random() >= _HOT:
        return None
    return Heat(requests=rng.choice([1, 3, 10]), ms=rng.choice([0, 0, 2_000]))


class Elastic:
    """Strikes of these kinds, by name. `join` starts one more node; `order` asks the coordinator, through a client."""

    def __init__(
        self,
        cluster: Cluster,
        join: Callable[[], SimNode],
        order: Order,
        later: Callable[[int, Callable[[], object]], None],
    ) -> None:
        self._cluster = cluster
        self._join = join
        self._order = order
        self._later = later
        self._rng = cluster.world.rng("elastic")
        self._going: set[str] = set()  # nodes that were asked to go: an order may wait long for a coordinator
        self._strike: dict[str, Callable[[], str]] = {
            "grow": self._grow,
            "drain": self._drain,
            "undrain": self._undrain,
            "replace": self._replace,
            "remove": self._remove,
            "reweigh": self._reweigh,
            "cancel": self._cancel,
            "kill a mover": self._kill_a_mover,
            _AMID: self._kill_amid_a_snapshot,
            "split shard": self._split_shard,
            "merge shards": self._merge_shards,
            _CALL_OFF: self._call_off,
        }

    def strike(self, kind: str, rng: Random) -> str:
        """Do one, with this chance; says what was done, or "" where nothing could be."""
        self._rng = rng
        return self._strike[kind]()

    def restore(self) -> None:
        """What the end of trouble needs: automatic again, and nobody waited for in vain."""
        self._order(change_tuning(balance=True, moves_per_node=4, bytes_per_s=0))

    def _serving(self) -> list[SimNode]:
        """Nodes that run and that the map gives things to."""
        known = self._cluster.coordinator.core.state.map.nodes
        return [
            node
            for node in self._cluster.alive()
            if any(own.node == node.name and own.receives for own in known.values())
        ]

    def _spare(self) -> SimNode | None:
        """A node that the others can do without, also once all those are gone that were asked to go."""
        serving = [node for node in self._serving() if node.name not in self._going]
        return self._rng.choice(serving) if len(serving) >= _NODES_MIN else None

    def _grow(self) -> str:
        return self._join().name if len(self._cluster.nodes) < _NODES_MAX else ""

    def _drain(self) -> str:
        node = self._spare()
        if node is None:
            return ""
        self._going.add(node.name)
        self._order(change_node(node.name, "drain"))
        return node.name

    def _undrain(self) -> str:
        known = self._cluster.coordinator.core.state.map.nodes.values()
        leaving = [info.node for info in known if info.duty == NodeDuty.DRAINING]
        if not leaving:
            return ""
        name = self._rng.choice(leaving)
        self._going.discard(name)
        self._order(change_node(name, "undrain"))
        return name

    def _replace(self) -> str:
        node = self._spare()
        if node is None:
            return ""
        heir = self._rng.choice([other for other in self._serving() if other is not node])
        self._going.add(node.name)
        self._order(change_node(node.name, "replace", heir=heir.name))
        return f"{node.name} by {heir.name}"

    def _remove(self) -> str:
        """A node that is gone for good, its disk with it."""
        node = self._spare()
        if node is None or not self._cluster.may_lose_a_disk():
            return ""
        node.kill(power=self._rng.random() < 0.5)
        self._cluster.forget(node)
        self._going.add(node.name)
        self._order(change_node(node.name, "remove"))
        return node.name

    def _reweigh(self) -> str:
        node = self._spare()
        if node is None:
            return ""
        weight = self._rng.choice([0.5, 1.0, 2.0])
        self._order(change_node(node.name, "set", weight=weight, zone=self._rng.choice(["", "a", "b"])))
        return f"{node.name} to {weight}"

    def _cancel(self) -> str:
        plans = [plan for plan in self._cluster.coordinator.core.state.operators.values() if may_cancel(plan) is None]
        if not plans:
            return ""
        plan = self._rng.choice(plans)
        self._order(cancel_operator(plan.id))
        return f"operator {plan.id}"

    def _call_off(self) -> str:
        """Ask for a split or a merge, and call it off as soon as it is planned, or a little later."""
        rng = self._rng
        what = self._split_shard() if rng.random() < 0.6 else self._merge_shards()
        delay_ms = rng.choice([0, 0, 2, 10, 50])
        if what:
            self._await_plan(delay_ms, self._cluster.world.now_us + _AMBUSH_MS * MS)
        return what and f"{what}; called off {delay_ms} ms after it is planned"

    def _await_plan(self, delay_ms: int, until_us: int) -> None:
        state = self._cluster.coordinator.core.state
        plans = [*state.splits, *state.merges]
        if plans:
            self._later(delay_ms * MS, lambda: self._order(cancel_operator(plans[-1])))
        elif self._cluster.world.now_us < until_us:
            self._later(MS, lambda: self._await_plan(delay_ms, until_us))

    def _kill_a_mover(self) -> str:
        """Who has a part in a move: its source, its target, its leader, or the coordinator, which back it soon."""
        state = self._cluster.coordinator.core.state
        plans = list(state.operators.values())
        if not plans:
            return ""
        plan = self._rng.choice(plans)
        info = state.map.shards.get(plan.shard)
        leader = info.leading() if info is not None else None
        ends = [plan.source.node, plan.target.node, *([leader.node] if leader is not None else [])]
        running: list[SimNode | Process] = [node for node in self._cluster.alive() if node.name in ends]
        if self._cluster.coordinator.alive and self._rng.random() < 0.25:
            running = [self._cluster.coordinator]
        if not running:
            return ""
        victim = self._rng.choice(running)
        self._cluster.kill(victim, power=self._rng.random() < 0.5)
        back_ms = self._rng.choice([20, 300, 1_500])
        self._later(back_ms * MS, lambda: self._back(victim))
        return f"{victim.name} for {back_ms} ms (shard {plan.shard} moves to {plan.target.node})"

    def _kill_amid_a_snapshot(self) -> str:
        """Lie in wait for a stream of which some rows have come, and kill who sends or receives it, soon after."""
        rng = self._rng
        delay_ms, back_ms = rng.choice([0, 5, 20, 50]), rng.choice([20, 300, 1_500])
        self._await_snapshot(rng, delay_ms, back_ms, self._cluster.world.now_us + _AMBUSH_MS * MS)
        return f"an end of the next snapshot dies {delay_ms} ms after its first rows, for {back_ms} ms"

    def _await_snapshot(self, rng: Random, delay_ms: int, back_ms: int, until_us: int) -> None:
        ends = [end for node in self._cluster.alive() for end in self._ends(node)]
        if ends:
            victim = rng.choice(ends)
            self._later(delay_ms * MS, lambda: self._kill_for(victim, rng, back_ms))
        elif self._cluster.world.now_us < until_us:
            self._later(MS, lambda: self._await_snapshot(rng, delay_ms, back_ms, until_us))

    def _ends(self, receiver: SimNode) -> list[SimNode]:
        """Both ends of each stream that has brought rows to this node so far."""
        drafts = receiver.host.drafts.items()
        receiving = set(receiver.node.transfers.receiving())
        shards = {
            draft.shard
            for replica, draft in drafts
            if replica in receiving and reach(receiver.store.engine, draft.space) is not None
        }
        senders = [
            node
            for node in self._cluster.alive()
            for row in node.node.transfers.progress()
            if row["sent"] and row["shard"] in shards
        ]
        return [receiver] * len(senders) + senders

    def _kill_for(self, victim: SimNode, rng: Random, back_ms: int) -> None:
        if victim.alive:
            self._cluster.kill(victim, power=rng.random() < 0.5)
            self._later(back_ms * MS, lambda: self._back(victim))

    def _split_shard(self) -> str:
        """At a key among those that are used; and, half the time, somebody who has a part in it dies."""
        state = self._cluster.coordinator.core.state
        table = state.map.table(_SPLIT_TABLE)
        if table is None or len(state.map.shards_of(table.table)) >= _SHARDS_MAX:
            return ""
        at = self._rng.choice(_SPLIT_KEYS)
        self._order(split_table(_SPLIT_TABLE, at))
        info = state.map.locate(table.table, at)
        if self._rng.random() < 0.5 or info is None:
            return f"{_SPLIT_TABLE} at {at!r}"
        return f"{_SPLIT_TABLE} at {at!r} and {self._kill_soon([voter.node for voter in info.membership.voters])}"

    def _merge_shards(self) -> str:
        """At a border; and, half the time, somebody who has a part in it dies."""
        state = self._cluster.coordinator.core.state
        table = state.map.table(_SPLIT_TABLE)
        shards = state.map.shards_of(table.table) if table is not None else ()
        if len(shards) < 2:
            return ""
        place = self._rng.randrange(1, len(shards))
        left, right = shards[place - 1], shards[place]
        self._order(merge_shards(_SPLIT_TABLE, right.start))
        if self._rng.random() < 0.5:
            return f"{_SPLIT_TABLE} at {right.start!r}"
        homes = sorted({voter.node for info in (left, right) for voter in info.membership.voters})
        return f"{_SPLIT_TABLE} at {right.start!r} and {self._kill_soon(homes)}"

    def _kill_soon(self, homes: Collection[str]) -> str:
        delay_ms = self._rng.choice([1, 5, 20, 60, 150, 400])
        self._later(delay_ms * MS, lambda: self._kill_one_of(homes))
        return f"one of {homes} dies in {delay_ms} ms"

    def _kill_one_of(self, homes: Collection[str]) -> None:
        """One of these nodes, or the coordinator, which is back soon."""
        running: list[SimNode | Process] = [node for node in self._cluster.alive() if node.name in homes]
        if self._cluster.coordinator.alive:
            running.append(self._cluster.coordinator)
        if running:
            victim = self._rng.choice(running)
            self._cluster.kill(victim, power=self._rng.random() < 0.5)
            self._later(self._rng.choice([20, 300, 1_500]) * MS, lambda: self._back(victim))

    def _back(self, victim: Process) -> None:
        is_gone = isinstance(victim, SimNode) and victim not in self._cluster.nodes
        if not victim.alive and not is_gone:
            victim.start()
