"""Random schedules: a lossy, doubling, reordering network, slow flushes, pauses, crashes that lose the unflushed."""

import random

import pytest
from raft_group import Group, Mail, Process, member
from raft_laws import Laws

from zkv.core.raft.messages import EntryKind
from zkv.core.raft.replica import ReadState, Role


class Schedule:
    """One seed's run over one group. `members_change`: learners come, are promoted, and voters are removed."""

    def __init__(self, seed: int, voters: int, *, members_change: bool) -> None:
        self.random = random.Random(seed)
        self.group = Group(range(1, voters + 1), seed=seed)
        self.laws = Laws(self.group)
        self.members_change = members_change
        self.next_number = voters + 1
        self.loss = self.random.choice((0.0, 0.02, 0.2))
        self.flush_chance = self.random.choice((0.9, 0.4, 0.1))
        self.delays_ms = self.random.choice(((0, 3), (0, 40), (0, 900)))
        self.mail: list[tuple[int, Mail]] = []  # (arrives, what)
        self.paused: dict[int, int] = {}  # replica -> until
        self.cut: set[tuple[int, int]] = set()  # (sender, target)
        self.healed = False

    def run(self, steps: int) -> None:
        """Trouble for so many steps of 1 to 30 ms."""
        for _ in range(steps):
            self.group.now_ms += self.random.choice((1, 1, 5, 30))
            self._trouble()
            self._everybody()

    def heal(self, steps: int) -> None:
        """No more trouble, and time enough to recover."""
        self.healed = True
        self.loss, self.delays_ms, self.flush_chance = 0.0, (0, 3), 1.0
        self.cut.clear()
        self.paused.clear()
        for process in self.group.processes.values():
            if not process.alive:
                process.start(self.group.now_ms)
        for _ in range(steps):
            self.group.now_ms += 10
            self._everybody()

    def hunt_the_lease(self, *, ordered: bool) -> None:
        """The worst that can happen to a lease: one follower, with a level log, loses its leader alone, or is ordered
        to take over; as soon as it campaigns, the leader is cut off from all, and the other follower restarts."""
        leader = self.leader()
        others = [one for one in self.group.processes.values() if one is not leader]
        rival, witness = self.random.sample(others, 2)
        if ordered:
            assert leader.replica.transfer(rival.id)
        else:
            self.cut |= {(leader.id, rival.id), (rival.id, leader.id)}
        self.delays_ms = (0, self.random.choice((3, 30)))
        while leader.replica.role is Role.LEADER:
            self.group.now_ms += self.random.choice((1, 5, 10))
            self._everybody()
            if rival.replica.role is not Role.FOLLOWER and (leader.id, witness.id) not in self.cut:
                self._isolate(leader)
                if not ordered:
                    self._crash(witness)
                    witness.start(self.group.now_ms)

    def leader(self) -> Process:
        """The leader of the highest term."""
        leaders = [one for one in self.group.processes.values() if one.replica.role is Role.LEADER]
        return max(leaders, key=lambda one: one.replica.term)

    def _everybody(self) -> None:
        for process in list(self.group.processes.values()):
            if process.alive and self.paused.get(process.id, 0) <= self.group.now_ms:
                self._turn(process)

    def _turn(self, process: Process) -> None:
        process.tick(self.group.now_ms)
        self.laws.see(process)
        due = [one for one in self.mail if one[1].target == process.id and one[0] <= self.group.now_ms]
        self.mail = [one for one in self.mail if one not in due] if due else self.mail
        if self.random.random() < 0.5:
            self.random.shuffle(due)
        for _, mail in due:
            process.step(mail)
            self.laws.see(process)
        if process.running is not None and self.random.random() < self.flush_chance:
            process.flush()
        if process.replica.role is Role.LEADER and not self.healed:
            self._ask_leader(process)
        process.settle()
        self.laws.see(process)
        for mail in self.group.collect(process):
            self._post(mail)

    def _ask_leader(self, process: Process) -> None:
        chance = self.random.random()
        if chance < 0.4:
            process.replica.propose(EntryKind.BATCH, b"%d" % self.random.randrange(10**6))
        elif chance < 0.5:
            self.laws.ask(process)
        elif chance < 0.53:
            process.replica.transfer(self.random.choice(process.replica.membership.voters).replica)
        elif chance < 0.55:
            process.replica.forget(process.applied - self.random.randrange(20))
        elif chance < 0.60 and self.members_change:
            self._change_membership(process)

    def _change_membership(self, process: Process) -> None:
        now = process.replica.membership
        voters, learners = now.voters, now.learners
        if learners:
            change, who = self.random.choice(("promote", "promote", "remove")), self.random.choice(learners)
        elif len(voters) < 4:
            number, self.next_number = self.next_number, self.next_number + 1
            change, who = "learn", member(self.group.add(number).id)
        else:
            change, who = "remove", self.random.choice(voters)
        process.replica.propose_membership(change, who, now.version)

    def _post(self, mail: Mail) -> None:
        if mail.target not in self.group.processes or (mail.sender, mail.target) in self.cut:
            return
        for _ in range(2 if self.random.random() < self.loss / 2 else 1):
            if self.random.random() >= self.loss:
                self.mail.append((self.group.now_ms + self.random.randint(*self.delays_ms), mail))

    def _trouble(self) -> None:
        chance, group = self.random.random(), self.group
        process = self.random.choice(list(group.processes.values()))
        if chance < 0.004 and process.alive:
            self._crash(process)
        elif chance < 0.3 and not process.alive:
            process.start(group.now_ms)
        elif chance < 0.016:
            self.paused[process.id] = group.now_ms + self.random.randint(1, 2_000)
        elif chance < 0.020:
            self._isolate(process)
        elif chance < 0.030:
            other = self.random.choice(list(group.processes))
            self.cut |= {(other, process.id), (process.id, other)}
        elif chance < 0.040:
            self.cut.clear()
        elif chance < 0.052 and process.alive:
            process.checkpoint(self.random.randint(0, process.applied))

    def _crash(self, process: Process) -> None:
        if process.running is not None and self.random.random() < 0.5:
            process.disk.write(process.running)  # it was on disk, but nobody heard of it
        process.crash(applied=self.random.randint(0, process.applied))
        self.laws.forget(process)

    def _isolate(self, process: Process) -> None:
        self.cut |= {link for one in self.group.processes for link in ((one, process.id), (process.id, one))}


