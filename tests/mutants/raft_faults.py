"""Faults in votes and leases (`zkv/core/raft`)."""

from tests.mutants.mutant import Edit, Mutant

_SCENARIOS = "tests/scenarios/test_scenarios.py"
_REPLICA = "zkv/core/raft/replica.py"
_LEADING = "zkv/core/raft/leading.py"
_STATE = "zkv/core/raft/state.py"
_ELECTIONS = "zkv/core/raft/elections.py"
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
                "self.heard_ms = NEVER_MS if birth else now_ms",
                "self.heard_ms = NEVER_MS",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a voter must restart within a lease that rests on its answer, while a rival asks: not in 160 seeds",
    ),
    Mutant(
        "vote while a leader is heard",
        "9",
        "the lease of a living leader is overtaken",
        (Edit(_REPLICA, "if not request.ordered and (", "if False and ("),),
        seeds=80,
    ),
    Mutant(
        "candidacy right after a jump of the clock",
        "9",
        "a candidate's own vote ends the lease that its last answer carries",
        (
            Edit(
                _ELECTIONS,
                "wait_ms = self._timing.election_ms_min  # its own",
                "pass  # its own",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="the jump must hit the one follower that the leader still hears: one run of 250 with clock leaps",
    ),
    Mutant(
        "who is woken campaigns soon, whomever it hears",
        "9",
        "a candidate's own vote ends the lease that its last answer, given half asleep, carries",
        (
            Edit(
                _ELECTIONS,
                "self.deadline_ms = max(self.now_ms + wait_ms, self.heard_ms + shortest)",
                "self.deadline_ms = self.now_ms + wait_ms",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a question must wake it while another member is away and just before its leader is lost: 1 of 1,900",
    ),
    Mutant(
        "vote for a shorter log",
        "Raft 5.4.1",
        "the new leader lacks what was committed",
        (
            Edit(
                _STATE,
                "fits = up_to_date(last, self._log.last) and (free or request.term > own.term)",
                "fits = free or request.term > own.term",
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
                "if self._log.applied < self.term_start or self.handover.ordered or self._log.splits:",
                "if self._log.applied < self.term_start or self._log.splits:",
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
        seeds=0,
        tests=(_SCENARIOS,),
        why="a ploy shows it (`_sleep`), which is played in one seed of twelve and must meet three chances more",
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
                "if self._log.applied < self.term_start or self.handover.ordered or self._log.splits:",
                "if self.handover.ordered or self._log.splits:",
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
    Mutant(
        "a full follower is fed all the same",
        "6",
        "a follower's reserve goes to what others hold already",
        (
            Edit(
                "zkv/core/raft/leading.py",
                "return {peer for peer in self.peers.values() if peer.full}",
                "return set()",
            ),
        ),
        seeds=0,
        tests=("tests/scenarios/test_scenarios.py",),
        why="harmless until the reserve is gone, and then the simulated disk only waits",
    ),
)

SLEEP = (
    Mutant(
        "a sleeping leader reads without a round",
        "8",
        "what others have committed since is not seen",
        (
            Edit(
                _LEADING,
                "        return self._alone or now_ms <",
                "        return self._alone or self.rest.asked_ms or now_ms <",
            ),
        ),
        seeds=80,
    ),
    Mutant(
        "nobody watches over a sleeping leader's node",
        "8",
        "a shard whose leader is gone has no other until somebody writes to it",
        (
            Edit(
                "zkv/core/node/sleep_watch.py",
                "if leader is None or (leader.node, leader.incarnation) not in living:",
                "if leader is None:",
            ),
        ),
        seeds=0,
        tests=("tests/core/node/test_sleep.py",),
        why="what the simulator ends with asks every shard, and a node that returns campaigns",
    ),
    Mutant(
        "asleep while a member learns",
        "8",
        "a learner is left behind until somebody writes",
        (Edit(_LEADING, "return idle and settled and all(", "return idle and all("),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="what the simulator ends with asks every shard, which wakes it",
    ),
)
