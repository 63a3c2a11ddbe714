"""Serves shard requests: takes what this node leads, answers when it is applied, passes on what another leads.

Order of a turn: reads are served as they arrive, from the engine as of the last turn (a write that was answered is in
it); writes gather, and become one entry a shard at the turn's end; what commits is applied and answered.
"""

from collections.abc import Collection

import msgspec

from zkv import limits
from zkv.core.node import refusals
from zkv.core.node.asked import Asked, Grown
from zkv.core.node.host import Host, Hosted
from zkv.core.node.waiting import NOWHERE, Queue, Route, WaitingCopies, WaitingRead, WaitingWrite
from zkv.core.raft.messages import Entry, EntryKind
from zkv.core.raft.ready import EntryId
from zkv.core.raft.replica import ReadState, Role
from zkv.core.shard import records
from zkv.core.shard.commands import (
    ALL,
    EFFECT_DONE,
    EFFECT_NONE,
    EFFECT_UNKNOWN,
    MAJORITY,
    Answer,
    Delete,
    Evict,
    Group,
    ReadGroup,
    Reason,
    Refused,
    Result,
    ScanGroup,
    Values,
    WriteGroup,
    Written,
    level_fault,
)
from zkv.core.shard.descriptor import ShardInfo, leader_of
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.rows import Changes
from zkv.core.shard.sessions import BIRTH_BYTES
from zkv.ids import NodeId, ShardId

_SWEEP_MS = 50
_EVICT_MS = 1_000
_WAITING_MS = 20  # how often requests that wait are looked at, at the least
_NEXT_TURN_MS = 5
_UNBORN_MS = 50  # soon its time is near enough, if it comes from a floor that was driven up to there