@pytest.mark.parametrize("members_change", [False, True], ids=["fixed", "changing"])
@pytest.mark.parametrize("voters", [3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_no_schedule_breaks_a_law_and_every_group_recovers(seed: int, voters: int, members_change: bool) -> None:
    schedule = Schedule(seed * 10 + voters, voters, members_change=members_change)
    schedule.run(1_200)
    schedule.heal(600)
    leader = schedule.leader().replica
    ticket = leader.ask_read()
    schedule.heal(5)
    assert ticket is not None
    assert leader.read_state(ticket) is ReadState.READY
    assert leader.applied == leader.last.index
    voters_now = [schedule.group.processes[one.replica].replica for one in leader.membership.voters]
    assert [one.applied for one in voters_now] == [leader.applied] * len(voters_now)


@pytest.mark.parametrize("ordered", [False, True], ids=["restart", "handover"])
@pytest.mark.parametrize("seed", range(8))
def test_nobody_writes_beside_a_lease_whoever_is_cut_off_restarts_or_takes_over(seed: int, ordered: bool) -> None:
    schedule = Schedule(seed, 3, members_change=False)
    schedule.heal(150)
    reads = schedule.laws.lease_reads
    assert reads >= 50
    schedule.hunt_the_lease(ordered=ordered)
    schedule.heal(200)
    assert schedule.laws.elections == 2
    assert schedule.laws.lease_reads > reads


def test_the_schedules_reach_what_they_are_for() -> None:
    schedule = Schedule(1, 3, members_change=False)
    schedule.run(3_000)
    laws = schedule.laws
    assert laws.elections >= 3
    assert laws.lease_reads >= 100
    assert laws.round_reads >= 10
    assert laws.fresh_reads >= 100
