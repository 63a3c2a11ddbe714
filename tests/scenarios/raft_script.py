"""The commands of the Raft scenarios: each does one thing to a group and returns all that came of it, as text.

group 1 2 3              a group of these voters, nobody ever having led
led 1 2 3                the same, led by the first in term 1, whose first entry all have applied
add 4                    an empty replica, known to nobody
campaign 1               only this one's clock goes on, to its election timeout
tick 600 [1 2]           the clocks go on by so many ms, in steps of 50, of all or only these replicas
live 600 [1 2]           the same, and everything settles after each step
pause 1 5000             its process is stopped for so many ms: its clock goes on in one step
deliver [1->2 ...]       all mail that waits now, or only that on these links; what it brings about waits in turn
drop [1->2 ...]          the same mail is lost
cut 1->2 ...             from now on mail on these links is lost, unseen, until `heal`; `cut 1` all to and from 1
heal
keep 1->2                take the mail on a link out of the post; `send` puts it back later
send
flush 1                  the flush in flight there ends
settle [1 2 ...]         flush, deliver among these replicas (or all), until nothing moves
quietly COMMAND          do it, say nothing but who leads
propose 1 text [SIZE]    an entry, padded to so many bytes
change 1 promote 4 2     propose a membership, expecting version 2
transfer 1 2             ask 1 to hand over to 2
stir 1                   somebody asks for something; `asleep` says who sleeps
read 1                   ask for a read-index; `reads` tells what became of all of them, `lease` who holds one
crash 1 [applied 3]      lose what was not flushed; the engine falls back to there
start 1
forget 1 5               drop entries up to 5 from memory
status, log, disk        what everybody holds
"""

from raft_group import Group, Installed, Mail, Process, Snapshot, member

from zkv.core.raft.membership import decode_membership
from zkv.core.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryKind,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from zkv.core.raft.reads import ReadTicket
from zkv.core.raft.ready import Ready

STEP_MS = 50
ROUNDS_MAX = 100  # of one `settle`


