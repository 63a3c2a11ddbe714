"""Coordinators of a simulated cluster: the turn of `server/coordinator.py` around the same core."""

from collections.abc import Callable

from zkv.core.cluster import versions
from zkv.core.cluster.evening import Evening
from zkv.core.cluster.evenness import Bounds
from zkv.core.cluster.frames import PeerMessage, Peers
from zkv.core.cluster.group import CoordinatorInfo
from zkv.core.cluster.shardmap import Tuning
from zkv.core.node.coordination import Coordination, CoordinatorTurn
from zkv.core.node.host import Address, Host
from zkv.core.node.map_machine import MapMachine
from zkv.ids import NodeId
from zkv.sim.disk import Folder, Store
from zkv.sim.network import Arrival, Network
from zkv.sim.processes import BROADCAST, BULK, REPLIES, ROUTER, WORDS, Machine, Process, open_store, rng_of
from zkv.sim.world import Clock, Violation, World
from zkv.storage.faults import DiskFull
from zkv.wire import codec

_HAND_OVER_MS = 1_000
_STOPPING_MS = 20


class SimCoordinator(Process):
    """One coordinator. `given`: the group as its operator would tell it; `audience`: who hears its broadcast."""

    core: Coordination
    store: Store

    def __init__(
        self,
        world: World,
        network: Network,
        name: str,
        clock: Clock,
        machine: Machine,
        *,
        given: Callable[[], list[str]],
        audience: Callable[[], list[str]],
    ) -> None:
        super().__init__(world, network, name, clock)
        self.machine = machine
        self.published: Callable[[int], None] = lambda term: None  # told of each broadcast, and the term it is made in
        self._given = given
        self._stopping_ms: int | None = None
        self.tuning = Tuning(balance=False)  # of a new cluster: joins as such move nothing, unless a run wants it
        self.is_hasty = False  # range tables are evened out far oftener than elsewhere
        self._audience = audience

    def start(self) -> None:
        """Begin on what the folder holds."""
        folder = self.machine.folder
        rng = self.world.rng(f"core {self.name} {self.starts}")
        try:
            self.store = open_store(self, self.machine, rng_of(rng), self._disk_failed)
        except DiskFull as error:
            self.world.tell(f"{self.name}: does not run: {error}")
            return
        self.core = Coordination(
            NodeId(self.name),
            folder.incarnation,
            self.store.engine,
            rng,
            self.machine.timing,
            given=tuple(info_of(name) for name in self._given()),
        )
        self.core.logic.first_tuning = self.tuning
        if self.is_hasty:
            make_hasty(self.core.logic.upkeep.evening)
        self.core.load(self.store.recovered, self.clock.now_ms())
        self._stopping_ms = None
        self.began()
        self.core.logic.subscribed()

    @property
    def host(self) -> Host[MapMachine]:
        """Its replica."""
        return self.core.host

    @property
    def leads(self) -> tuple[bool, int]:
        """Whether it says that it leads, and in which term."""
        hosted = self.core.hosted if self.alive else None
        term = hosted.replica.term if hosted is not None else 0
        return (self.alive and self.core.succession.leading, term)

    @property
    def known(self) -> int:
        """The version of the map that it holds, or held when it ended."""
        return self.core.state.map.version if self.starts else 0

    def kill(self, *, power: bool = False) -> None:
        """kill -9, or with `power` its machine loses power."""
        if self.alive:
            self.store.crash(power=power)
            self.ended()

    def stop(self) -> None:
        """SIGTERM: hand the lead over, then end."""
        if self.alive and self._stopping_ms is None:
            self._stopping_ms = self.clock.now_ms()
            self.wake()

    def lose_disk(self, fresh: Folder) -> None:
        """Its folder is gone; the next start finds an empty one."""
        assert not self.alive
        self.machine.lost.append(self.machine.folder)
        self.machine.folder = fresh

    def _disk_failed(self) -> None:
        raise Violation("nothing harms the coordinator's disk, and a flush failed")

    def turn(self, arrivals: list[Arrival], now_ms: int) -> None:
        """As in `server/coordinator.py`."""
        self.core.tick(now_ms)
        if self.store.flushed():
            self.core.host.persisted()
        for arrival in arrivals:
            self.core.receive(arrival.sender, codec.decode_to_coordinator(arrival.body))
        handed_over = self._stopping_ms is not None and self.core.hand_over()
        self._do(self.core.turn(), now_ms)
        self.store.tend(self.core.host, now_ms)
        if self._stopping_ms is not None and (handed_over or now_ms - self._stopping_ms > _HAND_OVER_MS):
            self.store.stop()
            self.ended()

    def next_ms(self) -> int:
        """As the core says; one that is to stop looks often."""
        if self._stopping_ms is not None:
            return self.clock.now_ms() + _STOPPING_MS
        return min(self.core.next_ms(), self.store.next_ms())

    def _do(self, turn: CoordinatorTurn, now_ms: int) -> None:
        for to, messages in turn.effects.messages.items():
            self._tell_peer(to, messages, ROUTER)
        for to, messages in turn.effects.bulk.items():
            self._tell_peer(to, messages, BULK)
        for name, word in turn.words:
            self.network.send(self.name, name, Arrival(WORDS, b"", codec.encode(word)))
        self.store.write(turn.effects, now_ms)
        self.store.apply(turn.effects)
        for peer, message in turn.answers:
            target = peer.decode().partition("#")[0]
            self.network.send(self.name, target, Arrival(REPLIES, self.name.encode(), codec.encode(message)))
        leads, term = self.leads if turn.broadcasts else (False, 0)
        for news in turn.broadcasts:
            if leads or not self.core.logic.alone:  # alone it says before it leads what it knows, in no term
                self.published(term)
            body = codec.encode(news)
            for target in self._audience():
                self.network.send(self.name, target, Arrival(BROADCAST, self.name.encode(), body))
        for event in self.core.events():
            self.world.tell(f"{self.name}: {event}")

    def _tell_peer(self, to: Address, messages: list[PeerMessage], lane: str) -> None:
        name, incarnation = to
        known = self.core.addresses().get(name)
        if known is not None:
            protocol = versions.PROTOCOL_VERSION
            frame = Peers(0, NodeId(self.name), incarnation or known[1], tuple(messages), protocol=protocol)
            self.network.send(self.name, name, Arrival(lane, b"", codec.encode(frame)))


def info_of(name: str) -> CoordinatorInfo:
    """A simulated coordinator is found, and heard, under its name."""
    return CoordinatorInfo(NodeId(name), name, name)


def make_hasty(evening: Evening) -> None:
    """In the seconds of a run range tables are to be evened out, too."""
    evening.first_ms, evening.every_ms = 1_000, 500
    evening.bounds = Bounds(cooling_ms=2_000, lead_cooling_ms=2_000)
