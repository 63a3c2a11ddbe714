"""Faults in the replication of the log, and in who belongs to a group."""

from tests.mutants.mutant import Edit, Mutant

_SCENARIOS = "tests/scenarios/test_scenarios.py"
_REPLICA = "zkv/core/raft/replica.py"
_LEADING = "zkv/core/raft/leading.py"
_ELECTIONS = "zkv/core/raft/elections.py"
_LOG = "zkv/core/raft/log.py"
_STATE = "zkv/core/raft/state.py"

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
            Edit(_LEADING, "if self._log.changes:", "if False:"),
        ),
    ),
    Mutant(
        "membership changed before an entry of the own term",
        "11",
        "a change that an earlier leader began and this one overlap",
        (Edit(_LEADING, "if self._log.committed < self.term_start:", "if False:"),),
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
        tests=("tests/core/raft/test_replica_votes.py",),
        why="members change only after a lost disk, and are applied at once unless the own disk is slow",
    ),
    Mutant(
        "a learner is promoted before it has caught up",
        "11",
        "the group waits for who has nothing yet",
        (
            Edit(
                _LEADING,
                'if change == "promote" and not self.caught_up(',
                "if False and not self.caught_up(",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="the coordinator orders it once the leader has reported the learner level: this is the second lock",
    ),
    Mutant(
        "the last live quorum is taken apart",
        "24",
        "the coordinator's order leaves a shard without a majority",
        (Edit(_LEADING, 'if change == "remove" and not', "if False and not"),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="the simulator loses a disk only while all others are well",
    ),
)
