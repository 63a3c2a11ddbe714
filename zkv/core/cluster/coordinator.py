"""The coordinators' leader: hears nodes and clients, decides the next change of the map, publishes committed ones.

It decides only on the committed state and has at most one command under way, so what it decides is never computed from
a guess. Everything that it knows beside that state (sessions, reports, waiting requests) may be lost at any moment: the
nodes say it again. Pure: time comes by `tick`, chance by `rng`, and what is to be sent is asked for.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from zkv.core.cluster import messages as m
from zkv.core.cluster import versions
from zkv.core.cluster.changes import ChangeRequests
from zkv.core.cluster.chronicle import Chronicle
from zkv.core.cluster.commands import CoordinatorState, MapCommand, encode
from zkv.core.cluster.cooling import Cooling
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.figures import Figure, figures
from zkv.core.cluster.group import ChangeCoordinators, CoordinatorInfo, NotLeading, Whereabouts
from zkv.core.cluster.joining import MergeRequests, Merges
from zkv.core.cluster.leaders import LeaderBalance
from zkv.core.cluster.liveness import Liveness
from zkv.core.cluster.merges import merging
from zkv.core.cluster.orders import Orders
from zkv.core.cluster.outgrown import Outgrown
from zkv.core.cluster.parting import SplitRequests, draft_news, draft_progress
from zkv.core.cluster.registrar import Registrar
from zkv.core.cluster.regroup import CoordinatorRequests
from zkv.core.cluster.replacement import draft_creation
from zkv.core.cluster.reports import Reports
from zkv.core.cluster.shardmap import Beacon, MapDelta, NodeInfo, Partitioner, Tuning
from zkv.core.cluster.splits import unborn
from zkv.core.cluster.standing import Standing
from zkv.core.cluster.tables import TableRequests, draft_dropped, draft_table, requested_ranges
from zkv.core.cluster.upkeep import Upkeep
from zkv.core.message import Message
from zkv.core.raft.ready import Rng
from zkv.core.shard.commands import EFFECT_NONE
from zkv.core.shard.descriptor import ShardState
from zkv.ids import NodeId, ShardId

BEACON_MS: Final = 1_000
LOOK_MS: Final = 100  # how often what waits for time is looked at
FIRST_NODES_MS: Final = 3_000  # so long the default table waits for three nodes
DEFAULT_TABLE: Final = "default"
DEFAULT_REPLICAS: Final = 3
EARLY_MESSAGES_MAX: Final = 1_000  # kept until the first command has made the cluster's id

TableRequest = m.CreateTable | m.DropTable | m.SplitTable | m.TuneSplits | m.MergeTable | m.TuneMerges
ChangeRequest = m.ChangeNode | m.CancelOperator | m.ChangeTuning | ChangeCoordinators
AdminRequest = TableRequest | ChangeRequest | m.PlanRequest
_Requests = TableRequests | SplitRequests | MergeRequests | ChangeRequests | CoordinatorRequests
Request = (
    m.Hello | m.MapRequest | m.StatusRequest | AdminRequest | m.Register | m.Alive | m.Dropped | m.ShardSizes
)  # what may arrive at a coordinator, beside its group's own traffic


class Coordinator:
    """One coordinator's logic around its CoordinatorState, which the caller applies commands to.

    The caller: `tick`, `receive` every message, put what `propose` returns into the group's log, call `applied` after
    each command it applied, send `outbox` and publish `broadcasts`. A command is published only once applied (rule 24).
    """

    def __init__(
        self,
        state: CoordinatorState,
        *,
        rng: Rng,
        now_ms: int,
        coordinators: tuple[str, ...],
        publishers: tuple[str, ...],
        name: str = "coordinator",
        given: tuple[CoordinatorInfo, ...] = (),
    ) -> None:
        state.map.coordinators = coordinators
        state.map.publishers = publishers
        self.state = state
        self.name = name
        self.given = given  # the group as its operator told it; who is wanted in it is in `state` once that is founded
        self.stated = {info.name: info for info in given}  # where each coordinator last said that it is
        self.leader = ""  # the address of who leads, as far as is known; the owner keeps it up to date
        self.first_shards = 0  # of the default table; 0: as many as any hash table
        self.first_tuning = Tuning()  # of a new cluster
        self.balance = LeaderBalance()
        self.liveness = Liveness(now_ms, now_ms)
        self.reports = Reports()
        self.tables = TableRequests(state)
        self.splits = SplitRequests(state)
        self.outgrown = Outgrown()
        self.joins = MergeRequests(state)
        self.merges = Merges()
        self.cooling = Cooling()
        self.upkeep = Upkeep(self.liveness)
        self.changes = ChangeRequests(state, self.upkeep)
        self.regroup = CoordinatorRequests(state)
        self.registrar = Registrar(state, self.liveness, self.reports)
        self.orders = Orders(state, self.reports, self.liveness, self.registrar.missing)
        self.received: dict[str, int] = {}
        self.gauges: Callable[[], Mapping[str, Figure]] = dict  # what the shell knows
        self._rng = rng
        self._leading = False
        self._proposed: MapCommand | None = None
        self._stirred = True  # something happened that may call for a command, an answer or an order
        self._first_node_ms: int | None = None
        self._beacon_at_ms = self._look_at_ms = 0
        self._early: list[tuple[bytes, Request]] = []
        self._outbox: list[tuple[bytes, Message]] = []
        self._broadcasts: list[MapDelta | Beacon | Whereabouts] = []
        self._last: list[MapDelta] = []  # the last that was applied
        self._chronicle = Chronicle(state)

    def replaced(self) -> None:
        """The state is another, all at once."""
        self._chronicle.begin(self.state)

    @property
    def alone(self) -> bool:
        """Whether it is the only coordinator."""
        return set(self.state.coordinators or self.stated) <= {self.name}

    def start_leading(self) -> None:
        """This coordinator leads its group, and its own term's first entry is applied.

        Of the nodes it knows nothing but the map: whoever speaks to it registers, and none counts as silent before it
        could have been heard for the whole time that counts. Subscribers hear the last change again: it may be news.
        """
        self._leading = True
        self._broadcasts += [delta for delta in self._last if delta.version == self.state.map.version]
        if not self.alone:
            self.subscribed()
        self._proposed = None
        self._stirred = True
        self.liveness.start()
        self.upkeep.clear()
        self.balance.disturbed(self.liveness.now_ms)

    def stop_leading(self) -> None:
        """It leads no longer: what it knew of the nodes is another's to hear, and who waits is told.

        What it had to say and has not said is dropped: who leads now may know more.
        """
        self._leading = False
        self._proposed = None
        self._outbox.clear()
        self._broadcasts.clear()
        for requests in self._requests():
            self._outbox.extend(requests.give_up(f"coordinator {self.name} no longer leads"))
        self.liveness.start()
        self.reports.clear()
        self.outgrown.clear()
        self.cooling.clear()
        self.orders.clear()
        self.registrar.clear()

    def _requests(
        self,
    ) -> tuple[TableRequests | SplitRequests | MergeRequests | ChangeRequests | CoordinatorRequests, ...]:
        """Everything that clients wait for."""
        return self.tables, self.splits, self.joins, self.changes, self.regroup

    def receive(self, source: bytes, message: Request) -> None:
        """Take one message; `source` is the routing id that answers go to."""
        name = type(message).__name__
        self.received[name] = self.received.get(name, 0) + 1
        if self.state.map.version == 0 and (self._leading or self.alone):
            if len(self._early) < EARLY_MESSAGES_MAX:
                self._early.append((source, message))
            return
        self._take(source, message)

    def tick(self, now_ms: int) -> None:
        """Time goes on: who is silent is noticed, orders are repeated, a beacon goes out in a quiet second."""
        self.liveness.tick(now_ms)
        if self.state.map.version and now_ms >= self._beacon_at_ms:
            self.subscribed()
        if not self._leading:
            return
        self._stirred = self._stirred or self.liveness.differs(self.state.map.nodes.values()) or self._is_unsettled()
        if not self.balance.is_due(now_ms):
            return
        busy = {plan.shard for plan in self.state.operators.values()} | merging(self.state.merges.values())
        busy |= {plan.shard for plan in self.state.splits.values()}
        order = self.balance.next_order(self.state.map, now_ms, busy, self.upkeep.evening.handovers)
        session = self.liveness.sessions.get(order[0]) if order is not None else None
        if order is not None and session is not None:
            self._outbox.append((session.source, order[1]))

    def propose(self) -> list[bytes]:
        """The command to put into the group's log now: none while one is under way or nothing changes."""
        if not self._leading or self._proposed is not None or not self._stirred:
            return []
        self._settle()
        self._proposed = self._draft() if self.state.map.version else self._founding()
        return [encode(self._proposed)] if self._proposed is not None else []

    def applied(self, command: MapCommand, took_effect: bool) -> None:
        """The command is committed and was applied to `state`: publish it, answer, go on from there."""
        if command == self._proposed:
            self._proposed = None
        self._stirred = True
        if not took_effect:
            return
        for gone in command.delta.dropped_nodes:
            self.liveness.sessions.pop(gone, None)
            self.reports.forget(gone)
        self._last = [command.delta]
        self._broadcasts += self._last
        self._beacon_at_ms = self.liveness.now_ms + BEACON_MS
        self._chronicle.tell(command)
        if command.delta.nodes or command.delta.tables:
            self.balance.disturbed(self.liveness.now_ms)
        early, self._early = self._early, []
        for source, message in early:
            self._take(source, message)
        self._settle()

    def subscribed(self) -> None:
        """Somebody subscribed to the broadcast: it hears at once which version there is."""
        if self.state.map.version:
            held = self.state.map
            self._broadcasts.append(Beacon(held.incarnation, held.version))
            if not self.alone:
                told = Whereabouts(held.incarnation, held.version, held.coordinators, held.publishers)
                self._broadcasts.append(told)
            self._beacon_at_ms = self.liveness.now_ms + BEACON_MS

    def outbox(self) -> list[tuple[bytes, Message]]:
        """Answers and orders since the last call, by routing id."""
        if self._stirred and self._proposed is None:
            self._settle()
        sent, self._outbox = self._outbox, []
        return sent

    def broadcasts(self) -> list[MapDelta | Beacon | Whereabouts]:
        """Committed deltas and beacons since the last call, in order. Only who leads publishes them."""
        sent, self._broadcasts = self._broadcasts, []
        return sent

    def events(self) -> list[str]:
        """What is worth a line in the log, since the last call."""
        return self._chronicle.take() + self.registrar.told()

    def _take(self, source: bytes, message: Request) -> None:
        match message:
            case m.Hello():
                self._outbox.append((source, self._welcome(message)))
            case m.StatusRequest():
                self._outbox.append((source, self._status(message)))
            case _ if not self._leading and not self.alone:
                number = 0 if isinstance(message, m.Register | m.Alive | m.Dropped | m.ShardSizes) else message.id
                self._outbox.append((source, NotLeading(number, self.leader)))
            case m.MapRequest():
                self._outbox.append((source, m.MapAnswer(message.id, self.state.map.snapshot())))
            case m.ShardSizes():
                self.upkeep.evening.take(message.sizes)
                is_large = self._leading and self.outgrown.take(message.sizes, self.state, self.liveness.now_ms)
                self._stirred = self._stirred or is_large
            case m.Register() | m.Alive() | m.Dropped():
                if self._leading:
                    self._take_node(source, message)
            case _:
                self._take_admin(source, message)

    def _take_node(self, source: bytes, message: m.Register | m.Alive | m.Dropped) -> None:
        match message:
            case m.Register():
                self._outbox.extend(self.registrar.register(source, message))
            case m.Alive():
                self._outbox.extend(self.registrar.alive(source, message))
            case m.Dropped():
                self.orders.gone.add(message.replica)
                self.reports.gone(message.node, message.replica)
                self._stirred = True
        # Most heartbeats say nothing new, and must cost nothing however many shards there are.
        self._stirred, self.registrar.has_news = self._stirred or self.registrar.has_news, False

    def _take_admin(self, source: bytes, message: AdminRequest) -> None:
        if not self._leading:
            what = f"coordinator {self.name} does not lead"
            self._outbox.append((source, m.AdminRefused(message.id, "Unavailable", what, EFFECT_NONE)))
            return
        self._stirred = True
        answer: Message | None
        match message:
            case m.CreateTable() | m.DropTable():
                answer = self.tables.take(source, message, self.liveness.now_ms)
            case m.SplitTable() | m.TuneSplits():
                answer = self.splits.take(source, message, self.liveness.now_ms)
            case m.MergeTable() | m.TuneMerges():
                answer = self.joins.take(source, message, self.liveness.now_ms)
            case m.PlanRequest():
                answer = self.changes.plan(message, self._standing(Draft(self.state)))
            case ChangeCoordinators():
                answer = self.regroup.take(source, message, self.liveness.now_ms)
            case _:
                answer = self.changes.take(source, message, self.liveness.now_ms)
        if answer is not None:
            self._outbox.append((source, answer))

    def _welcome(self, hello: m.Hello) -> m.Welcome:
        shard_map = self.state.map
        protocol = versions.PROTOCOL_VERSION
        return m.Welcome(hello.id, protocol, shard_map.cluster, self.name, "coordinator", shard_map.version)

    def _status(self, request: m.StatusRequest) -> m.StatusAnswer:
        told = figures(self.state, self.reports, self.liveness, leading=self._leading, received=self.received)
        told = {**told, **self.upkeep.evening.figures(), **self.outgrown.figures(self.state), **self.gauges()}
        return m.StatusAnswer(request.id, msgspec.msgpack.encode(told))

    def _founding(self) -> MapCommand:
        """The very first command: the cluster's id and the incarnation of its coordinators' group."""
        incarnation, cluster = self._rng.randrange(1, 2**63), self._rng.randrange(1, 2**63)
        tuning = self.first_tuning if self.first_tuning != Tuning() else None
        delta = MapDelta(incarnation, 1, tuning=tuning)
        return MapCommand(delta, self.state.counters, cluster=cluster, coordinators=self.given)

    def _draft(self) -> MapCommand | None:
        self._stirred = False
        draft = Draft(self.state)
        self.registrar.draft(draft)
        if self._moved():
            draft.put_coordinators(self._whereabouts().values())
        self.regroup.draft(draft)
        draft_news(draft, self.reports.news(self.state.map))
        draft_progress(draft, self.reports.has)
        self.merges.draft(draft, self.liveness.now_ms)
        self.changes.draft(draft)
        standing = self._standing(draft)
        for info in self.state.map.shards.values():
            if info.state == ShardState.CREATING:
                told = draft.shard(info.shard)
                assert told is not None, "a shard that is being created is in the map"
                draft_creation(draft, told, standing, self.reports.has)
        self.upkeep.draft(draft, standing)
        self.splits.draft(draft)
        self.joins.draft(draft)
        self.cooling.draft(draft, self.state.map.version, self.upkeep.is_left_alone)
        self.outgrown.draft(draft, self.upkeep.is_left_alone)
        draft_dropped(draft, self.state, self.orders.is_dropped)
        self._draft_tables(draft)
        return draft.command()

    def _standing(self, draft: Draft) -> Standing:
        return Standing(draft, self.registrar.missing, self.upkeep.dead)

    def _draft_tables(self, draft: Draft) -> None:
        up = [node for node in draft.nodes() if node.receives]
        if self.state.counters.table > 1:
            self.tables.draft(draft, up)
        elif self._is_time_for_default(up):
            replicas = min(DEFAULT_REPLICAS, len(up))
            request = m.CreateTable(0, 0, DEFAULT_TABLE, Partitioner.HASH, replicas, self.first_shards)
            draft_table(draft, request, requested_ranges(request), up)

    def _is_time_for_default(self, up: list[NodeInfo]) -> bool:
        """Whether there are nodes enough for the first table, or nobody else came for a while."""
        if not up:
            return False
        if self._first_node_ms is None:
            self._first_node_ms = self.liveness.now_ms
        return len(up) >= DEFAULT_REPLICAS or self.liveness.now_ms - self._first_node_ms >= FIRST_NODES_MS

    def _whereabouts(self) -> dict[NodeId, CoordinatorInfo]:
        """The coordinators that are wanted, each where it last said that it is."""
        wanted = self.state.coordinators or {info.name: info for info in self.given}
        return {name: self.stated.get(name, info) for name, info in wanted.items()}

    def _moved(self) -> bool:
        return self._whereabouts() != self.state.coordinators

    def _is_unsettled(self) -> bool:
        """Whether something waits for time to pass: an order to be repeated, a deadline, more nodes."""
        if self.liveness.now_ms < self._look_at_ms:
            return False
        self._look_at_ms = self.liveness.now_ms + LOOK_MS
        is_cold = self.cooling.look(self.state, self.outgrown.held, self.liveness.now_ms)
        if self.upkeep.look(self.state.map.nodes, self.state.map.tuning.grace_ms) or is_cold:
            return True
        if self.state.operators or self.state.splits or self.state.merges or self.state.counters.table == 1:
            return True
        if any(map(len, self._requests())) or self._moved():
            return True
        if any(info.state != ShardState.ACTIVE for info in self.state.map.shards.values()):
            return True
        awaited = unborn(self.state.splits.values())
        return self.reports.misplaced(self.state.map, ShardId(self.state.counters.shard), awaited)

    def _settle(self) -> None:
        """Answer whom the committed state lets be answered, and send the orders that it calls for."""
        if not self._leading or not self.state.map.version:
            return
        self._outbox.extend(self.registrar.answers())
        for requests in self._requests():
            self._outbox.extend(requests.answers(self.liveness.now_ms))
        self._outbox.extend(self.orders.due())
