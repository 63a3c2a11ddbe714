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

_LOOK_MS = 2  # how often a ploy looks whether its moment has come


class Ploys:
    """Plays one ploy at a time; a step that no longer fits is left out."""

    def __init__(self, cluster: Cluster, later: Callable[[int, Callable[[], object]], None]) -> None:
        """`later` does something after so many microseconds, unless the trouble is over by then."""
        self._cluster = cluster
        self._do_later = later
        self._network = cluster.network
        self._rng = cluster.world.rng("ploys")
        self._until_us = 0  # one is under way until then
        self._ploys: list[tuple[Callable[[SimNode, ShardId], str], int]] = [  # and how long each takes, in ms
            (self._depose, 2_500),
            (self._sleep, 2_500),
            (self._shun, 2_500),
            (self._usurp, 2_500),
            (self._deaf_handover, 1_000),
            (self._rash_news, 1_500),
            (self._late_order, 3_000),
            (self._lonely_tail, 2_500),
            (self._short_tail, 2_500),
            (self._slow_tail, 4_000),
            (self._restart, 500),
        ]

    def play(self, rng: Random) -> str:
        """Begin one; says which, or "" where nobody leads, or another is still under way."""
        now_us = self._cluster.world.now_us
        if now_us < self._until_us:
            return ""
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
        ploy, lasts_ms = self._rng.choice(self._ploys)
        played = ploy(node, shard)
        if played:
            self._until_us = now_us + lasts_ms * MS
        return played

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
        """A leader that its clients still reach is cut off, and perhaps paused; another is elected; it wakes."""
        links = both_ways(node.name, self._peers(node))
        pause_ms = self._rng.choice([0, 450, 900, 1_500])
        self._network.cut(links, "drop")
        if pause_ms:
            pause_at_ms = self._rng.randrange(300)
            self._later(pause_at_ms, node.pause)
            self._later(pause_at_ms + pause_ms, node.resume)
        self._later(pause_ms + self._rng.choice([700, 1_300]), lambda: self._network.mend(links))
        return f"depose {node.name}, paused for {pause_ms} ms"

    def _sleep(self, node: SimNode, shard: ShardId) -> str:
        """A leader is paused with answers to it on their way; another is elected, of which it hears nothing."""
        links = both_ways(node.name, self._peers(node))
        pause_ms = self._rng.choice([1_300, 2_000])
        node.pause()
        self._later(self._rng.choice([1, 3, 10]), lambda: self._network.cut(links, "drop"))
        self._later(pause_ms, node.resume)
        self._later(pause_ms + self._rng.choice([100, 700]), lambda: self._network.mend(links))
        return f"{node.name} sleeps for {pause_ms} ms over answers"

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

    def _usurp(self, node: SimNode, shard: ShardId) -> str:
        """A follower that does not hear its leader campaigns; just then nobody hears that leader any more but clients.

        Whoever still heard it may restart at that moment, too.
        """
        peers = [other for other in self._cluster.alive() if other is not node and shard in other.node.host.hosted]
        if len(peers) < 2:
            return ""
        rival, witness = self._rng.sample(peers, 2)
        restarts = self._rng.random() < 0.6
        everything = both_ways(node.name, self._peers(node))
        self._network.cut(both_ways(node.name, [rival.name]), "drop")

        def campaigns() -> None:
            self._network.cut(everything, "drop")
            self._later(800, lambda: self._network.mend(everything))
            if restarts:
                self._bounce(witness)

        self._when(lambda: _role(rival, shard) is not Role.FOLLOWER, campaigns, within_ms=1_500)
        self._later(2_400, lambda: self._network.mend(everything))
        what = f", {witness.name} restarts" if restarts else ""
        return f"usurp: {rival.name} does not hear {node.name}; once it campaigns nobody does{what}"

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

    def _rash_news(self, node: SimNode, shard: ShardId) -> str:
        """A leader hands over; the coordinator loses power while that news is on its way to its disk."""
        coordinator = self._cluster.coordinator
        voters = [one for one in node.node.host.hosted[shard].replica.membership.voters if one.node != node.name]
        if not voters or not coordinator.alive:
            return ""
        target: Member = self._rng.choice(voters)
        node.deliver(Arrival(REPLIES, b"", codec.encode(TransferLeader(shard, target.replica))))

        def returns() -> None:
            if not coordinator.alive:
                coordinator.start()

        def loses_power() -> None:
            coordinator.kill(power=True)
            self._later(200, returns)

        self._when(lambda: coordinator.alive and coordinator.store.writing, loses_power, within_ms=1_000)
        return f"hand shard {shard} over from {node.name} to {target.node}; the coordinator dies while it writes that"

    def _late_order(self, node: SimNode, shard: ShardId) -> str:
        """A leader dies with its order to take over under way. It comes when another leads, whom nobody hears then."""
        voters = [one for one in node.node.host.hosted[shard].replica.membership.voters if one.node != node.name]
        alive = {other.name: other for other in self._cluster.alive()}
        targets = [voter for voter in voters if voter.node in alive]
        if len(targets) < 2:
            return ""
        target: Member = self._rng.choice(targets)
        heir = alive[target.node]
        late = [(node.name, heir.name)]
        self._network.cut(late, "hold")
        node.deliver(Arrival(REPLIES, b"", codec.encode(TransferLeader(shard, target.replica))))
        self._later(self._rng.choice([5, 20, 60]), node.kill)
        self._later(2_500, lambda: self._start(node))

        def arrives() -> None:
            self._network.mend(late)
            leader = next((other for other in self._cluster.alive() if _role(other, shard) is Role.LEADER), node)
            everything = both_ways(leader.name, self._peers(leader))
            self._when(
                lambda: _role(heir, shard) is not Role.FOLLOWER,
                lambda: self._network.cut(everything, "drop"),
                within_ms=50,
            )
            self._later(1_000, lambda: self._network.mend(everything))

        self._later(self._rng.choice([1_500, 2_200]), arrives)
        return f"{node.name} dies; its order to {heir.name} to lead shard {shard} comes late"

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

    def _short_tail(self, node: SimNode, shard: ShardId) -> str:
        """A leader with a tail of its own dies, is back once another leads, and dies while it takes that one's log."""
        replica = node.node.host.hosted[shard].replica
        old_term = replica.term
        links = [(node.name, peer) for peer in self._peers(node)]
        self._network.cut(links, "drop")
        alone_ms = self._rng.choice([50, 200])

        def dies() -> None:
            node.kill()
            self._network.mend(links)
            self._when(led_anew, returns, within_ms=1_500)

        def led_anew() -> bool:
            return any(_role(other, shard) is Role.LEADER for other in self._cluster.alive())

        def returns() -> None:
            self._start(node)
            self._when(lambda: _last_term(node, shard) > old_term, bounces, within_ms=1_000)

        def bounces() -> None:
            self._later(self._rng.choice([0, 1, 3, 10]), lambda: self._bounce(node))

        self._later(alone_ms, dies)
        self._later(4_000, lambda: self._start(node))
        return f"{node.name} collects a tail alone for {alone_ms} ms, dies, and again while it gives way"

    def _slow_tail(self, node: SimNode, shard: ShardId) -> str:
        """The flush of a leader's lonely tail takes so long that another leader's entries have taken its place.

        That leader hears nobody else, so what the flush is taken for counts.
        """
        speed = node.machine.speed
        links = both_ways(node.name, self._peers(node))
        hiccup, hiccup_us = speed.hiccup, speed.hiccup_us
        self._network.cut(links, "drop")
        speed.hiccup, speed.hiccup_us = 1.0, 5_000 * MS

        def is_as_before() -> None:
            speed.hiccup, speed.hiccup_us = hiccup, hiccup_us

        def heirs() -> list[SimNode]:
            return [
                other for other in self._cluster.alive() if _role(other, shard) is Role.LEADER and other is not node
            ]

        def meets_heir() -> None:
            heir = heirs()[0]
            others = [name for name in self._peers(heir) if name != node.name]
            alone = both_ways(heir.name, others)
            self._network.cut(alone, "drop")
            self._network.mend(both_ways(node.name, [heir.name]))
            self._later(2_500, lambda: self._network.mend(alone))

        self._later(60, is_as_before)
        self._when(lambda: bool(heirs()), meets_heir, within_ms=1_500)
        self._later(4_000, lambda: self._network.mend(links))
        return f"{node.name} is cut off while its disk takes its time, and then hears its heir alone"

    def _restart(self, node: SimNode, shard: ShardId) -> str:
        """Everybody, or one node, is killed and back at once."""
        nodes = self._cluster.alive() if self._rng.random() < 0.3 else [self._rng.choice(self._cluster.alive())]
        for one in nodes:
            self._bounce(one)
        return f"restart {[one.name for one in nodes]}"

    def _when(self, happens: Callable[[], bool], action: Callable[[], None], *, within_ms: int) -> None:
        """Do this as soon as that is so, if it is within so many milliseconds."""
        if happens():
            action()
        elif within_ms > 0:
            self._later(_LOOK_MS, lambda: self._when(happens, action, within_ms=within_ms - _LOOK_MS))

    def _bounce(self, node: SimNode) -> None:
        if node.alive:
            node.kill(power=self._rng.random() < 0.5)
            self._later(self._rng.choice([1, 10, 60]), lambda: self._start(node))

    def _start(self, node: SimNode) -> None:
        if not node.alive and node in self._cluster.nodes:
            node.start()


def _role(node: SimNode, shard: ShardId) -> Role:
    """What the node's replica of the shard is; a follower, where there is none."""
    hosted = node.node.host.hosted.get(shard) if node.alive else None
    return hosted.replica.role if hosted is not None else Role.FOLLOWER


def _last_term(node: SimNode, shard: ShardId) -> int:
    hosted = node.node.host.hosted.get(shard) if node.alive else None
    return hosted.replica.last.term if hosted is not None else 0
