"""What must hold after every turn of every node, and at the end. Each checker keeps what it has seen and raises.

Checked as it runs: one leader a term (election safety); one entry for an index and term, behind one other (log
matching); a new leader holds what was committed before (leader completeness); one entry applied at an index (state
machine safety), and only one that a leader has committed; what a leader commits, and so whatever is acknowledged, is on
the disks of a majority; one lease holder, which no later term's commit has overtaken; one entry and one membership for
each epoch; each operation applied once (`once`); no group has fewer voters than it
began with, nor gives up one that is of use before all that stay are in sync (`removal_checker`); no gap in anybody's
map, and each key in exactly one shard (`map_checker`). At the end: replicas agree byte for byte, and so do maps; where
nodes come and go, everything is where it belongs (`settled`).

Not checked here: what clients saw (`linear`), and entries whose payload differs only where CRC-32 does not.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from zlib import crc32

from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.node.host import Host, Hosted
from zkv.core.node.residents import M
from zkv.core.raft.membership import decode_membership
from zkv.core.raft.messages import Entry, EntryKind, Member, Membership
from zkv.core.raft.ready import EntryId
from zkv.core.raft.replica import Replica, Role
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.pieces import scan
from zkv.core.shard.rows import numbered_range
from zkv.ids import ReplicaId, ShardId
from zkv.sim.client import SimClient
from zkv.sim.coordinators import SimCoordinator
from zkv.sim.disk import Folder
from zkv.sim.map_checker import MapChecker
from zkv.sim.once import AppliedOnce
from zkv.sim.processes import SimNode
from zkv.sim.removal_checker import RemovalChecker
from zkv.sim.world import Violation, World

Server = SimNode | SimCoordinator

_LOOK_BACK = 200  # committed entries that a new leader is asked for


@dataclass(slots=True)
class _Seen:
    """One replica in one life of its process, as of its last turn."""

    facts: tuple[int, Role, int, int, EntryId]  # term, role, committed, applied, last
    voters: tuple[Member, ...] = ()


@dataclass(slots=True)
class _Life:
    """One start of one process."""

    start: int
    looked: int = 0  # the turn of its host up to which all was looked at
    seen: dict[ReplicaId, _Seen] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """One shard's truth so far."""

    voters: int  # that it began with; it passes through more, never through fewer (rule 11)
    leaders: dict[int, ReplicaId] = field(default_factory=dict)  # by term
    entries: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)  # index, term -> content
    applied: dict[int, int] = field(default_factory=dict)  # index -> term
    committed: dict[int, tuple[int, int]] = field(default_factory=dict)  # index -> term, and in which term it was seen
    highest: int = 0
    first_commits: dict[int, int] = field(default_factory=dict)  # term -> when its leader first committed anything
    latest_commit: int = 0  # the last of those terms
    was_shown: bool = False  # in the coordinator's map, when a commit was looked at
    durable: int = 0  # the highest index that was found on a majority's disks when its leader committed it
    leading: dict[str, tuple[int, Replica]] = field(default_factory=dict)  # by node: its start, and the replica
    epochs: dict[int, tuple[int, Membership]] = field(default_factory=dict)  # membership version -> entry, members
    ranges: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # range version -> start, end


