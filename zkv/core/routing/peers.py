"""The addresses that a client knows: which are reachable, which are silent, and whom to ask for a shard.

A leader that cannot be reached may be dead or merely out of our sight. So its followers are first only *asked* (they
refuse with news of an election at once); only when that has gone on for FORWARD_MS are they told to pass requests on,
for a request passed on to a dead leader costs a whole attempt.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from zkv.core.cluster.choice import Choice
from zkv.core.cluster.shardmap import NodeInfo, NodeState
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import NodeId

FOREIGN: Final = "belongs to another cluster"
FORWARD_MS: Final = 1_000
SILENT_MS: Final = 3_000  # a link that says nothing for so long is connected anew
_SLOWER: Final = 0.5  # the share of a difference that is believed at once
_FASTER: Final = 0.1


class Target(NamedTuple):
    """Where a group goes. `forwarding`: who takes it may pass it on."""

    address: str
    forwarding: bool


class Peer:
    """One address. `away_since`: when it was last known to answer, while it does not; None: it does."""

    __slots__ = ("address", "away_since", "connected", "fault", "node", "role", "straight", "usual_ms")

    def __init__(self, address: str, now_ms: int) -> None:
        self.address = address
        self.straight = Target(address, False)
        self.connected = False
        self.away_since: int | None = now_ms
        self.fault = ""  # why it can never be used: another cluster, another protocol
        self.node = ""
        self.role = ""
        self.usual_ms = 0.0  # a smoothed round trip

    @property
    def usable(self) -> bool:
        """Connected, not suspected, and of our kind."""
        return self.connected and self.away_since is None and not self.fault

    def took(self, round_trip_ms: int) -> None:
        """An answer came after so long. Slowness is believed sooner than speed: asking twice makes it worse."""
        change = round_trip_ms - self.usual_ms
        self.usual_ms += change * (_SLOWER if change > 0 else _FASTER)


class Peers:
    """All addresses of one client. `direct`: every node is asked itself; otherwise only the given ones."""

    def __init__(self, given: tuple[str, ...], *, direct: bool, now_ms: int) -> None:
        self.given = given
        self.direct = direct
        self.known: dict[str, Peer] = {address: Peer(address, now_ms) for address in given}
        self.publishers: tuple[str, ...] = ()
        self.coordinators = Choice(given)
        self._told = ""  # where the leading coordinator is, by the word of another
        self.changes = 0  # of `known` or `publishers`
        self.renew: set[str] = set()  # links that are silent: to be closed and connected anew
        self._turns = 0
        self._down: set[str] = set()  # by the map

    def learn(
        self, nodes: Iterable[NodeInfo], coordinators: tuple[str, ...], publishers: tuple[str, ...], now_ms: int
    ) -> set[str]:
        """Want a connection to each of these, and none to others that were not given. Returns who is down since."""
        named = {info.address: info for info in nodes}
        told = [self._told] if self._told else []
        wanted = dict.fromkeys([*self.given, *coordinators, *told, *(named if self.direct else ())])
        if wanted.keys() != self.known.keys() or publishers != self.publishers:
            self.known = {address: self.known.get(address) or Peer(address, now_ms) for address in wanted}
            self.publishers = publishers
            self.changes += 1
        for address, peer in self.known.items():
            if address in named:
                peer.node, peer.role = named[address].node, "node"
            elif address in coordinators:
                peer.role = "coordinator"
        before, self._down = self._down, {info.address for info in named.values() if info.state is NodeState.DOWN}
        return self._down - before

    def heard(self, peer: Peer) -> None:
        """Something came from it: it lives."""
        peer.away_since = None
        self.renew.discard(peer.address)

    def suspect(self, address: str, now_ms: int) -> bool:
        """It did not answer in time. True if that is news."""
        peer = self.known.get(address)
        if peer is None or peer.away_since is not None:
            return False
        peer.away_since = now_ms
        return True

    def tick(self, now_ms: int) -> None:
        """Find links that have been silent too long."""
        for peer in self.known.values():
            if peer.connected and peer.away_since is not None and now_ms - peer.away_since >= SILENT_MS:
                peer.away_since = now_ms
                self.renew.add(peer.address)

    def next_ms(self) -> int | None:
        """When the next link will have been silent too long; None while all answer."""
        silent = [p.away_since for p in self.known.values() if p.connected and p.away_since is not None]
        return min(silent) + SILENT_MS if silent else None

    def first_usable(self, role: str = "") -> Peer | None:
        """A usable address, of that role where one is named; a connected one rather than none."""
        fitting = [
            peer for peer in self.known.values() if peer.connected and not peer.fault and role in ("", peer.role)
        ]
        return next((peer for peer in fitting if peer.usable), fitting[0] if fitting else None)

    def sent_on(self, peer: Peer, leader: str, now_ms: int) -> None:
        """That coordinator does not lead, and says who does, who may be known to nobody here yet."""
        peer.role = "coordinator"
        self.coordinators.redirected(peer.address, leader)
        if leader and leader not in self.known:
            self._told = leader
            self.known = self.known | {leader: Peer(leader, now_ms)}
            self.changes += 1

    def coordinator(self) -> Peer | None:
        """The coordinator to ask: the one that leads, as far as is known; a connected one rather than none."""
        fitting = {p.address: p for p in self.known.values() if p.connected and not p.fault and p.role == "coordinator"}
        self.coordinators.learn(fitting)
        usable = self.coordinators.among([address for address, peer in fitting.items() if peer.usable])
        return fitting[usable] if usable is not None else next(iter(fitting.values()), None)

    def target(
        self, info: ShardInfo, nodes: Mapping[NodeId, NodeInfo], now_ms: int, *, anywhere: bool
    ) -> Target | None:
        """Whom to ask for this shard now; None while nobody is connected. `anywhere`: any replica serves the reader."""
        if not self.direct:
            return self._home()
        leader = info.leading()
        leading = self._peer_of(leader.node, nodes) if leader is not None else None
        if leading is not None and leading.usable and not anywhere:
            return leading.straight
        self._turns += 1
        others = [self._peer_of(member.node, nodes) for member in info.membership.voters]
        usable = [peer for peer in others if peer is not None and peer.usable]
        if usable:
            peer = usable[self._turns % len(usable)]
            return Target(peer.address, not anywhere and _long_away(leading, now_ms))
        bystanders = [peer for peer in self.known.values() if peer.usable and peer.role == "node"]
        if bystanders:
            return Target(bystanders[self._turns % len(bystanders)].address, _long_away(leading, now_ms))
        connected = [peer for peer in others if peer is not None and peer.connected and not peer.fault]
        return Target(connected[self._turns % len(connected)].address, False) if connected else None

    @property
    def all_faulty(self) -> bool:
        """Whether no address can ever be used."""
        return all(peer.fault for peer in self.known.values())

    def silence(self) -> str:
        """Who does not answer, if no address does; "" while one is usable."""
        if any(peer.usable for peer in self.known.values()):
            return ""
        faults = [f"{peer.address} {peer.fault}" for peer in self.known.values() if peer.fault]
        return "; ".join(faults) if faults else "no answer from " + ", ".join(self.given)

    def _home(self) -> Target | None:
        peers = [self.known[address] for address in self.given]
        fitting = [peer for peer in peers if peer.connected and not peer.fault and peer.role != "coordinator"]
        chosen = next((peer for peer in fitting if peer.usable), fitting[0] if fitting else None)
        return Target(chosen.address, True) if chosen is not None else None

    def _peer_of(self, node: NodeId, nodes: Mapping[NodeId, NodeInfo]) -> Peer | None:
        info = nodes.get(node)
        return self.known.get(info.address) if info is not None else None


def _long_away(leading: Peer | None, now_ms: int) -> bool:
    return leading is not None and leading.away_since is not None and now_ms - leading.away_since >= FORWARD_MS
