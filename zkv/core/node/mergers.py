"""Merges that replicas of this node have a part in: what moves them on, whoever began them (rule 23).

The leader of a target asks the leader of the source to freeze, then for one piece after the other, and puts each into
its log before it asks for the next; at the end it puts the verdict there. It abandons a merge in which nothing has
moved for a while, and one that turns out too large. A frozen replica asks the target's for the verdict, and acts on it.
All of that follows from what is applied, so it goes on under any leader, and needs no coordinator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zkv.core.cluster.frames import PeerMessage
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.messages import MergeShard
from zkv.core.cluster.versions import MERGES_SINCE
from zkv.core.node.carrying import carried
from zkv.core.node.host import Host, Hosted
from zkv.core.raft.messages import Entry, EntryKind
from zkv.core.raft.replica import Role
from zkv.core.shard.descriptor import ShardState
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.merge import (
    Absorbing,
    Begin,
    Carried,
    Freeze,
    Mark,
    Merge,
    Thaw,
    Verdict,
    encode,
    fate,
    wrong_with_source,
    wrong_with_target,
)
from zkv.core.shard.merge_messages import Fate, FateAsk, MergeAsk, MergeMessage, MergeRows, MergeUnfit
from zkv.core.shard.pace import Pace
from zkv.ids import NodeId, ReplicaId, ShardId

LOOK_MS: Final = 100  # how often all replicas are looked at for merges
ASK_MS: Final = 200  # what was not answered is asked again
STALL_MS: Final = 10_000  # nothing has moved for so long: the target abandons
FATE_MS: Final = 250
_TURN_MS: Final = 5
_NEVER_MS: Final = -(10**15)

Shard = Hosted[ShardMachine]


@dataclass(slots=True)
class _Drive:
    """What the leader of a target remembers of a merge, beside what is applied."""

    number: int
    term: int
    reached: Mark
    moved_ms: int
    asked_ms: int = _NEVER_MS
    proposed: int = 0  # an entry of this merge that may not be applied yet
    unfit: str = ""  # what the source has said


class Mergers:
    """All merges of one node. `send`: a message to a node, over the bulk link if it is large."""

    def __init__(
        self,
        host: Host[ShardMachine],
        me: NodeId,
        shard_map: Callable[[], ShardMap | None],
        protocol_of: Callable[[NodeId], int],
        pace: Pace,
    ) -> None:
        self._host = host
        self._me = me
        self._map = shard_map
        self._protocol_of = protocol_of
        self._pace = pace
        self._active: set[ShardId] = set()
        self._drives: dict[ShardId, _Drive] = {}
        self._asked: dict[ShardId, tuple[MergeAsk, NodeId]] = {}  # of sources that are not frozen yet, the last
        self._asked_fate_ms: dict[ShardId, int] = {}
        self._released: dict[ReplicaId, int] = {}  # frozen here for a merge that came to nothing, by its target's word
        self._look_ms = 0
        self._events: list[str] = []
        self._said: dict[ShardId, str] = {}  # the last refusal, so that it is told once

    @property
    def busy(self) -> bool:
        """Whether any replica here has a part in a merge."""
        return bool(self._active)

    def next_ms(self) -> int:
        """When to tick at the latest, if nothing comes."""
        return self._host.now_ms + _TURN_MS if self._active else self._host.now_ms + LOOK_MS * 10

    def tick(self) -> list[str]:
        """Move on what can be moved on. Lines for the log."""
        now_ms = self._host.now_ms
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + LOOK_MS
            busy = {shard for shard, one in self._host.hosted.items() if _is_busy(one)}
            if self._asked:
                self._asked = {shard: asked for shard, asked in self._asked.items() if shard in self._host.hosted}
            if self._released:
                held = {one.replica.id for one in self._host.hosted.values()}
                self._released = {replica: merge for replica, merge in self._released.items() if replica in held}
            self._active = busy | self._asked.keys()
        for shard in list(self._active) if self._active else ():
            hosted = self._host.hosted.get(shard)
            machine = hosted.machine if hosted is not None and not hosted.frozen else None
            if hosted is None or machine is None:
                continue
            state = machine.merging.state
            if state.frozen is not None:
                asked = self._asked.pop(shard, None)
                if asked is not None:
                    self._give(*asked)
                self._ask_fate(hosted, state.frozen)
            elif hosted.replica.role is not Role.LEADER or not hosted.replica.is_parting:
                self._asked.pop(shard, None)  # nothing came of it
            if state.absorbing is not None and hosted.replica.role is Role.LEADER:
                self._drive(hosted, machine, state.absorbing)
        events, self._events = self._events, []
        return events

    def ordered(self, order: MergeShard) -> None:
        """The coordinator wants this shard to take another in, or to say that it never will."""
        hosted = self._host.hosted.get(order.merge.target)
        if hosted is None or hosted.machine is None or hosted.replica.role is not Role.LEADER:
            return
        machine, merge = hosted.machine, order.merge
        absorbing = machine.merging.state.absorbing
        replica = self._host.touch(hosted)
        replica.stir()
        if order.abandon:
            is_other = absorbing is not None and absorbing.merge.number != merge.number
            if machine.info.range_version == merge.target_version and not is_other and not replica.is_parting:
                self._settle(hosted, merge, committed=False, why="the coordinator wants it no more")
        elif absorbing is None or absorbing.merge.number != merge.number:
            wrong = wrong_with_target(machine.info, machine.merging.state, merge) or _no_room(hosted)
            wrong = wrong or self._not_understood(hosted, merge)
            if wrong:
                self._say(merge, wrong)
            elif not replica.is_parting and not self._is_proposed(hosted):
                self._propose(hosted, merge, EntryKind.ABSORB, encode(Begin(merge)))
                self._active.add(hosted.shard)

    def awaits_word(self, replica: ReplicaId) -> bool:
        """Whether the replica goes by its target's word alone, and not by an order: it asks for that at once.

        Not once that has come, and said that the merge has come to nothing: its shard may have gone on without it, and
        be part of another by now.
        """
        hosted, shard_map = self._host.replica(replica), self._map()
        machine = hosted.machine if hosted is not None else None
        frozen = machine.merging.state.frozen if machine is not None else None
        if hosted is None or frozen is None or shard_map is None or frozen.target not in shard_map.shards:
            return False
        if self._released.get(replica) == frozen.number:
            return False
        shown = shard_map.shards.get(frozen.source)
        if shown is not None and shown.state == ShardState.DROPPING:
            return False  # the table goes, and the target with it
        self._asked_fate_ms[hosted.shard] = _NEVER_MS
        return True

    def receive(self, message: MergeMessage, sender: NodeId) -> None:
        """One word of a replica on that node."""
        match message:
            case MergeAsk():
                self._give(message, sender)
            case MergeRows():
                self._take(message)
            case MergeUnfit():
                drive = self._drives.get(message.target)
                if drive is not None and drive.number == message.number:
                    drive.unfit = message.why
            case FateAsk():
                self._tell_fate(message, sender)
            case Fate():
                self._act_on(message)

    # As the target --------------------------------------------------------------------------------------------------

    def _drive(self, hosted: Shard, machine: ShardMachine, absorbing: Absorbing) -> None:
        now_ms, merge = self._host.now_ms, absorbing.merge
        drive = self._drives.get(hosted.shard)
        if drive is None or (drive.number, drive.term) != (merge.number, hosted.replica.term):
            drive = _Drive(merge.number, hosted.replica.term, absorbing.reached, now_ms)
            self._drives[hosted.shard] = drive
        if drive.reached != absorbing.reached:
            drive.reached, drive.moved_ms, drive.asked_ms = absorbing.reached, now_ms, _NEVER_MS
        if self._is_proposed(hosted):
            return
        why = drive.unfit or self._given_up(drive, absorbing)
        if absorbing.complete:
            self._settle(hosted, merge, committed=True, why="")
        elif why:
            self._settle(hosted, merge, committed=False, why=why)
        elif now_ms - drive.asked_ms >= ASK_MS and not _no_room(hosted):
            drive.asked_ms = now_ms
            for node in self._homes(merge.source, [voter.node for voter in merge.members.voters]):
                self._send(node, MergeAsk(merge, absorbing.reached))

    def _given_up(self, drive: _Drive, absorbing: Absorbing) -> str:
        if absorbing.size > absorbing.merge.bytes_max:
            return f"the source has more than {absorbing.merge.bytes_max} bytes"
        if self._host.now_ms - drive.moved_ms >= STALL_MS:
            return f"nothing has moved for {STALL_MS // 1_000} s"
        return ""

    def _take(self, rows: MergeRows) -> None:
        hosted = self._host.hosted.get(rows.target)
        drive = self._drives.get(rows.target)
        if hosted is None or hosted.machine is None or drive is None or hosted.replica.role is not Role.LEADER:
            return
        absorbing = hosted.machine.merging.state.absorbing
        is_next = absorbing is not None and absorbing.merge.number == rows.number and absorbing.reached == rows.after
        if absorbing is None or not is_next or absorbing.complete or self._is_proposed(hosted):
            return
        entry = Carried(rows.number, rows.after, rows.rows, rows.last, rows.counter, rows.floor)
        self._propose(hosted, absorbing.merge, EntryKind.ABSORB, encode(entry))

    def _settle(self, hosted: Shard, merge: Merge, *, committed: bool, why: str) -> None:
        verdict = Verdict(merge.number, merge.target_version, committed)
        if self._propose(hosted, merge, EntryKind.MERGE, encode(verdict)):
            self._say(merge, why or "all of it is here")

    def _propose(self, hosted: Shard, merge: Merge, kind: EntryKind, payload: bytes) -> Entry | None:
        replica = self._host.touch(hosted)
        entry = replica.propose(kind, payload)
        if entry is None:
            return None
        state = hosted.machine.merging.state if hosted.machine is not None else None
        reached = state.absorbing.reached if state is not None and state.absorbing is not None else (b"", b"")
        drive = self._drives.get(hosted.shard)
        if drive is None or (drive.number, drive.term) != (merge.number, replica.term):
            drive = self._drives[hosted.shard] = _Drive(merge.number, replica.term, reached, self._host.now_ms)
        drive.proposed = entry.index
        return entry

    def _is_proposed(self, hosted: Shard) -> bool:
        """Whether an entry of a merge, put into the log by this leader, is still to be applied."""
        drive = self._drives.get(hosted.shard)
        return drive is not None and drive.term == hosted.replica.term and drive.proposed > hosted.replica.applied

    def _not_understood(self, hosted: Shard, merge: Merge) -> str:
        """Whether some node that has a part in it has not stated that it knows merges (rule 16)."""
        members = (*hosted.replica.membership.voters, *hosted.replica.membership.learners, *merge.members.voters)
        for node in {member.node for member in members} - {self._me}:
            if self._protocol_of(node) < MERGES_SINCE:
                return f"{node} has not stated that it knows merges"
        return ""

    def _tell_fate(self, ask: FateAsk, sender: NodeId) -> None:
        committed = self._fate(ask)
        if committed is not None:
            self._send(sender, Fate(ask.source, ask.number, committed))

    def _fate(self, ask: FateAsk) -> bool | None:
        hosted = self._host.hosted.get(ask.target)
        machine = hosted.machine if hosted is not None and not hosted.frozen else None
        if machine is None:
            return None
        return fate(machine.info, machine.merging.state, ask.number, ask.target_version)

    # As the source --------------------------------------------------------------------------------------------------

    def _give(self, ask: MergeAsk, sender: NodeId) -> None:
        """Freeze, or, once that is applied here, give what is asked for."""
        merge = ask.merge
        hosted = self._host.hosted.get(merge.source)
        if hosted is None or hosted.machine is None or hosted.replica.role is not Role.LEADER:
            return
        machine, replica = hosted.machine, self._host.touch(hosted)
        frozen = machine.merging.state.frozen
        if frozen is not None and frozen.number == merge.number:
            self._active.add(hosted.shard)
            if self._pace.is_open:
                rows, last = carried(machine, self._host.rows, ask.after)
                self._pace.spend(sum(len(key) + len(value) for _, key, value in rows))
                counter, floor = machine.counters()
                answer = MergeRows(merge.target, merge.number, ask.after, rows, last, counter, floor)
                self._send(sender, answer, bulk=True)
            return
        if replica.is_parting:
            return
        wrong = wrong_with_source(machine.info, machine.merging.state, merge) or self._too_large(machine, merge)
        if wrong:
            self._send(sender, MergeUnfit(merge.target, merge.number, wrong))
        else:
            replica.propose(EntryKind.FREEZE, encode(Freeze(merge)))
            self._asked[hosted.shard] = (ask, sender)
            self._active.add(hosted.shard)

    def _too_large(self, machine: ShardMachine, merge: Merge) -> str:
        """Look at the rows before anything is frozen for them: no further than the bound."""
        size = 0
        for start, end in machine.row_ranges():
            for key, value in self._host.rows.scan(start, end):
                size += len(key) + len(value)
                if size > merge.bytes_max:
                    return f"the source has more than {merge.bytes_max} bytes"
        return ""

    def _ask_fate(self, hosted: Shard, merge: Merge) -> None:
        now_ms = self._host.now_ms
        if now_ms - self._asked_fate_ms.setdefault(hosted.shard, now_ms) < FATE_MS:
            return  # the target begins to ask as soon as it is frozen
        self._asked_fate_ms[hosted.shard] = now_ms
        ask = FateAsk(merge.target, merge.source, merge.number, merge.target_version)
        committed = self._fate(ask)
        if committed is None and self._is_gone(merge):
            committed = False
        if committed is not None:
            self._act_on(Fate(merge.source, merge.number, committed))
            return
        for node in self._homes(merge.target, []):
            if node != self._me:
                self._send(node, ask)

    def _act_on(self, word: Fate) -> None:
        """The target's verdict: the replica goes, or its shard serves again."""
        hosted = self._host.hosted.get(word.source)
        machine = hosted.machine if hosted is not None and not hosted.frozen else None
        frozen = machine.merging.state.frozen if machine is not None else None
        if hosted is None or frozen is None or frozen.number != word.number:
            return
        if word.committed:
            self._events.append(f"shard {word.source}: it is part of shard {frozen.target} now, and is deleted here")
            self._host.destroy(hosted)
            return
        self._released[hosted.replica.id] = word.number
        if hosted.replica.role is Role.LEADER and not hosted.replica.is_parting:
            self._events.append(f"shard {word.source}: its merge is abandoned, it serves again")
            self._host.touch(hosted).propose(EntryKind.FREEZE, encode(Thaw(word.number)))

    def _is_gone(self, merge: Merge) -> bool:
        """Whether the target is in the map no more, and the source is: then the merge has come to nothing.

        The target has become part of another shard since, or it would still answer; and that it cannot while the
        coordinators have not seen what became of this merge. Who asks so late was frozen by a word of long ago.
        """
        shard_map = self._map()
        if shard_map is None or shard_map.version < merge.map_version:
            return False
        return merge.target not in shard_map.shards and merge.source in shard_map.shards

    # What they share ------------------------------------------------------------------------------------------------

    def _homes(self, shard: ShardId, otherwise: list[NodeId]) -> list[NodeId]:
        """The nodes of a shard's voters, as the map says."""
        shard_map = self._map()
        info = shard_map.shards.get(shard) if shard_map is not None else None
        return [voter.node for voter in info.membership.voters] if info is not None else otherwise

    def _send(self, node: NodeId, message: MergeMessage, *, bulk: bool = False) -> None:
        if node == self._me:
            self.receive(message, node)
            return
        shard_map = self._map()
        info = shard_map.nodes.get(node) if shard_map is not None else None
        effects = self._host.effects
        sends: dict[tuple[NodeId, int], list[PeerMessage]] = effects.bulk if bulk else effects.messages
        sends.setdefault((node, info.incarnation if info is not None else 0), []).append(message)

    def _say(self, merge: Merge, what: str) -> None:
        line = f"shard {merge.target}: merge of shard {merge.source}: {what}"
        if self._said.get(merge.target) != line:
            self._said[merge.target] = line
            self._events.append(line)


def _no_room(hosted: Shard) -> str:
    """Why the target's log must not take the source's rows now, or "" (rule 6)."""
    is_full = hosted.replica.full or hosted.replica.short_of_room()
    return "the disks of the target have no room" if is_full else ""


def _is_busy(hosted: Shard) -> bool:
    machine = hosted.machine
    if machine is None:
        return False
    state = machine.merging.state  # of every replica, ten times a second: not by way of `is_busy`
    return state.frozen is not None or state.absorbing is not None
