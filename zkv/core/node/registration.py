"""What a node tells the coordinator: that it is there, and what its replicas are.

It registers until it is known, then says that it is alive, with a report of each replica that changed since the last
report that was heard. Nothing in the data path waits for any of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from zkv import limits
from zkv.core.cluster import versions
from zkv.core.cluster.messages import Alive, Dropped, Heard, Register, ShardReport, ShardSize, ShardSizes
from zkv.core.message import Message
from zkv.core.node.host import Hosted
from zkv.core.raft.replica import Role
from zkv.core.shard.machine import ShardMachine
from zkv.ids import NodeId, ReplicaId, ShardId

_LOOK_MS = 50
_SIZES_MS = 2_000
_Key = tuple[int, int, int, int, bool]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is. `incarnation` names its data folder."""

    node: NodeId
    incarnation: int
    address: str
    zone: str
    weight: float


class Registration:
    """The node's side of its talk with the coordinator."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.registered = False
        self.was_welcomed = False  # since this process began
        self._refusal = ""  # the last one, until the next welcome
        self._number = 0
        self._look_at = 0
        self._speak_at = 0
        self._stirred = True
        self._heard: dict[ReplicaId, _Key] = {}
        self._sent: dict[int, dict[ReplicaId, _Key]] = {}
        self._gone: dict[ReplicaId, ShardId] = {}
        self.sizes: Callable[[], tuple[ShardSize, ...]] = tuple  # of what is led here, as its owner knows them
        self._sizes_at = 0
        self._protocol = 0  # of the coordinator, as it last stated it

    def tick(self, now_ms: int, cluster: int, hosted: Iterable[Hosted[ShardMachine]]) -> list[Message]:
        """What to say to the coordinator now."""
        if now_ms < self._look_at:
            return []
        self._look_at = now_ms + _LOOK_MS
        if not self.registered:
            if now_ms < self._speak_at:
                return []
            self._speak_at = now_ms - now_ms % limits.REGISTER_MS + limits.REGISTER_MS
            return [self._register(cluster, [report for one in hosted if (report := report_of(one))])]
        if not self._stirred and now_ms < self._speak_at:
            return []
        self._stirred = False
        heard = self._heard
        changed = [
            one
            for one in hosted
            if one.machine is not None and (one.replica.membership.learners or heard.get(one.replica.id) != _key(one))
        ]
        news = [one for one in changed if self._newest(one.replica.id) != _key(one)]
        if not news and now_ms < self._speak_at:
            return []
        self._speak_at = now_ms - now_ms % limits.REGISTER_MS + limits.REGISTER_MS
        return [self._alive(changed), *self._dropped(), *self._sized(now_ms)]

    def stir(self) -> None:
        """Some replica has changed: it is to be told at the next look."""
        self._stirred = True

    def next_ms(self) -> int:
        """When `tick` next has something to say, unless it is stirred before."""
        return self._look_at if self._stirred and self.registered else max(self._look_at, self._speak_at)

    def heard(self, message: Heard) -> None:
        """The coordinator took all reports up to a number, or does not know this node."""
        if not message.known:
            self.forgotten()
            return
        for number in [number for number in self._sent if number <= message.number]:
            self._heard |= self._sent.pop(number)

    def welcomed(self, protocol: int) -> None:
        """The coordinator, of that version, knows this node and the reports that it registered with."""
        self._protocol = protocol
        self.registered = self.was_welcomed = True
        # Where the Register that is answered came late, it voided what was said since: all of it is said again.
        self._heard.clear()
        self._sent.clear()
        self._refusal = ""

    def refused(self, what: str) -> bool:
        """A coordinator does not take this node. True if that is news."""
        before, self._refusal = self._refusal, what
        return what != before

    def forgotten(self) -> None:
        """Start over: the coordinator may know nothing of what was heard before."""
        self.registered = False
        self._heard.clear()
        self._sent.clear()
        self._speak_at = 0

    def dropped(self, shard: ShardId, replica: ReplicaId) -> None:
        """That replica is durably gone from here: to be told until the coordinator asks no more."""
        self._gone[replica] = shard
        self._speak_at = 0

    def _register(self, cluster: int, reports: list[ShardReport]) -> Register:
        me = self.identity
        protocol = versions.PROTOCOL_VERSION
        return Register(me.node, me.incarnation, cluster, me.address, me.zone, me.weight, protocol, tuple(reports))

    def _alive(self, changed: list[Hosted[ShardMachine]]) -> Alive:
        self._number += 1
        reports = [report for one in changed if (report := report_of(one))]
        if reports:
            self._sent[self._number] = {one.replica.id: _key(one) for one in changed}
        return Alive(self.identity.node, self.identity.incarnation, self._number, tuple(reports))

    def _sized(self, now_ms: int) -> list[Message]:
        if now_ms < self._sizes_at or self._protocol < versions.SPLITS_SINCE:
            return []
        self._sizes_at = now_ms + _SIZES_MS
        sizes = self.sizes()
        return [ShardSizes(self.identity.node, sizes)] if sizes else []

    def _dropped(self) -> list[Message]:
        if not self._gone:
            return []
        gone, self._gone = self._gone, {}
        return [Dropped(self.identity.node, shard, replica) for replica, shard in gone.items()]

    def _newest(self, replica: ReplicaId) -> _Key | None:
        for number in reversed(self._sent):
            if replica in self._sent[number]:
                return self._sent[number][replica]
        return self._heard.get(replica)


def report_of(hosted: Hosted[ShardMachine]) -> ShardReport | None:
    """The replica as the coordinator should see it; None for a learner without state."""
    machine, replica = hosted.machine, hosted.replica
    if machine is None:
        return None
    leading = replica.role is Role.LEADER
    return ShardReport(
        replica=replica.id,
        info=msgspec.structs.replace(machine.info, leader=replica.leader, term=replica.settled_term),
        leading=leading,
        applied=machine.applied.index,
        rows=-1,
        bytes=-1,
        matches=replica.progress() if leading else (),
        last_index=replica.last.index,
    )


def _key(hosted: Hosted[ShardMachine]) -> _Key:
    machine = hosted.machine
    assert machine is not None
    info = machine.info
    return (info.range_version, info.membership.version, *hosted.replica.standing)
