"""Faults with an aim: sequences in which a lease, a vote or a handover goes wrong if its rule is broken.

Each looks for a leader and a moment; blind chance would need very many runs to put the same pieces together.
"""

from collections.abc import Callable
from random import Random

from zkv.core.cluster.messages import TransferLeader
from zkv.core.raft.messages import Member
from zkv.core.raft.replica import Role
from zkv.ids import ShardId
from zkv.sim.cluster import Cluster
from zkv.sim.network import Arrival, both_ways
from zkv.sim.processes import REPLIES, SimNode
from zkv.sim.world import MS
from zkv.wire import codec


class Ploys:
    """Plays one ploy at a time; a step that no longer fits is left out."""

    def __init__(self, cluster: Cluster, later: Callable[[int, Callable[[], object]], None]) -> None:
        """`later` does something after so many microseconds, unless the trouble is over by then."""
        self._cluster = cluster
        self._do_later = later
        self._network = cluster.network
        self._rng = cluster.world.rng("ploys")
        self._ploys: list[Callable[[SimNode, ShardId], str]] = [
            self._depose,
            self._shun,
            self._deaf_handover,
            self._lonely_tail,
            self._restart,
        ]

    def play(self, rng: Random) -> str:
        """Begin one; says which, or "" where nobody leads."""
        self._rng = rng
        leading = [
            (node, hosted.shard)
            for node in self._cluster.alive()
            if not node.paused
            for hosted in node.node.host.hosted.values()
            if hosted.replica.role is Role.LEADER
        ]
        if not leading:
            return ""
        node, shard = self._rng.choice(leading)
        return self._rng.choice(self._ploys)(node, shard)

    def _later(self, ms: float, action: Callable[[], None]) -> None:
        """Do this, with the chance of the ploy that asks for it."""
        rng = self._rng

        def act() -> None:
            self._rng = rng
            action()

        self._do_later(int(ms * MS), act)

    def _peers(self, node: SimNode) -> list[str]:
        return [other.name for other in self._cluster.nodes if other is not node]

    def _depose(self, node: SimNode, shard: ShardId) -> str:
        """A leader that its clients still reach is paused and cut off; another is elected; it wakes."""
        links = both_ways(node.name, self._peers(node))
        pause_ms = self._rng.choice([100, 450, 700, 1_500])
        self._network.cut(links, "drop")
        if self._rng.random() < 0.7:
            self._later(self._rng.randrange(300), node.pause)
            self._later(pause_ms, node.resume)
        self._later(pause_ms + self._rng.choice([300, 1_000]), lambda: self._network.mend(links))
        return f"depose {node.name}, paused for {pause_ms} ms"

    def _shun(self, node: SimNode, shard: ShardId) -> str:
        """A follower that does not hear the leader campaigns, and whoever still does restarts at that moment."""
        peers = [other for other in self._cluster.alive() if other is not node]
        if len(peers) < 2:
            return ""
        deaf, loyal = self._rng.sample(peers, 2)
        links = both_ways(node.name, [deaf.name])
        self._network.cut(links, "drop")
        for _ in range(3):
            self._later(600 + self._rng.randrange(1_500), lambda: self._bounce(loyal))
        self._later(2_500, lambda: self._network.mend(links))
        return f"shun {node.name}: {deaf.name} does not hear it, {loyal.name} restarts"

    def _deaf_handover(self, node: SimNode, shard: ShardId) -> str:
        """A leader is told to hand over, and hears nobody from then on."""
        hosted = node.node.host.hosted[shard]
        others = [voter for voter in hosted.replica.membership.voters if voter.node != node.name]
        if not others:
            return ""
        target: Member = self._rng.choice(others)
        order = codec.encode(TransferLeader(shard, target.replica))
        node.deliver(Arrival(REPLIES, b"", order))
        links = [(peer, node.name) for peer in self._peers(node)]
        self._later(self._rng.choice([1, 2, 4, 10, 30]), lambda: self._network.cut(links, "drop"))
        self._later(self._rng.choice([500, 900]), lambda: self._network.mend(links))
        return f"hand shard {shard} over from {node.name} to {target.node}, then deafen {node.name}"

    def _lonely_tail(self, node: SimNode, shard: ShardId) -> str:
        """A leader collects entries that reach nobody, dies, and comes back when another has gone on."""
        links = [(node.name, peer) for peer in self._peers(node)]
        self._network.cut(links, "drop")
        alone_ms = self._rng.choice([50, 300, 550])
        self._later(alone_ms, lambda: node.kill(power=self._rng.random() < 0.5))
        self._later(alone_ms + self._rng.choice([700, 1_600]), lambda: self._start(node))
        self._later(alone_ms, lambda: self._network.mend(links))
        for _ in range(self._rng.randrange(3)):  # soon after it has adopted the others' log, and before it is long
            self._later(alone_ms + 700 + self._rng.randrange(1_500), lambda: self._bounce(node))
        return f"{node.name} collects a tail alone for {alone_ms} ms and dies"

    def _restart(self, node: SimNode, shard: ShardId) -> str:
        """Everybody, or one node, is killed and back at once."""
        nodes = self._cluster.alive() if self._rng.random() < 0.3 else [self._rng.choice(self._cluster.alive())]
        for one in nodes:
            self._bounce(one)
        return f"restart {[one.name for one in nodes]}"

    def _bounce(self, node: SimNode) -> None:
        if node.alive:
            node.kill(power=self._rng.random() < 0.5)
            self._later(self._rng.choice([1, 10, 60]), lambda: self._start(node))

    def _start(self, node: SimNode) -> None:
        if not node.alive:
            node.start()
