"""Processes of a simulated cluster: the turn of `server/node.py` (`coordinators` has the other) around the same cores.

Everything a process hears goes through its inbox and the real codec; everything that it does takes time. It can be
killed, paused (the inbox fills meanwhile), stopped cleanly, and started again on the same folder or an empty one.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from zkv.core.cluster import versions
from zkv.core.cluster.choice import Choice
from zkv.core.cluster.frames import Forward, Forwarded, PeerMessage, Peers
from zkv.core.cluster.group import NotLeading
from zkv.core.node.host import Address, Host, LostState
from zkv.core.node.node import Node, Turn
from zkv.core.node.registration import Identity
from zkv.core.raft.ready import Timing
from zkv.core.shard.machine import ShardMachine
from zkv.ids import NodeId
from zkv.sim.disk import DiskSpeed, Folder, Store
from zkv.sim.network import Arrival, Network
from zkv.sim.world import Clock, Violation, World
from zkv.storage.faults import Damaged, DiskFull, FlushFailed
from zkv.wire import codec

ROUTER, BULK, REPLIES, BROADCAST, WORDS = "router", "bulk", "replies", "broadcast", "words"
CLOCK_AFTER_DRAIN = True  # as in every shell (rule 8)
SAMPLED_EVERY = 1  # operations for one whose key is noted: little is asked in a run
RATES_KNOWN_MS = 1_500  # and not for long
_TURN_US = (30, 120)  # how long a turn takes, apart from what arrived
_TURN_BITS = (_TURN_US[1] - _TURN_US[0]).bit_length()
_HAND_OVER_MS = 3_000
_STOPPING_MS = 20
COORDINATOR = "coordinator"


class Process:
    """A loop that takes turns: when something arrived, when the disk is done, and when its core has something to do.

    The real loops poll at least every 20 ms. A turn in between would do nothing, or what a turn a little later does as
    well; so the simulated ones sleep until the core's next deadline, and quiet time costs little.
    """

    def __init__(self, world: World, network: Network, name: str, clock: Clock) -> None:
        self.world = world
        self.network = network
        self.name = name
        self.clock = clock
        self.alive = False
        self.paused = False
        self.starts = 0
        self.turns = 0
        self.read_us = 0  # true time of the clock reading that the last turn goes by
        self.drained_us = 0  # and when it received its last message
        self._rng = world.rng(f"process {name}")
        self._draw_bits = self._rng.getrandbits
        self._inbox: list[Arrival] = []
        self._held: tuple[list[Arrival] | None, int | None] | None = None  # of a turn that was paused in the middle
        self._wake_us = -1  # when the next turn is due
        self._busy_until_us = 0
        self.watch: Callable[[], None] = lambda: None  # called after each turn
        self._neighbours: list[Callable[[], None]] = []  # who must hear of its starts and ends
        network.connect(name, self.deliver)

    def start(self) -> None:
        """Begin on what its disk holds."""
        raise NotImplementedError

    def turn(self, arrivals: list[Arrival], now_ms: int) -> None:
        """What the process does in a turn."""
        raise NotImplementedError

    def next_ms(self) -> int:
        """When, on its own clock, it must take a turn although nothing came."""
        raise NotImplementedError

    def meet(self, wake: Callable[[], None]) -> None:
        """Call this whenever the process has started or ended, as a connection to it would show."""
        self._neighbours.append(wake)

    def deliver(self, arrival: Arrival) -> None:
        """A frame has come; to a dead process none does."""
        if self.alive:
            self._inbox.append(arrival)
            self.wake()

    def wake(self, delay_us: int = 0) -> None:
        """Take a turn as soon as it can."""
        at_us = self.world.now_us + delay_us
        if at_us < self._busy_until_us:
            at_us = self._busy_until_us
        if (self._wake_us < 0 or at_us < self._wake_us) and self.alive and not self.paused:
            self._wake_us = at_us
            self.world.at(at_us, partial(self._due, self.starts, at_us))

    def pause(self) -> None:
        """SIGSTOP. It hits between two turns, or in the middle of one: after the drain or after the clock's reading."""
        if not self.alive or self.paused or self.clock.unread:
            return  # a jump back that is hidden in a pause shows to nobody, and nothing is promised then
        match self._rng.randrange(3):
            case 1:
                self._held = (self._drain(), None) if CLOCK_AFTER_DRAIN else (None, self._read_clock())
            case 2:
                self._held = (self._drain(), self._read_clock())
        self.paused = True
        self._wake_us = -1

    def resume(self) -> None:
        """SIGCONT."""
        if not self.paused:
            return
        self.paused = False
        if self._held is not None:
            (arrivals, now_ms), self._held = self._held, None
            arrivals = self._drain() if arrivals is None else arrivals
            self._turn(arrivals, self._read_clock() if now_ms is None else now_ms)
        self.wake()

    def began(self) -> None:
        """It runs."""
        self.alive = True
        self.paused = False
        self.starts += 1
        self._inbox.clear()
        self._held = None
        self._wake_us = -1
        self._busy_until_us = 0
        self.wake()
        for wake in self._neighbours:
            wake()

    def ended(self) -> None:
        """It does not run any more."""
        self.alive = self.paused = False
        self._inbox.clear()
        self._held = None
        self._wake_us = -1
        for wake in self._neighbours:
            wake()

    def _due(self, start: int, at_us: int) -> None:
        if at_us == self._wake_us and start == self.starts and self.alive and not self.paused:
            self._wake_us = -1
            world = self.world
            self.drained_us = self.read_us = world.now_us
            arrivals, self._inbox = self._inbox, []
            self.clock.unread = False
            self._turn(arrivals, self.clock.now_ms())

    def _drain(self) -> list[Arrival]:
        self.drained_us = self.world.now_us
        arrivals, self._inbox = self._inbox, []
        return arrivals

    def _read_clock(self) -> int:
        self.read_us = self.world.now_us
        self.clock.unread = False
        return self.clock.now_ms()

    def _turn(self, arrivals: list[Arrival], now_ms: int) -> None:
        self.turns += 1
        took_us = self._draw_bits(_TURN_BITS)
        while took_us >= _TURN_US[1] - _TURN_US[0]:  # as `randrange` draws it
            took_us = self._draw_bits(_TURN_BITS)
        self._busy_until_us = self.world.now_us + _TURN_US[0] + took_us + 10 * len(arrivals)
        self.turn(arrivals, now_ms)
        self.watch()
        if self.alive:
            wait_us = self.clock.until_us(self.next_ms())
            self.wake(wait_us if wait_us > 0 else 0)