class Checkers:
    """All invariants of one run."""

    def __init__(self, world: World, state: Callable[[], CoordinatorState]) -> None:
        """`state`: the coordinator's."""
        self.leaders_elected = 0
        self._world = world
        self._state = state
        self._nodes: dict[str, Server] = {}
        self._groups: dict[ShardId, _Group] = {}
        self._lives: dict[str, _Life] = {}  # the present one of each process
        self._once = AppliedOnce()
        self._removals = RemovalChecker(state, self._nodes)
        self.maps = MapChecker()

    def add(self, node: SimNode) -> None:
        """One more node is to be looked at."""
        self._nodes[node.name] = node
        node.watch = partial(self.after_turn, node)

    def add_coordinator(self, coordinator: SimCoordinator) -> None:
        """One more coordinator is to be looked at."""
        self._nodes[coordinator.name] = coordinator
        coordinator.watch = partial(self.after_coordinator_turn, coordinator)
        coordinator.published = lambda term: self.maps.published(coordinator.name, term)

    def after_turn(self, node: SimNode) -> None:
        """Look at a node that has just ended a turn."""
        self._look_at_replicas(node, node.host)
        self.maps.follower((node.name, node.starts), node.node.follower.map)

    def after_coordinator_turn(self, coordinator: SimCoordinator) -> None:
        """Look at a coordinator that has just ended a turn."""
        self._look_at_replicas(coordinator, coordinator.host)
        self.maps.coordinator(coordinator.name, coordinator.core.state.map)

    def _look_at_replicas(self, process: Server, host: Host[M]) -> None:
        life = self._lives.get(process.name)
        if life is None or life.start != process.starts:
            life = self._lives[process.name] = _Life(process.starts)
        since, life.looked = life.looked, host.turns
        for hosted in host.hosted.values():
            if hosted.turn < since:
                continue  # nothing has touched it
            replica = hosted.replica
            facts = (replica.term, replica.role, replica.committed, replica.applied, replica.last)
            seen = life.seen.get(replica.id)
            if seen is None:
                seen = life.seen[replica.id] = _Seen((0, Role.FOLLOWER, 0, replica.start.index, replica.start))
            if facts != seen.facts:
                self._look(process, hosted, seen)
                seen.facts = facts
                seen.voters = replica.membership.voters
            if replica.role is Role.LEADER:
                self._check_lease(process, hosted)

    def after_client_turn(self, client: SimClient) -> None:
        """Look at a client that has just ended a turn."""
        self.maps.follower((client.name, 0), client.router.atlas.map)

    def _look(self, process: Server, hosted: Hosted[M], seen: _Seen) -> None:
        replica = hosted.replica
        voters = len(replica.membership.voters)
        group = self._groups.get(hosted.shard)
        if group is None:
            group = self._groups[hosted.shard] = _Group(voters)
        if replica.membership.version and voters < group.voters:
            raise Violation(f"shard {hosted.shard}: {process.name} counts {voters} voters of {group.voters}")
        term, role, committed, applied, last = seen.facts
        if replica.term < term:
            raise Violation(f"{process.name}: the term of {hosted.shard} fell to {replica.term}")
        if replica.last != last or replica.term != term:
            self._check_entries(process, hosted, group, min(last.index, committed))
        group.leading.pop(process.name, None)
        if replica.role is Role.LEADER:
            group.leading[process.name] = (process.starts, replica)
            if role is not Role.LEADER or term != replica.term:
                self._check_leader(process, hosted, group)
        # A leader that has applied its own removal leads no more at the end of the turn in which it committed that.
        led = role is Role.LEADER and replica.term == term and replica.removed
        if (led or replica.role is Role.LEADER) and replica.committed > committed:
            self._check_majority(process, hosted, group, seen)
        elif role is Role.LEADER and replica.committed > committed:
            self._find_majority(hosted, group, seen)  # deposed later in the turn in which it committed
        if replica.committed > committed:
            self._note_commit(hosted, group, committed)
        if replica.applied > applied:
            self._check_applied(process, hosted, group, applied)
        if replica.membership.version:
            self._check_epoch(process, hosted, group)

    def _check_lease(self, process: Server, hosted: Hosted[M]) -> None:
        """Who answers by a lease is alone in that, and not overtaken as of the turn's reading and its last request."""
        replica, group = hosted.replica, self._groups[hosted.shard]
        if (len(group.leading) == 1 and group.latest_commit <= replica.term) or not replica.holds_lease():
            return
        for name, (starts, other) in group.leading.items():
            rival = self._nodes[name]
            alive = rival.alive and rival.starts == starts and other is not replica
            if alive and _holds_lease_now(process, replica) and _holds_lease_now(rival, other):
                mine, its = f"{process.name} (term {replica.term})", f"{name} ({other.term})"
                raise Violation(f"shard {hosted.shard}: leases of {mine} and {its}")
        commits = group.first_commits
        as_of_us = max(process.read_us, process.drained_us)
        later = [term for term, at_us in commits.items() if term > replica.term and at_us < as_of_us]
        if later:
            holds = f"{process.name} holds a lease of term {replica.term}"
            raise Violation(f"shard {hosted.shard}: {holds}, overtaken by terms {later}")

    def _check_entries(self, process: Server, hosted: Hosted[M], group: _Group, first: int) -> None:
        """Log matching: by induction it is enough that an entry's content and its predecessor's term never differ."""
        replica = hosted.replica
        first = max(min(first, replica.last.index), replica.start.index)
        before = replica.term_at(first) or 0
        for entry in replica.suffix(first):
            content = (entry.kind, crc32(entry.payload), before)
            known = group.entries.setdefault((entry.index, entry.term), content)
            if known != content:
                what = f"shard {hosted.shard}: entry {entry.index} of term {entry.term} at {process.name}"
                raise Violation(f"{what} is {content}, elsewhere {known}")
            before = entry.term

    def _check_leader(self, process: Server, hosted: Hosted[M], group: _Group) -> None:
        replica = hosted.replica
        self.leaders_elected += 1
        self._world.tell(f"{process.name}: leads shard {hosted.shard} in term {replica.term}")
        other = group.leaders.setdefault(replica.term, replica.id)
        if other != replica.id:
            raise Violation(f"shard {hosted.shard}: replicas {other} and {replica.id} lead in term {replica.term}")
        for index in range(max(group.highest - _LOOK_BACK, replica.start.index + 1), group.highest + 1):
            known = group.committed.get(index)
            if known is None or known[1] >= replica.term:
                continue
            has = replica.term_at(index)
            if has != known[0]:
                what = f"shard {hosted.shard}: {process.name} leads in term {replica.term} without entry {index}"
                raise Violation(f"{what} of term {known[0]}, committed (it has term {has})")

    def _check_majority(self, process: Server, hosted: Hosted[M], group: _Group, seen: _Seen) -> None:
        """What a leader counts as committed is on the disks of a majority of its voters.

        A change of voters takes effect with the turn that applies it: then either set may have committed. Or others
        have applied the next change already, while this leader's own flush keeps it waiting: who was removed by it has
        answered, and deleted itself since. A majority of the voters before less that one is enough after (n + 1 > n).
        Likewise who has deleted its replica of a shard that is part of another by now, or whose table is dropped.
        """
        replica = hosted.replica
        group.first_commits.setdefault(replica.term, self._world.now_us)
        group.latest_commit = max(group.latest_commit, replica.term)
        told = self._find_majority(hosted, group, seen)
        if told:
            what = f"entry {replica.committed} of term {replica.term_at(replica.committed)}"
            holders = f"which is on the disks of {' or '.join(told)}"
            raise Violation(f"shard {hosted.shard}: {process.name} committed {what}, {holders}")

    def _find_majority(self, hosted: Hosted[M], group: _Group, seen: _Seen) -> list[str]:
        """Note that a majority holds what it has committed. Else who does, of each set of voters that may count."""
        replica = hosted.replica
        index, term = replica.committed, replica.term_at(replica.committed)
        known = group.committed.get(index)
        if index <= group.durable and known is not None and known[0] == term:
            return []  # a later leader found it there, and replicas may have deleted themselves since, as after a merge
        told = []
        coming = group.epochs.get(replica.membership.version + 1)
        is_shown = hosted.shard in self._state().map.shards
        group.was_shown = group.was_shown or is_shown
        is_over = group.was_shown and not is_shown
        for voters in (replica.membership.voters, seen.voters, coming[1].voters if coming is not None else ()):
            holders = [
                voter.node
                for voter in voters
                if self._on_disk(voter.node, voter.replica, index, term) or (is_over and self._is_deleted(voter))
            ]
            if len(holders) > len(voters) // 2:
                group.durable = max(group.durable, index)
                return []
            told.append(f"{holders} of {[voter.node for voter in voters]}")
        return told

    def _on_disk(self, node: str, replica: ReplicaId, index: int, term: int | None) -> bool:
        """Whether the node's disk holds the entry, or held it when it was lost."""
        machine = self._nodes[node].machine
        return any(_holds(folder, replica, index, term) for folder in (machine.folder, *machine.lost))

    def _is_deleted(self, voter: Member) -> bool:
        """Whether its node, on the folder that it was a voter on, has no such replica any more."""
        folder = self._nodes[voter.node].machine.folder
        return folder.incarnation == voter.incarnation and voter.replica not in folder.says.replicas

    def _note_commit(self, hosted: Hosted[M], group: _Group, before: int) -> None:
        replica = hosted.replica
        for index in range(max(before, replica.start.index) + 1, replica.committed + 1):
            term = replica.term_at(index)
            if term is None:
                continue
            known = group.committed.get(index)
            if known is None or known[1] > replica.term:
                group.committed[index] = (term, replica.term)
            if known is not None and known[0] != term:
                what = f"shard {hosted.shard}: entry {index} is committed as of term {term}"
                raise Violation(f"{what}, and of term {known[0]}")
        group.highest = max(group.highest, replica.committed)

    def _check_applied(self, process: Server, hosted: Hosted[M], group: _Group, before: int) -> None:
        replica = hosted.replica
        entries: tuple[Entry, ...] = replica.suffix(before)
        for entry in entries:
            if entry.index > replica.applied:
                break
            known = group.applied.setdefault(entry.index, entry.term)
            if known != entry.term:
                raise Violation(f"{_applied(process, hosted, entry)}, others that of term {known}")
            if entry.index > group.durable:
                what = _applied(process, hosted, entry)
                raise Violation(f"{what}, which no leader has found on a majority's disks")
            self._once.look(process.name, hosted, entry)
            if entry.kind == EntryKind.MEMBERSHIP:
                members = decode_membership(entry.payload)
                _, former = group.epochs.get(members.version - 1, (0, None))
                if former is not None and members.version not in group.epochs and replica.role is Role.LEADER:
                    self._removals.look(hosted, former, members, entry)
                epoch = group.epochs.setdefault(members.version, (entry.index, members))
                if epoch != (entry.index, members):
                    what = _applied(process, hosted, entry)
                    raise Violation(f"{what}: epoch {members.version} again, after {epoch}")

    def _check_epoch(self, process: Server, hosted: Hosted[M], group: _Group) -> None:
        """A version of the members, or of the range, means the same to everybody."""
        members, machine = hosted.replica.membership, hosted.machine
        known = group.epochs.get(members.version)
        if known is not None and known[1] is not members and known[1] != members:
            raise Violation(f"shard {hosted.shard}: {process.name} counts by {members}, others by {known}")
        if machine is not None:
            span = (machine.info.start, machine.info.end)
            agreed = group.ranges.setdefault(machine.info.range_version, span)
            if agreed != span:
                raise Violation(f"shard {hosted.shard}: {process.name} has the range {span}, others {agreed}")