class Script:
    """One scenario's group, driven by text."""

    def __init__(self) -> None:
        self._group = Group(())
        self._kept: list[Mail] = []
        self._cut: set[str] = set()
        self._roles: dict[int, str] = {}
        self._tickets: list[tuple[int, ReadTicket]] = []
        self._lines: list[str] = []

    def run(self, command: str) -> list[str]:
        """Everything that came of one command, a line each."""
        self._lines = []
        verb, *words = command.split()
        quiet = verb == "quietly"
        if quiet:
            verb, *words = words
        getattr(self, f"_do_{verb}")(*words)
        if quiet:
            self._lines = [line for line in self._lines if line.startswith("=")]
        return self._lines

    def close(self) -> None:
        """Nothing beyond itself was changed."""

    # Commands

    def _do_group(self, *voters: str) -> None:
        self._group = Group(map(int, voters))
        self._kept, self._roles, self._tickets, self._cut = [], {}, [], set()

    def _do_led(self, *voters: str) -> None:
        self._do_group(*voters)
        self._do_campaign(voters[0])
        self._do_settle()
        self._do_tick("50")
        self._do_settle()
        self._lines = []

    def _do_add(self, number: str) -> None:
        self._group.add(int(number))

    def _do_campaign(self, number: str) -> None:
        process = self._process(number)
        for _ in range(ROUNDS_MAX):
            process.tick(process.replica.next_deadline_ms())
            if self._work(process):
                return
        raise AssertionError("it does not campaign")

    def _do_tick(self, milliseconds: str, *numbers: str) -> None:
        for _ in range(int(milliseconds) // STEP_MS):
            for process in self._chosen(numbers):
                process.tick(process.now_ms + STEP_MS)
                self._work(process)

    def _do_live(self, milliseconds: str, *numbers: str) -> None:
        for _ in range(int(milliseconds) // STEP_MS):
            self._do_tick(str(STEP_MS), *numbers)
            self._do_settle(*numbers)

    def _do_pause(self, number: str, milliseconds: str) -> None:
        process = self._process(number)
        process.tick(process.now_ms + int(milliseconds))
        self._work(process)

    def _do_deliver(self, *links: str) -> None:
        for mail in self._take(links):
            self._arrive(mail)

    def _do_drop(self, *links: str) -> None:
        for mail in self._take(links):
            self._lines.append(f"lost: {show(mail)}")

    def _do_cut(self, *links: str) -> None:
        for link in links:
            if "->" in link:
                self._cut.add(link)
            else:
                others = [str(other) for other in self._group.processes]
                self._cut |= {f"{link}->{other}" for other in others} | {f"{other}->{link}" for other in others}

    def _do_heal(self) -> None:
        self._cut.clear()

    def _do_keep(self, *links: str) -> None:
        self._kept += self._take(links)

    def _do_send(self) -> None:
        self._group.mail += self._kept
        self._kept = []

    def _do_flush(self, number: str) -> None:
        self._flush(self._process(number))

    def _do_settle(self, *numbers: str) -> None:
        chosen = self._chosen(numbers)
        ids = {process.id for process in chosen}
        for _ in range(ROUNDS_MAX):
            for process in chosen:
                if process.running:
                    self._flush(process)
            mail = [one for one in self._group.mail if one.sender in ids and one.target in ids]
            self._group.mail = [one for one in self._group.mail if one not in mail]
            for one in mail:
                self._arrive(one)
            if not mail and not any(process.running for process in chosen):
                return
        raise AssertionError("the group does not come to rest")

    def _do_propose(self, number: str, text: str, size: str = "0") -> None:
        process = self._process(number)
        payload = text.ljust(int(size)).encode()
        if process.replica.propose(EntryKind.BATCH, payload) is None:
            self._lines.append("refused")
        self._work(process)

    def _do_change(self, number: str, change: str, who: str, expected: str) -> None:
        process = self._process(number)
        refusal = process.replica.propose_membership(change, member(int(who)), int(expected))
        if refusal is not None:
            self._lines.append(refusal)
        self._work(process)

    def _do_transfer(self, number: str, target: str) -> None:
        process = self._process(number)
        if not process.replica.transfer(member(int(target)).replica):
            self._lines.append("refused")
        self._work(process)

    def _do_read(self, number: str) -> None:
        process = self._process(number)
        ticket = process.replica.ask_read()
        if ticket is None:
            self._lines.append("refused")
        else:
            self._tickets.append((process.id, ticket))
        self._work(process)

    def _do_reads(self) -> None:
        for number, ticket in self._tickets:
            state = self._group.processes[number].replica.read_state(ticket)
            self._lines.append(f"{number} round {ticket.round} index {ticket.index}: {state.name}")

    def _do_lease(self) -> None:
        holders = [str(process.id) for process in self._chosen(()) if process.replica.holds_lease()]
        self._lines.append(" ".join(holders) or "nobody")

    def _do_stir(self, number: str) -> None:
        process = self._process(number)
        process.replica.stir()
        self._work(process)

    def _do_asleep(self) -> None:
        sleepers = [str(process.id) for process in self._chosen(()) if process.replica.asleep]
        self._lines.append(" ".join(sleepers) or "nobody")

    def _do_crash(self, number: str, _word: str = "applied", applied: str = "1000000") -> None:
        self._process(number).crash(applied=int(applied))
        self._roles.pop(int(number), None)

    def _do_start(self, number: str) -> None:
        process = self._process(number)
        process.start(process.now_ms)
        self._work(process)

    def _do_forget(self, number: str, index: str) -> None:
        self._process(number).replica.forget(int(index))

    def _do_status(self) -> None:
        for process in self._group.processes.values():
            replica = process.replica
            if not process.alive:
                self._lines.append(f"{process.id} is down")
                continue
            voters = ",".join(str(one.replica) for one in replica.membership.voters)
            learners = ",".join(str(one.replica) for one in replica.membership.learners)
            self._lines.append(
                f"{process.id} {replica.role.name} term {replica.term} leader {replica.leader} "
                f"last {replica.last.index}@{replica.last.term} on disk {replica.persisted_index} "
                f"committed {replica.committed} applied {replica.applied} "
                f"members {voters}{'+' if learners else ''}{learners} v{replica.membership.version}"
                f"{' REMOVED' if replica.removed else ''}"
            )

    def _do_log(self) -> None:
        for process in self._chosen(()):
            entries = process.replica.suffix(process.replica.start.index)
            self._lines.append(f"{process.id}: {' '.join(map(_entry, entries))}")

    def _do_disk(self) -> None:
        for process in self._group.processes.values():
            disk = process.disk
            state = f"term {disk.hard_state.term} vote {disk.hard_state.vote}"
            self._lines.append(f"{process.id}: {state}; {' '.join(map(_entry, disk.entries))}")

    # What they share

    def _process(self, number: str) -> Process:
        return self._group.processes[int(number)]

    def _chosen(self, numbers: tuple[str, ...]) -> list[Process]:
        chosen = [self._process(number) for number in numbers] or list(self._group.processes.values())
        return [process for process in chosen if process.alive]

    def _take(self, links: tuple[str, ...]) -> list[Mail]:
        taken = [one for one in self._group.mail if not links or f"{one.sender}->{one.target}" in links]
        self._group.mail = [one for one in self._group.mail if one not in taken]
        return taken

    def _flush(self, process: Process) -> None:
        self._lines += [f"  {process.id} now sends {show(promise)}" for promise in process.flush()]
        self._work(process)

    def _arrive(self, mail: Mail) -> None:
        process = self._group.processes.get(mail.target)
        if process is None or not process.alive:
            self._lines.append(f"nobody there: {show(mail)}")
            return
        dropped = process.replica.dropped
        process.step(mail)
        self._lines.append(f"{'dropped' if process.replica.dropped > dropped else 'came'}: {show(mail)}")
        self._work(process)

    def _work(self, process: Process) -> bool:
        """Let the process do what it wants done, and write down what that was. Whether it was anything."""
        replica = process.replica
        done = process.settle()
        for ready in done:
            self._lines += [f"  {process.id} {line}" for line in _effects(ready)]
        self._group.collect(process)
        self._group.mail = [one for one in self._group.mail if f"{one.sender}->{one.target}" not in self._cut]
        role = f"{replica.role.name} in term {replica.term}"
        if self._roles.get(process.id, "FOLLOWER in term 0") != role:
            self._roles[process.id] = role
            self._lines.append(f"= {process.id} is {role}")
        return bool(done)


def _effects(ready: Ready) -> list[str]:
    lines = []
    if ready.hard_state:
        lines.append(f"writes term {ready.hard_state.term} vote {ready.hard_state.vote}")
    if ready.entries:
        lines.append(f"writes {' '.join(map(_entry, ready.entries))}")
    lines += [f"sends {show(message)}" for _, message in ready.messages]
    lines += [f"sends after the flush {show(message)}" for _, message in ready.promises]
    if ready.committed:
        lines.append(f"applies {' '.join(map(_entry, ready.committed))}")
    lines += [f"sends a snapshot to {one.replica}" for one in ready.snapshots]
    return lines


def _entry(entry: Entry) -> str:
    match entry.kind:
        case EntryKind.NOOP:
            text = "-"
        case EntryKind.MEMBERSHIP:
            membership = decode_membership(entry.payload)
            text = ",".join(str(one.replica) for one in membership.voters)
            text += "".join(f"+{one.replica}" for one in membership.learners)
        case _:
            text = entry.payload.decode().rstrip()
    return f"{entry.index}@{entry.term}:{text}"


def show(mail: Mail) -> str:
    """One message on one line."""
    link = f"{mail.sender}->{mail.target}"
    match mail:
        case AppendRequest():
            kind = "append" if mail.entries else "heartbeat"
            text = f"{kind} t{mail.term} after {mail.previous_index}@{mail.previous_term} commit {mail.commit} "
            text += f"round {mail.round}" + "".join(" " + _entry(entry) for entry in mail.entries)
            text += " rest" * mail.rest
        case AppendReply(accepted=True):
            text = f"accepted t{mail.term} up to {mail.match} round {mail.round}{' asleep' * mail.asleep}"
        case AppendReply():
            text = f"refused t{mail.term} at {mail.match}, try {mail.hint_index}@{mail.hint_term} round {mail.round}"
        case VoteRequest():
            kind = "pre-vote?" if mail.pre else "ordered vote?" if mail.ordered else "vote?"
            text = f"{kind} t{mail.term} last {mail.last_index}@{mail.last_term}"
        case VoteReply():
            text = f"{'pre-vote' if mail.pre else 'vote'} t{mail.term} {'yes' if mail.granted else 'no'}"
        case TimeoutNow():
            text = f"timeout now t{mail.term} last {mail.last_index}"
        case Snapshot():
            text = f"snapshot {mail.last.index}@{mail.last.term}"
        case Installed():
            text = f"installed {mail.index}" if mail.installed else "not installed"
    return f"{link} {text}"