@dataclass(slots=True)
class Machine:
    """Where a process runs: its disk, and the timing that it was set up with. `lost`: the disks that it had before."""

    folder: Folder
    speed: DiskSpeed
    timing: Timing
    lost: list[Folder] = field(default_factory=list)


class SimNode(Process):
    """A node. `join`: the coordinators that it is told of at its start."""

    node: Node
    store: Store
    choice: Choice

    def __init__(
        self,
        world: World,
        network: Network,
        name: str,
        clock: Clock,
        machine: Machine,
        *,
        zone: str,
        join: Callable[[], list[str]],
    ) -> None:
        super().__init__(world, network, name, clock)
        self.machine = machine
        self.zone = zone
        self._join = join
        self.address = f"{name}:0"
        self._stopping_ms: int | None = None
        self._learnt: tuple[str, ...] = ()  # the addresses that the map last had

    def start(self) -> None:
        """Begin on what the folder holds; not on one that was refused for good, which only an operator moves away."""
        if self.broken:
            return
        folder = self.machine.folder
        rng = self.world.rng(f"core {self.name} {self.starts}")
        identity = Identity(NodeId(self.name), folder.incarnation, self.address, self.zone, 1.0)
        try:
            self.store = open_store(self, self.machine, rng_of(rng), self._disk_failed)
            self.node = Node(identity, folder.cluster, self.store.engine, rng, self.machine.timing)
            self.node.load(self.store.recovered, self.clock.now_ms())
        except DiskFull as error:
            self._refuse(str(error), broken=False)
            return
        except FlushFailed:
            self._disk_failed()
            return
        except (Damaged, LostState) as error:
            self._refuse(str(error), broken=True)
            return
        self.node.service.asked.every, self.node.sizes.rates.known_ms = SAMPLED_EVERY, RATES_KNOWN_MS
        self._stopping_ms = None
        self.choice, self._learnt = Choice(self._join()), ()
        self.began()

    def kill(self, *, power: bool = False) -> None:
        """kill -9, or with `power` its machine loses power."""
        if self.alive:
            self.store.crash(power=power)
            self.ended()

    @property
    def host(self) -> Host[ShardMachine]:
        """Its replicas."""
        return self.node.host

    @property
    def broken(self) -> bool:
        """Whether it does not start on its folder any more: it must be moved away."""
        return bool(self.machine.folder.refused)

    def _disk_failed(self) -> None:
        """A flush failed: the process ends, and its folder says why (rule 4)."""
        self.ended()
        self.machine.folder.spoiled = True
        self._refuse("a flush failed", broken=True)

    def _refuse(self, why: str, *, broken: bool) -> None:
        """The process ends instead of running on such a folder; `broken`: for good."""
        folder = self.machine.folder
        self.world.tell(f"{self.name}: does not run: {why}")
        if broken and not folder.spoiled:
            raise Violation(f"{self.name} refuses a folder that nobody has harmed: {why}")
        if broken:
            folder.refused = why

    def stop(self) -> None:
        """SIGTERM: hand the leads over, then end."""
        if self.alive and self._stopping_ms is None:
            self._stopping_ms = self.clock.now_ms()
            self.wake()

    def lose_disk(self, fresh: Folder) -> None:
        """Its folder is gone; the next start finds an empty one."""
        assert not self.alive
        self.machine.lost.append(self.machine.folder)
        self.machine.folder = fresh

    def turn(self, arrivals: list[Arrival], now_ms: int) -> None:
        """As in `server/node.py`."""
        node = self.node
        node.tick(now_ms)
        node.transfers.behind = self.store.behind
        if self.store.flushed():
            node.host.persisted()
        for arrival in arrivals:
            self._take(arrival)
        handed_over = self._stopping_ms is not None and node.hand_over()
        self._do(node.turn(), now_ms)
        self.store.tend(node.host, now_ms)
        node.disk_is(full=self.store.full)
        if self._stopping_ms is not None and (handed_over or now_ms - self._stopping_ms > _HAND_OVER_MS):
            self.store.stop()
            if self.alive:  # unless a flush failed
                self.ended()

    def next_ms(self) -> int:
        """As the core says; a node that is to stop looks often."""
        if self._stopping_ms is not None:
            return self.clock.now_ms() + _STOPPING_MS
        return min(self.node.next_ms(), self.store.next_ms())

    def _take(self, arrival: Arrival) -> None:
        match arrival.lane:
            case "replies":
                self._heed(arrival.sender.decode(), arrival.body)
            case "broadcast":
                self.node.broadcast(codec.decode_broadcast(arrival.body))
            case _:
                message = codec.decode_to_node(arrival.body)
                if isinstance(message, Peers):
                    self.node.from_peer(message)
                else:
                    self.node.from_client(arrival.sender, message)

    def _heed(self, coordinator: str, body: bytes) -> None:
        message = codec.decode_from_coordinator(body)
        self.choice.answered(coordinator)
        if isinstance(message, NotLeading):
            self.choice.redirected(coordinator, message.leader)
        else:
            self.node.from_coordinator(message)

    def _do(self, turn: Turn, now_ms: int) -> None:
        effects = turn.effects
        for to, messages in effects.messages.items():
            self._tell_peer(to, messages, ROUTER)
        self.store.write(effects, now_ms)
        for peer, message in turn.answers:
            answer = Arrival(REPLIES, self.address.encode(), codec.encode(message))
            self.network.send(self.name, peer.decode(), answer, doubled=False)
        for to, messages in effects.bulk.items():
            self._tell_peer(to, messages, BULK)
        self.store.apply(effects)
        shard_map = self.node.follower.map
        if shard_map is not None and shard_map.coordinators is not self._learnt:
            self._learnt = shard_map.coordinators
            self.choice.learn(shard_map.coordinators)
        if turn.coordinator:
            self._tell_coordinator(turn, now_ms)
        for event in turn.events:
            self.world.tell(f"{self.name}: {event}")
        assert not turn.stop, f"{self.name} was refused: {turn.stop}"
        if self.node.cluster:
            self.machine.folder.cluster = self.node.cluster

    def _tell_coordinator(self, turn: Turn, now_ms: int) -> None:
        me = f"{self.name}#{self.starts}".encode()
        for message in turn.coordinator:
            asked = self.choice.ask(now_ms)
            self.network.send(self.name, asked, Arrival(ROUTER, me, codec.encode(message)))

    def _tell_peer(self, to: Address, messages: list[PeerMessage], lane: str) -> None:
        node, incarnation = to
        known = self.node.address_of(node)
        if known is not None:
            frame = Peers(
                self.node.cluster,
                NodeId(self.name),
                incarnation or known[1],
                tuple(messages),
                protocol=versions.PROTOCOL_VERSION,
            )
            requests = any(isinstance(message, Forward | Forwarded) for message in messages)
            self.network.send(self.name, node, Arrival(lane, b"", codec.encode(frame)), doubled=not requests)


def open_store(process: Process, machine: Machine, rng: random.Random, failed: Callable[[], None]) -> Store:
    """The process's hold on its machine's folder."""
    return Store(process.world, machine.folder, rng, machine.speed, wake=process.wake, failed=failed)


def rng_of(parent: random.Random) -> random.Random:
    """Another source of chance, drawn from this one."""
    return random.Random(parent.getrandbits(64))
