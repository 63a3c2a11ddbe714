"""Faults in votes, leases, replication and memberships (`zkv/core/raft`)."""

from tests.mutants.mutant import Edit, Mutant

_SCENARIOS = "tests/scenarios/test_scenarios.py"
_REPLICA = "zkv/core/raft/replica.py"
_LEADING = "zkv/core/raft/leading.py"
_ELECTIONS = "zkv/core/raft/elections.py"
_LOG = "zkv/core/raft/log.py"
_STATE = "zkv/core/raft/state.py"
_READS = "zkv/core/raft/reads.py"

VOTES = (
    Mutant(
        "vote sent before its flush",
        "7",
        "a voter that crashes forgets its vote and gives another in the same term",
        (
            Edit(
                _REPLICA,
                "self._send(reply, to=self._out.promises if granted and not request.pre else self._out.messages)",
                "self._send(reply, to=self._out.messages)",
            ),
        ),
    ),
    Mutant(
        "vote forgotten at restart",
        "7",
        "two votes in one term, before and after a restart",
        (Edit(_ELECTIONS, "self.vote = hard_state.vote", "self.vote = NOBODY"),),
        seeds=0,
        tests=("tests/core/raft/test_elections.py",),
        why="the second request in that term would have to come an election timeout after the restart (rule 9)",
    ),
    Mutant(
        "vote right after restart",
        "9",
        "a voter whose answer carries a lease helps to elect another leader beside it",
        (
            Edit(
                _ELECTIONS,
                "self.heard_ms = NEVER_MS if newborn else now_ms",
                "self.heard_ms = NEVER_MS",
            ),
        ),
        seeds=80,
    ),
    Mutant(
        "vote while a leader is heard",
        "9",
        "the lease of a living leader is overtaken",
        (Edit(_REPLICA, "if not request.ordered and (", "if False and ("),),
        seeds=80,
    ),
    Mutant(
        "vote for a shorter log",
        "Raft 5.4.1",
        "the new leader lacks what was committed",
        (
            Edit(
                _REPLICA,
                "granted = up_to_date(last, self._log.last) and (free or request.term > own.term)",
                "granted = free or request.term > own.term",
            ),
        ),
    ),
    Mutant(
        "requests for votes leave before the flush",
        "7",
        "after a crash it asks again in the same term with a shorter log, and a late vote counts",
        (
            Edit(
                _REPLICA,
                "self._send(request, to=self._out.messages if pre else self._out.promises)",
                "self._send(request, to=self._out.messages)",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="two campaigns of one replica in one term, a crash between them, and a vote that comes between",
    ),
    Mutant(
        "late TimeoutNow obeyed",
        "10",
        "an order that is long overtaken deposes a leader in its lease",
        (
            Edit(
                _REPLICA,
                "fits = order.term == self.term and order.sender == self.leader and order.last_index "
                "== self._log.last.index",
                "fits = True",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="the order must outlive its leader, and find another term's leader within its lease and cut off",
    ),
)

LEASES = (
    Mutant(
        "lease kept over a transfer of leadership",
        "10",
        "the old leader answers reads while the new one writes",
        (
            Edit(
                _LEADING,
                "if self._log.applied < self.term_start or self.handover.ordered:",
                "if self._log.applied < self.term_start:",
            ),
        ),
    ),
    Mutant(
        "lease kept after a stop of the process",
        "8",
        "a leader that was stopped answers reads from its sleep",
        (
            Edit(
                _LEADING,
                "return self._alone or now_ms < self.rounds.answered_sent_ms + self._timing.lease_ms",
                "return self._alone or now_ms < max(self.rounds.answered_sent_ms + self._timing.lease_ms, "
                "self._patient_until_ms)",
            ),
        ),
    ),
    Mutant(
        "lease from the answer's arrival",
        "8",
        "an answer that waited in a queue carries a lease that is over",
        (
            Edit(
                _LEADING,
                "return self._alone or now_ms < self.rounds.answered_sent_ms + self._timing.lease_ms",
                "heard = [peer.heard_ms for peer in self._voting if peer.round] + [now_ms]\n"
                "        return self._alone or (len(heard) > len(self._voting) // 2 + 1 and now_ms < "
                "reached(heard) + self._timing.lease_ms)",
            ),
        ),
    ),
    Mutant(
        "lease longer than an election",
        "8",
        "another leader is elected and writes within it",
        (
            Edit(
                _LEADING,
                "now_ms < self.rounds.answered_sent_ms + self._timing.lease_ms",
                "now_ms < self.rounds.answered_sent_ms + 2 * self._timing.lease_ms",
            ),
        ),
        seeds=80,
    ),
    Mutant(
        "lease before an own entry is applied",
        "8",
        "a new leader answers before it has applied what is committed",
        (
            Edit(
                _LEADING,
                "if self._log.applied < self.term_start or self.handover.ordered:",
                "if self.handover.ordered:",
            ),
        ),
    ),
    Mutant(
        "read-index without a round",
        "8",
        "a deposed leader answers reads",
        (
            Edit(
                _LEADING,
                "if self.rounds.answered >= ticket.round and self._log.applied >= ticket.index:",
                "if self._log.applied >= ticket.index:",
            ),
        ),
    ),
    Mutant(
        "read-index counts an earlier round",
        "8",
        "the answer to a round before the read was asked says nothing about it",
        (
            Edit(
                _LEADING,
                "return ReadTicket(self._name.term, self.rounds.current + 1, ",
                "return ReadTicket(self._name.term, self.rounds.current, ",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="one round trip of a leader that has lost its lease and does not know it",
    ),
    Mutant(
        "read-index below the term's first entry",
        "8",
        "a new leader answers without what was committed before it",
        (
            Edit(
                _LEADING,
                "self.rounds.current + 1, max(self._log.committed, self.term_start))",
                "self.rounds.current + 1, self._log.committed)",
            ),
        ),
    ),
    Mutant(
        "staleness counted before it is applied",
        "19",
        "r=any calls itself fresher than it is",
        (
            Edit(
                _READS,
                "if self._awaited is not None and self._awaited[0] <= applied:",
                "if self._awaited is not None:",
            ),
        ),
    ),
    Mutant(
        "stamp given back without a lease",
        "19",
        "a deposed leader calls its followers fresh",
        (
            Edit(
                "zkv/core/raft/sending.py",
                "echo_ms = peer.stamp_ms if self._lease else -1",
                "echo_ms = peer.stamp_ms",
            ),
        ),
        seeds=0,
        tests=(
            "tests/core/raft/test_reads.py",
            "tests/scenarios/test_raft_schedules.py",
        ),
        why="of three voters, whoever a deposed leader reaches has heard of the next: four and five show it",
    ),
)

REPLICATION = (
    Mutant(
        "append acknowledged before its flush",
        "7",
        "what was acknowledged is lost with the power",
        (
            Edit(
                _REPLICA,
                "self._send(reply, to=self._out.messages if durable else self._out.promises)",
                "self._send(reply, to=self._out.messages)",
            ),
        ),
    ),
    Mutant(
        "leader counts its own copy before its flush",
        "7",
        "what was acknowledged is on a minority's disks",
        (Edit(_LEADING, "held.append(self._log.persisted)", "held.append(self._log.last.index)"),),
    ),
    Mutant(
        "commit counted for an old term",
        "Raft 5.4.2",
        "figure 8: an entry that was committed is overwritten",
        (
            Edit(
                _REPLICA,
                "if index > self._log.committed and self._log.term_at(index) == self.term:",
                "if index > self._log.committed:",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="an old entry and the new term's first travel in one append unless the old one is large",
    ),
    Mutant(
        "stale flush counted",
        "7",
        "the flush of entries that were cut off counts for those that took their place",
        (
            Edit(
                _LOG,
                "if last.index >= self._unwritten or not self.holds(last):",
                "if last.index >= self._unwritten:",
            ),
            Edit(_ELECTIONS, "if term != self.term or term != self._handed_term:", "if term > self.term:"),
        ),
        seeds=0,
        tests=(
            _SCENARIOS,
            "tests/core/raft",
        ),
        why="a flush that outlasts an election, and a log that grows past it before it ends",
    ),
    Mutant(
        "engine ahead of the own flush",
        "3",
        "after a power cut the engine holds what the log does not",
        (Edit(_LOG, "until = min(self.committed, self.persisted)", "until = self.committed"),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="harmless by itself: an engine ahead of its log restarts the log from the applied row (rule 21)",
    ),
    Mutant(
        "a late append shortens the log",
        "Raft 5.3",
        "entries that were acknowledged give way to a message that came late",
        (
            Edit(
                _LOG,
                "if self.term_at(entry.index) != entry.term:",
                "if self.term_at(entry.index) != entry.term or entry.index > self.committed:",
            ),
        ),
    ),
    Mutant(
        "the entry before is not compared",
        "Raft 5.3",
        "a log with another past takes a leader's entries",
        (Edit(_LOG, "elif not self.holds(previous):", "elif self.term_at(previous.index) is None:"),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a tail must be longer than the log that replaces it at the moment when they meet",
    ),
    Mutant(
        "follower commits what the leader did not send",
        "Raft 5.3",
        "an old leader's tail is applied",
        (
            Edit(
                _REPLICA,
                "log.commit_to(min(request.commit, match))",
                "log.commit_to(min(request.commit, log.last.index))",
            ),
        ),
    ),
    Mutant(
        "answers of an earlier term count",
        "8",
        "a leader has a lease and copies from what it was told in another life",
        (
            Edit(
                _REPLICA,
                "if leading is None or reply.term != self.term or not",
                "if leading is None or reply.term > self.term or not",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="answers that outlive a term, to a replica that leads the next one, too",
    ),
)

MEMBERS = (
    Mutant(
        "learners count",
        "11",
        "a write is acknowledged by who may vanish",
        (
            Edit(
                _LEADING,
                "voters = [member.replica for member in membership.voters]",
                "voters = [member.replica for member in (*membership.voters, *membership.learners)]",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="harmless with three voters and one learner: three of the four always hold two voters",
    ),
    Mutant(
        "two changes of membership at once",
        "11",
        "two majorities that share nobody",
        (
            Edit(
                _REPLICA,
                "if self.membership.version != expected:",
                "if False:",
            ),
            Edit(_REPLICA, "if self._log.changes:", "if False:"),
        ),
    ),
    Mutant(
        "membership changed before an entry of the own term",
        "11",
        "a change that an earlier leader began and this one overlap",
        (Edit(_REPLICA, "if self._log.committed < leading.term_start:", "if False:"),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a change of members and a change of leaders within one round trip",
    ),
    Mutant(
        "campaign with an unapplied change",
        "11",
        "a leader is elected by a majority of yesterday's voters",
        (
            Edit(
                _STATE,
                " and not (changes and changes[0] <= self._log.committed)",
                "",
            ),
        ),
        seeds=0,
        tests=("tests/core/raft/test_replica.py",),
        why="members change only after a lost disk, and are applied at once unless the own disk is slow",
    ),
    Mutant(
        "a learner is promoted before it has caught up",
        "11",
        "the group waits for who has nothing yet",
        (
            Edit(
                _REPLICA,
                'if change == "promote" and not leading.caught_up(',
                "if False and not leading.caught_up(",
            ),
        ),
        seeds=80,
    ),
    Mutant(
        "the last live quorum is taken apart",
        "24",
        "the coordinator's order leaves a shard without a majority",
        (Edit(_REPLICA, 'if change == "remove" and not', "if False and not"),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="the simulator loses a disk only while all others are well",
    ),
)