class Service:
    """The requests of all shards of one node. The owner calls `begin`, `take` for each group, and `propose`."""

    def __init__(self, me: NodeId, grown: Grown) -> None:
        self.me = me
        self.disk_full = False
        self.youngest = b"\xff" * BIRTH_BYTES  # the latest birth of a client id that is taken
        self.parting: Collection[ShardId] = ()  # what is written to these waits, for they are to be split
        self.answers: dict[Route, list[Answer]] = {}
        self.forwards: dict[NodeId, dict[bytes, list[Group]]] = {}
        self.reads_served = self.writes_applied = 0
        self.asked = Asked(grown)
        self._host: Host[ShardMachine]
        self._queues: dict[ShardId, Queue] = {}
        self._dirty: dict[ShardId, Queue] = {}
        self._waiting_bytes = 0
        self._sent_bytes: dict[Route, int] = {}  # of rows, in this turn
        self._sweep_at = 0
        self._evict_at = 0

    def attach(self, host: Host[ShardMachine]) -> None:
        """Serve from this host's replicas; once, before anything else."""
        self._host = host

    # Taking requests -----------------------------------------------------------------------------------------------

    def take(self, group: Group, route: Route, news: ShardInfo | None, *, pass_on: bool) -> None:
        """One group. `news` is what the map knows of its shard."""
        hosted = self._host.hosted.get(group.shard)
        if hosted is not None and hosted.machine is not None:
            if hosted.replica.role is Role.LEADER:
                self._take_here(hosted, hosted.machine, group, route)
                return
            if (
                isinstance(group, ReadGroup | ScanGroup)
                and group.any_replica
                and self._read_stale(hosted, group, route)
            ):
                return
            known, news = news, refusals.described(hosted, hosted.machine)
            self._pass_on(group, route, leader_of(news) or leader_of(known), news, pass_on=pass_on)
        else:
            self._pass_on(group, route, leader_of(news), news, pass_on=pass_on)

    def refuse(self, group: Group, route: Route, reason: Reason, detail: str, *, retry_ms: int = 0) -> None:
        """Refuse before anything happened."""
        self._answer(route, Refused(group.id, reason, EFFECT_NONE, detail, retry_ms=retry_ms))

    def _take_here(self, hosted: Hosted[ShardMachine], machine: ShardMachine, group: Group, route: Route) -> None:
        refusal = refusals.unserved(group, hosted, machine)
        if refusal is not None:
            self._answer(route, refusal)
            return
        self.asked.take(group, machine)
        if isinstance(group, WriteGroup):
            self._take_write(hosted, machine, group, route)
        else:
            self._take_read(hosted, group, route)

    def _take_write(self, hosted: Hosted[ShardMachine], machine: ShardMachine, group: WriteGroup, route: Route) -> None:
        size = machine.measure(group.operations)
        fault = (
            "a key is outside the shard's range"
            if size < 0
            else level_fault(group, len(machine.info.membership.voters))
        )
        if fault:
            self.refuse(group, route, Reason.BAD_REQUEST, fault)
            return
        if size > limits.BATCH_BYTES_MAX:
            most = f"a batch of {size} bytes; {limits.BATCH_BYTES_MAX} is the most"
            self.refuse(group, route, Reason.TOO_LARGE, most)
            return
        full = "the leader's disk is full" if self.disk_full else _others_full(hosted)
        if full and not all(isinstance(operation, Delete) for operation in group.operations):
            self.refuse(group, route, Reason.DISK_FULL, full)
            return
        if group.client[:BIRTH_BYTES] > self.youngest:
            detail = "the client's id is born too far ahead of the leader's time of day"
            self.refuse(group, route, Reason.UNAVAILABLE, detail, retry_ms=_UNBORN_MS)
            return
        is_parting = hosted.shard in self.parting or hosted.replica.is_parting
        if is_parting and 0 < group.copies <= len(machine.info.membership.voters) // 2:
            self._answer(route, refusals.parting(group))
            return
        queue = self._queue(hosted.shard)
        uncommitted = hosted.replica.uncommitted_bytes + queue.fresh_bytes
        if (
            uncommitted + size > limits.UNCOMMITTED_BYTES_PER_SHARD_MAX
            or self._waiting_bytes + size > limits.WAITING_BYTES_PER_NODE_MAX
        ):
            self.refuse(group, route, Reason.OVERLOADED, "the leader has as much to do as it takes", retry_ms=50)
            return
        queue.add(WaitingWrite(route, group, self._host.now_ms + group.budget_ms, size))
        self._waiting_bytes += size
        self._dirty[hosted.shard] = queue

    def _take_read(self, hosted: Hosted[ShardMachine], group: ReadGroup | ScanGroup, route: Route) -> None:
        replica = self._host.touch(hosted)
        replica.stir()
        if replica.holds_lease():
            self._read(hosted, group, route, -1)
            return
        ticket = replica.ask_read()
        if ticket is None:
            detail = "the leader is new and cannot read yet"
            wait = Refused(group.id, Reason.UNAVAILABLE, EFFECT_NONE, detail, retry_ms=refusals.NOBODY_YET_MS)
            self._answer(route, wait)
            return
        queue = self._queue(hosted.shard)
        queue.reads.append(WaitingRead(route, group, self._host.now_ms + group.budget_ms, ticket))

    def _queue(self, shard: ShardId) -> Queue:
        queue = self._queues.get(shard)
        if queue is None:
            queue = self._queues[shard] = Queue()
        return queue

    def _read_stale(self, hosted: Hosted[ShardMachine], group: ReadGroup | ScanGroup, route: Route) -> bool:
        if hosted.frozen:
            return False  # a snapshot goes live: the old rows may be gone already, the new ones are not shown yet
        if hosted.replica.asleep:
            return False  # it hears nothing, and cannot say how fresh it is; its leader can, and wakes it
        machine = hosted.machine
        fresh_ms = self._host.touch(hosted).fresh_as_of_ms()
        if machine is None or fresh_ms is None or refusals.unserved(group, hosted, machine) is not None:
            return False
        self._read(hosted, group, route, max(0, self._host.now_ms - fresh_ms))
        return True

    def _read(self, hosted: Hosted[ShardMachine], group: ReadGroup | ScanGroup, route: Route, stale_ms: int) -> None:
        machine = hosted.machine
        assert machine is not None
        refusal = refusals.unserved(group, hosted, machine)
        if refusal is not None:  # it has changed while the read waited
            self._answer(route, refusal)
            return
        sent = self._sent_bytes.get(route, 0)
        if sent >= limits.ANSWER_BYTES_PER_TURN_MAX:
            self._too_much_for_a_turn(group, route)
            return
        self.reads_served += 1
        if isinstance(group, ScanGroup):
            page = machine.scan(group)
            self._sent_bytes[route] = sent + sum([len(key) + len(value) for key, _, value in page.rows])
            self._answer(route, page if stale_ms < 0 else msgspec.structs.replace(page, stale_ms=stale_ms))
            return
        rows = machine.read(group.keys)
        if rows is None:
            self.refuse(group, route, Reason.BAD_REQUEST, "a key is outside the shard's range")
            return
        size = sum([len(row) for row in rows if row])
        if size > limits.BATCH_BYTES_MAX:
            self.refuse(group, route, Reason.TOO_LARGE, "the rows are too many bytes for one answer")
        elif sent and sent + size > limits.ANSWER_BYTES_PER_TURN_MAX:
            self._too_much_for_a_turn(group, route)
        else:
            self._sent_bytes[route] = sent + size
            self._answer(route, Values(group.id, tuple(rows), stale_ms))

    def _too_much_for_a_turn(self, group: Group, route: Route) -> None:
        detail = "this turn has as much for this client as one may have"
        self.refuse(group, route, Reason.OVERLOADED, detail, retry_ms=_NEXT_TURN_MS)

    def _pass_on(self, group: Group, route: Route, leader: NodeId, news: ShardInfo | None, *, pass_on: bool) -> None:
        if leader and leader != self.me and pass_on:
            self.forwards.setdefault(leader, {}).setdefault(route.origin, []).append(group)
            return
        self._answer(route, refusals.elsewhere(group, leader, self.me, news))

    # The turn --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """First thing in a turn, after the clock: reads whose round was answered, what is late, sessions to evict."""
        now_ms = self._host.now_ms
        self._sent_bytes.clear()
        hosts = self._host.hosted
        for shard, queue in self._queues.items():
            hosted = hosts.get(shard)
            if queue.reads:
                self._settle_reads(hosted, queue)
            if queue.copies:
                self._settle_copies(hosted, queue)
            if queue.proposed and (hosted is None or hosted.replica.role is not Role.LEADER):
                self._leadership_lost(queue)
        if now_ms >= self._sweep_at:
            self._sweep_at = now_ms + _SWEEP_MS
            self._sweep()
        if now_ms >= self._evict_at:
            self._evict_at = now_ms + _EVICT_MS
            self._evict()

    def next_ms(self) -> int:
        """When `begin` next has something to do, if nothing comes first."""
        return self._host.now_ms + _WAITING_MS if self._queues else self._evict_at

    def propose(self) -> None:
        """Last thing before the host's turn: what was taken becomes entries."""
        dirty, self._dirty = self._dirty, {}
        for shard, queue in dirty.items():
            if shard in self.parting:
                self._dirty[shard] = queue
                continue
            hosted = self._host.hosted.get(shard)
            for writes in queue.take_fresh(limits.BATCH_BYTES_MAX):
                self._propose(hosted, queue, writes)

    def apply(self, hosted: Hosted[ShardMachine], entry: Entry, changes: Changes) -> None:
        """The host's hook: apply one committed entry, and answer who waits for it."""
        machine, queue = hosted.machine, self._queues.get(hosted.shard)
        assert machine is not None
        term, writes = queue.proposed.pop(entry.index, (0, [])) if queue else (0, [])
        if not writes or term != entry.term:
            machine.apply(entry, changes, None)
            for write in writes:
                self._lost(write, EFFECT_NONE)
            return
        outcomes = machine.apply(entry, changes, tuple([write.group for write in writes]))
        assert queue is not None
        holders = hosted.replica.holders(entry.index)
        for write, outcome in zip(writes, outcomes, strict=True):
            self._applied(queue, entry, write, outcome, holders)

    def _propose(self, hosted: Hosted[ShardMachine] | None, queue: Queue, writes: list[WaitingWrite]) -> None:
        entry = None
        if hosted is not None and hosted.replica.role is Role.LEADER:
            payload = records.encode([write.group for write in writes])
            entry = self._host.touch(hosted).propose(EntryKind.BATCH, payload)
        if entry is None:
            for write in writes:
                self._lost(write, EFFECT_NONE)
            return
        queue.proposed[entry.index] = (entry.term, writes)
        assert hosted is not None
        assert hosted.machine is not None
        majority = len(hosted.machine.info.membership.voters) // 2 + 1
        for write in writes:
            if 0 < write.group.copies < majority:
                queue.copies.append(WaitingCopies(write, EntryId(entry.index, entry.term), write.group.copies, None))

    def _applied(
        self, queue: Queue, entry: Entry, write: WaitingWrite, outcome: list[Result] | Refused, holders: tuple[int, ...]
    ) -> None:
        copies = write.group.copies
        if isinstance(outcome, Refused):
            self._finish(write, outcome)
            return
        self.writes_applied += len(outcome)
        if copies == MAJORITY or 0 < copies <= len(holders):
            self._finish(write, Written(write.group.id, tuple(outcome), True, holders))
        else:
            wait = WaitingCopies(write, EntryId(entry.index, entry.term), copies, tuple(outcome))
            queue.copies.append(wait)

    def _settle_reads(self, hosted: Hosted[ShardMachine] | None, queue: Queue) -> None:
        while queue.reads:
            wait = queue.reads[0]
            state = self._host.touch(hosted).read_state(wait.ticket) if hosted is not None else ReadState.LOST
            if state is ReadState.WAIT:
                return
            queue.reads.popleft()
            if state is ReadState.LOST or hosted is None:
                detail = "leadership was lost before the read was confirmed"
                self._answer(wait.route, Refused(wait.group.id, Reason.UNAVAILABLE, EFFECT_NONE, detail))
            else:
                self._read(hosted, wait.group, wait.route, -1)

    def _settle_copies(self, hosted: Hosted[ShardMachine] | None, queue: Queue) -> None:
        if hosted is None or hosted.machine is None:
            return
        voters = len(hosted.machine.info.membership.voters)
        waiting, queue.copies = queue.copies, []
        for wait in waiting:
            holders = hosted.replica.holders(wait.entry.index)
            needed = voters if wait.copies == ALL else min(wait.copies, voters)
            replica = hosted.replica
            overtaken = wait.results is None and replica.term != wait.entry.term
            if len(holders) < needed or replica.role is not Role.LEADER or overtaken:
                queue.copies.append(wait)
                continue
            if wait.results is None:
                group = wait.write.group
                self._answer(wait.write.route, Written(group.id, (0,) * len(group.operations), False, holders))
                self._silence(queue, wait)
            else:
                self._finish(wait.write, Written(wait.write.group.id, wait.results, True, holders))

    def _silence(self, queue: Queue, wait: WaitingCopies) -> None:
        """The group was answered before its commit: when it is applied, nobody waits any more."""
        known = queue.proposed.get(wait.entry.index)
        if known is not None and known[0] == wait.entry.term:
            writes = [w._replace(route=NOWHERE) if w is wait.write else w for w in known[1]]
            queue.proposed[wait.entry.index] = (known[0], writes)

    def _leadership_lost(self, queue: Queue) -> None:
        """What was proposed may commit under another leader, or not: the client asks there, with the same numbers."""
        for _, writes in queue.proposed.values():
            for write in writes:
                self._lost(write, EFFECT_UNKNOWN)
        queue.proposed.clear()

    def _sweep(self) -> None:
        self._queues = {shard: queue for shard, queue in self._queues.items() if queue}
        for queue in self._queues.values():
            writes, reads, copies = queue.expired(self._host.now_ms)
            for write in writes:
                late = Refused(write.group.id, Reason.TIMEOUT, EFFECT_UNKNOWN, "not committed in time")
                self._finish(write, late)
            for read in reads:
                late = Refused(read.group.id, Reason.TIMEOUT, EFFECT_NONE, "the read could not be confirmed in time")
                self._answer(read.route, late)
            for wait in copies:
                if wait.results is not None:
                    detail = "committed, but not every copy asked for is on disk"
                    late = Refused(wait.write.group.id, Reason.LEVEL_NOT_REACHED, EFFECT_DONE, detail)
                    self._finish(wait.write, late)

    def _evict(self) -> None:
        for hosted in self._host.hosted.values():
            if hosted.machine is None or hosted.replica.role is not Role.LEADER:
                continue
            clients = hosted.machine.evictable()
            if clients:
                self._host.touch(hosted).propose(EntryKind.EVICT, records.encode(Evict(clients)))

    def _lost(self, write: WaitingWrite, effect: int) -> None:
        self._finish(write, Refused(write.group.id, Reason.UNAVAILABLE, effect, "leadership was lost"))

    def _finish(self, write: WaitingWrite, answer: Answer) -> None:
        self._waiting_bytes -= write.size
        self._answer(write.route, answer)

    def _answer(self, route: Route, answer: Answer) -> None:
        if route is NOWHERE:
            return
        answers = self.answers.get(route)
        if answers is None:
            self.answers[route] = [answer]
        else:
            answers.append(answer)


def _others_full(hosted: Hosted[ShardMachine]) -> str:
    """Why the followers cannot take more, or ""."""
    if not hosted.replica.short_of_room():
        return ""
    return "the disks of so many replicas are full that no majority can take a write"
