"""Faults in the shard map, the coordinator, the client's routing and its retries, and the order of a turn."""

from tests.mutants.mutant import Edit, Mutant

_SCENARIOS = "tests/scenarios/test_scenarios.py"
_FOLLOWER = "zkv/core/cluster/follower.py"
_MAPSTATE = "zkv/core/cluster/mapstate.py"
_RECOVERY = "zkv/core/routing/recovery.py"

MAP = (
    Mutant(
        "delta applied over a gap",
        "25",
        "a map lacks a change for ever",
        (
            Edit(_FOLLOWER, "if delta.version == held.version + 1:", "if delta.version > held.version:"),
            Edit(_MAPSTATE, "if delta.version != self.version + 1:", "if delta.version <= self.version:"),
        ),
    ),
    Mutant(
        "snapshot older than the first kept delta taken",
        "25",
        "a map lacks the changes between them",
        (
            Edit(
                _FOLLOWER,
                "if snapshot.version < self._least or self._would_turn_back(snapshot):",
                "if self._would_turn_back(snapshot):",
            ),
            Edit(_MAPSTATE, "if delta.version != self.version + 1:", "if delta.version <= self.version:"),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a snapshot must be older than a change that was heard before it was asked for",
    ),
    Mutant(
        "a beacon shows no gap",
        "25",
        "a lost last change is never noticed",
        (Edit(_FOLLOWER, "if beacon.version > self._newest():", "if False:"),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="leaders change after the last fault, and the next change shows the gap, too",
    ),
    Mutant(
        "an old snapshot turns the map back",
        "25",
        "a map goes back, and with it the requests",
        (
            Edit(
                _FOLLOWER,
                "if snapshot.version < self._least or self._would_turn_back(snapshot):",
                "if False:",
            ),
        ),
    ),
    Mutant(
        "published before it is committed",
        "24",
        "a change that a crash takes back was heard",
        (
            Edit(
                "zkv/core/cluster/coordinator.py",
                "        return [encode(self._proposed)] if self._proposed is not None else []",
                "        if self._proposed is not None:\n"
                "            self._broadcasts.append(self._proposed.delta)\n"
                "        return [encode(self._proposed)] if self._proposed is not None else []",
            ),
        ),
        tests=("tests/core/cluster/test_coordinator.py",),
        seeds=0,
        why="the power must fail within one flush of the coordinator, and the next command be another one",
    ),
    Mutant(
        "an old leader's news is taken",
        "24",
        "who was deposed turns the map back",
        (
            Edit(
                _MAPSTATE,
                "if held is None or held.table != info.table or not is_newer(info, held):",
                "if held is None or held.table != info.table:",
            ),
        ),
    ),
    Mutant(
        "an old leader's report is taken",
        "24",
        "who was deposed turns the map back",
        (
            Edit(
                "zkv/core/cluster/reports.py",
                "if told.leader and (told.term > held.term or (told.term == held.term and not held.leader)):",
                "if told.leader:",
            ),
            Edit(
                "zkv/core/cluster/reports.py",
                '    assert report_order(info) >= report_order(held), "a report turned the map back"\n',
                "",
            ),
        ),
        seeds=0,
        tests=(
            _SCENARIOS,
            "tests/core/cluster/test_coordinator.py",
        ),
        why="harmless by itself: the map keeps the newer of the two (`kept`)",
    ),
    Mutant(
        "a shard being created is begun anew when nodes are silent",
        "24",
        "acknowledged writes are dropped with the shard that took them",
        (
            Edit(
                "zkv/core/cluster/replacement.py",
                "if len(voters) - len(gone) < majority(len(voters)):",
                "if any(not standing.is_up(voter.node) for voter in voters):",
            ),
        ),
    ),
    Mutant(
        "a lost replica's id is used again",
        "1",
        "a replica that forgot everything answers under its old name",
        (
            Edit(
                "zkv/core/cluster/replacement.py",
                "(voter,), draft.new_member(node), why))",
                "(voter,), structs.replace(voter, incarnation=node.incarnation), why))",
            ),
        ),
    ),
    Mutant(
        "the old replica is removed first",
        "11",
        "a group passes through one voter fewer",
        (
            Edit(
                "zkv/core/cluster/operators.py",
                "    if plan.fresh in membership.learners:\n",
                "    for voter in membership.voters:\n"
                "        if voter in plan.lost:\n"
                '            return NextStep("remove", voter)\n'
                "    if plan.fresh in membership.learners:\n",
            ),
        ),
    ),
)

ROUTING = (
    Mutant(
        "retry under a new number",
        "12",
        "a write whose answer was lost is applied again",
        (
            Edit(
                _RECOVERY,
                "            part.tries += 1\n            part.detail, part.blame = detail, Timeout\n",
                "            part.tries += 1\n            part.first = 0\n"
                "            part.detail, part.blame = detail, Timeout\n",
            ),
        ),
    ),
    Mutant(
        "a write in doubt gets new numbers",
        "13",
        "a write that a forgotten session has done is done again",
        (
            Edit(
                "zkv/core/routing/answers.py",
                "if part.run is None or part.may_have_happened or refused.effect != EFFECT_NONE:",
                "if part.run is None:",
            ),
        ),
        seeds=100,
        tests=(_SCENARIOS,),
    ),
    Mutant(
        "a lost answer is called no effect",
        "17",
        "a write that was done is reported as undone",
        (
            Edit(
                "zkv/core/routing/retry.py",
                'return "unknown" if part.request.kind == WRITE and part.may_have_happened else "none"',
                'return "none"',
            ),
        ),
    ),
    Mutant(
        "an answer to another attempt counts",
        "12",
        "what one node refused is taken for another's word",
        (
            Edit(
                "zkv/core/routing/answers.py",
                "if attempt.superseded and refused.effect != EFFECT_DONE:",
                "if False:",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="no wrong answer: what is under way is only repeated too soon",
    ),
    Mutant(
        "late news that a write was done is not heeded",
        "17",
        "a write that stands is reported as undone",
        (
            Edit(
                "zkv/core/routing/answers.py",
                "if attempt.superseded and refused.effect != EFFECT_DONE:",
                "if attempt.superseded:",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="one run in a thousand has such news come so late",
    ),
    Mutant(
        "the lowest awaited number runs ahead",
        "12",
        "results that a retry will ask for are dropped",
        (
            Edit(
                "zkv/core/routing/session.py",
                "return runs[0].first if runs else self._next",
                "return self._next",
            ),
        ),
        seeds=0,
        tests=(
            "tests/core/routing/test_session.py",
            _SCENARIOS,
        ),
        why="a retry is refused with effect unknown: no wrong answer, only a worse one",
    ),
    Mutant(
        "a forwarded request is forwarded again",
        "24",
        "nodes with stale maps pass a request round between them",
        (
            Edit(
                "zkv/core/node/node.py",
                "self._take(group, route, pass_on=False)",
                "self._take(group, route, pass_on=True)",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="no wrong answer, only a longer way",
    ),
    Mutant(
        "a leader that changed is not followed",
        "24",
        "requests wait at a deposed leader for their time to be up",
        (
            Edit(
                _RECOVERY,
                "        if not attempt.superseded and _leader_moved(attempt, shard_map):",
                "        if False:",
            ),
        ),
        seeds=0,
        tests=(
            "tests/core/routing/test_map.py",
            _SCENARIOS,
        ),
        why="no wrong answer, only a later one",
    ),
)

TURN = (
    Mutant(
        "clock read before the drain (in the simulator's shell)",
        "8",
        "a leader that was stopped in between judges its lease by the time before",
        (Edit("zkv/sim/processes.py", "CLOCK_AFTER_DRAIN = True", "CLOCK_AFTER_DRAIN = False"),),
        seeds=80,
    ),
    Mutant(
        "clock read before the drain (in the node's shell)",
        "8",
        "a leader that was stopped in between judges its lease by the time before",
        (
            Edit("zkv/server/node.py", "        now = now_ms()  # after the last message was received (rule 8)\n", ""),
            Edit(
                "zkv/server/node.py",
                "        clients = drain.drain_router(self.router) if self.router in ready else []\n",
                "        now = now_ms()\n"
                "        clients = drain.drain_router(self.router) if self.router in ready else []\n",
            ),
        ),
        seeds=0,
        tests=("tests/server/test_node_turn.py",),
        why="the simulator has a shell of its own, which is mutated beside this one",
    ),
)
