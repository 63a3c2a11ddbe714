"""What must hold in every Raft group at every step, watched from outside.

Checked: one leader in a term; log matching; leader completeness; the same entry applied at the same index everywhere;
commit and applied marks that do not fall; what is committed is on a majority's disks (while the membership is the
first one); reads under a lease, read-index reads and a follower's freshness against what was acknowledged before.

Not checked: that anything is ever done (the schedules check that at their end), and memory bounds.
"""

from raft_group import Group, Process

from zkv.core.raft.messages import Entry
from zkv.core.raft.reads import ReadState, ReadTicket
from zkv.core.raft.replica import Role


class Laws:
    """Call `see` after each step of a process. The group's clock never goes back."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._leaders: dict[int, int] = {}  # term -> replica
        self._written: dict[tuple[int, int], tuple[bytes, int]] = {}  # (index, term) -> payload, term of the one before
        self._committed: dict[int, tuple[int, int]] = {}  # index -> its term, the term in which it was committed
        self._applied: dict[int, Entry] = {}
        self._marks: dict[int, tuple[int, int, int]] = {}  # replica -> term, committed, applied
        self._seen_until: dict[int, int] = {}  # replica -> applied entries compared
        self._acknowledged: list[tuple[int, int]] = [(0, 0)]  # (time, index applied by a leader), both rising
        self._tickets: dict[int, list[tuple[ReadTicket, int]]] = {}
        self.elections = 0
        self.lease_reads = 0
        self.round_reads = 0
        self.fresh_reads = 0

    def forget(self, process: Process) -> None:
        """It crashed: its marks may be lower when it is back, and what was asked of it is lost."""
        self._marks.pop(process.id, None)
        self._seen_until[process.id] = 0
        self._tickets.pop(process.id, None)

    def see(self, process: Process) -> None:
        """Check what one process shows now."""
        self._log_matching(process)
        self._election_safety(process)
        self._marks_rise(process)
        self._commits_are_durable(process)
        self._state_machines_agree(process)
        self._reads_are_not_stale(process)

    def ask(self, process: Process) -> None:
        """Begin a read-index read there."""
        ticket = process.replica.ask_read()
        if ticket is not None:
            self._tickets.setdefault(process.id, []).append((ticket, self._acknowledged[-1][1]))

    def _log_matching(self, process: Process) -> None:
        replica = process.replica
        flush = process.gathering if process.gathering.mark else process.running
        for entry in flush.entries if flush else ():
            if replica.term_at(entry.index) != entry.term:
                continue
            before = replica.term_at(entry.index - 1)
            if before is None:
                continue
            known = self._written.setdefault((entry.index, entry.term), (entry.payload, before))
            assert known == (entry.payload, before), f"two entries {entry.index}@{entry.term}"

    def _election_safety(self, process: Process) -> None:
        replica = process.replica
        if replica.role is not Role.LEADER:
            return
        if replica.term not in self._leaders:
            self._leaders[replica.term] = replica.id
            self.elections += 1
            for index, (term, committed_in) in self._committed.items():
                if committed_in < replica.term and index >= replica.first_index:
                    assert replica.term_at(index) == term, f"leader of {replica.term} lacks {index}@{term}"
        assert self._leaders[replica.term] == replica.id, f"two leaders in term {replica.term}"

    def _marks_rise(self, process: Process) -> None:
        replica = process.replica
        marks = (replica.term, replica.committed, replica.applied)
        before = self._marks.get(replica.id, (0, 0, 0))
        assert all(new >= old for new, old in zip(marks, before, strict=True)), f"{replica.id}: {before} -> {marks}"
        assert replica.applied <= min(replica.committed, replica.persisted_index) <= replica.last.index
        assert replica.term >= process.disk.hard_state.term
        self._marks[replica.id] = marks

    def _commits_are_durable(self, process: Process) -> None:
        replica = process.replica
        index = replica.committed
        while index and index not in self._committed and index >= replica.first_index:
            term = replica.term_at(index)
            assert term is not None
            self._committed[index] = (term, replica.term)
            voters = replica.membership.voters
            if replica.membership.version == 1:
                copies = sum(self._group.processes[one.replica].disk.holds(index, term) for one in voters)
                assert copies > len(voters) // 2, f"{index}@{term} is committed and on {copies} disks"
            index -= 1
        known = self._committed.get(replica.committed)
        term = replica.term_at(replica.committed)
        assert known is None or term is None or known[0] == term, (
            f"{replica.committed} is committed as {known} and {term}"
        )

    def _state_machines_agree(self, process: Process) -> None:
        history = process.history
        for entry in history[self._seen_until.get(process.id, 0) :]:
            known = self._applied.setdefault(entry.index, entry)
            assert known == entry, f"replica {process.id} applied {entry}, another one {known}"
        self._seen_until[process.id] = len(history)

    def _reads_are_not_stale(self, process: Process) -> None:
        replica, now_ms = process.replica, self._group.now_ms
        if replica.role is Role.LEADER and replica.applied > self._acknowledged[-1][1]:
            self._acknowledged.append((now_ms, replica.applied))
        newest = self._acknowledged[-1][1]
        if replica.holds_lease():
            self.lease_reads += 1
            assert replica.applied >= newest, f"stale under a lease: {replica.applied} < {newest}"
        waiting = []
        for ticket, newest_then in self._tickets.get(process.id, ()):
            state = replica.read_state(ticket)
            if state is ReadState.READY:
                self.round_reads += 1
                assert replica.applied >= newest_then, f"stale after a round: {replica.applied} < {newest_then}"
            elif state is ReadState.WAIT:
                waiting.append((ticket, newest_then))
        self._tickets[process.id] = waiting
        fresh_ms = replica.fresh_as_of_ms()
        if fresh_ms is not None:
            self.fresh_reads += 1
            newest_then = max(index for at_ms, index in self._acknowledged if at_ms < fresh_ms or index == 0)
            assert replica.applied >= newest_then, f"fresh as of {fresh_ms}: {replica.applied} < {newest_then}"