def _applied(process: Server, hosted: Hosted[M], entry: Entry) -> str:
    return f"shard {hosted.shard}: {process.name} applied entry {entry.index} of term {entry.term}"


def _holds_lease_now(process: Server, replica: Replica) -> bool:
    """Whether it would answer by its lease at this moment."""
    now_ms = process.host.clock.foresee(process.clock.now_ms())
    return now_ms is not None and replica.holds_lease_at(now_ms)


def _holds(folder: Folder, replica: ReplicaId, index: int, term: int | None) -> bool:
    held = folder.says.replicas.get(replica)
    if held is None:
        return False
    place = index - held.start[0] - 1
    return place < 0 or (place < len(held.entries) and held.entries[place].term == term)


def contents(hosted: Hosted[ShardMachine], process: SimNode) -> dict[bytes, bytes]:
    """A replica's whole state, with the space's number taken out: rows, sessions, counter and floor."""
    machine = hosted.machine
    assert machine is not None
    engine = process.store.engine
    found = {b"r" + key[9:]: value for key, value in scan(engine, machine.row_ranges())}
    found |= {b"s" + key[9:]: value for key, value in engine.scan(*numbered_range(b"s", machine.session_space))}
    found[b"counters"] = repr(machine.counters()).encode()
    return found


def disagreements(nodes: Iterable[SimNode]) -> list[str]:
    """Where replicas of one shard with equal applied entries hold different states, or have not applied the same."""
    first: dict[ShardId, tuple[str, int, dict[bytes, bytes]]] = {}
    found = []
    for process in nodes:
        for hosted in process.node.host.hosted.values():
            if hosted.machine is None:
                found.append(f"shard {hosted.shard}: {process.name} has no state yet")
                continue
            applied, mine = hosted.replica.applied, contents(hosted, process)
            name, index, other = first.setdefault(hosted.shard, (process.name, applied, mine))
            if index != applied:
                found.append(f"shard {hosted.shard}: {name} has applied {index}, {process.name} {applied}")
            elif mine != other:
                keys = [key for key in sorted(mine.keys() | other.keys()) if mine.get(key) != other.get(key)]
                found.append(f"shard {hosted.shard}: {name} and {process.name} differ in {keys[:3]}")
    return found


def wrong_maps(truth: ShardMap, held: Mapping[str, ShardMap | None]) -> list[str]:
    """Whose map is not the coordinator's, though all is quiet: a change was missed, or applied over a gap (rule 25)."""
    wanted = truth.snapshot()
    found = []
    for name, shard_map in held.items():
        if shard_map is None:
            found.append(f"{name} has no map")
        elif shard_map.version != wanted.version:
            found.append(f"{name}'s map is at version {shard_map.version}, the coordinator's at {wanted.version}")
        elif shard_map.snapshot() != wanted:
            mine = shard_map.snapshot()
            parts = [part for part in ("tables", "nodes", "shards") if getattr(mine, part) != getattr(wanted, part)]
            found.append(f"{name}'s map of version {wanted.version} has other {' and '.join(parts)}")
    return found
