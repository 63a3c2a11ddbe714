"""Faults in what moves replicas: plans, their steps, what is left behind, and who may be given up."""

from tests.mutants.mutant import Edit, Mutant

_OPERATORS = "zkv/core/cluster/operators.py"
_UPKEEP_TESTS = "tests/core/cluster/test_upkeep.py"

MOVES = (
    Mutant(
        "a learner beside a voter that stays replaces another",
        "11",
        "it never catches up, for a node holds one replica of a shard, and the plan is never done",
        (Edit("zkv/core/cluster/replacement.py", "target.node in others else", "False else"),),
        seeds=0,
        tests=("tests/core/cluster/test_coordinator_disks.py",),
        why="a voter must pass for missing, be found, and another die before what was begun is gone: 1 seed in 1,900",
    ),
    Mutant(
        "a move gives up its replica before the others are in sync",
        "11",
        "for a while a shard has fewer copies than its table wants",
        (
            Edit(
                _OPERATORS,
                "    kept = len(info.membership.voters) - 1 if is_of_use and member in info.membership.voters else 0\n",
                "    kept = 0\n",
            ),
        ),
        seeds=0,
        tests=(_UPKEEP_TESTS,),
        why="another voter must lag just as the move ends: not in 40 seeds",
    ),
    Mutant(
        "a leader does not look who would be left by a move",
        "24",
        "for a while a shard has fewer copies than its table wants",
        (
            Edit(
                "zkv/core/raft/leading.py",
                "return count > 0 and fit + stays >= max(majority(count), kept)",
                "return count > 0 and fit + stays >= majority(count)",
            ),
        ),
        seeds=0,
        tests=("tests/core/raft/test_replica_leading.py",),
        why="another voter must lag just as the move ends: not in 40 seeds",
    ),
    Mutant(
        "a removed replica that did not hear of it is never told",
        "22",
        "its rows stay on the disk for ever",
        (Edit("zkv/core/cluster/orders.py", "        yield from self._dismissals()\n", ""),),
        tests=(_UPKEEP_TESTS,),
        elastic=True,
    ),
    Mutant(
        "a removed replica goes before the others know that it is removed",
        "22",
        "who counts by the members before finds no majority if another replica is lost",
        (
            Edit(
                "zkv/core/cluster/reports.py",
                "if report.info.membership.version <= shard.membership.version and self._is_known(shard):",
                "if report.info.membership.version <= shard.membership.version:",
            ),
        ),
        seeds=0,
        tests=(_UPKEEP_TESTS,),
        why="a leader must lose its disk before any other has heard of the removal that it has committed",
    ),
    Mutant(
        "a voter goes where none is too many",
        "11",
        "a shard goes on with one voter fewer",
        (
            Edit(
                _OPERATORS,
                "        if voter in plan.lost and len(membership.voters) > wanted:",
                "        if voter in plan.lost:",
            ),
        ),
        seeds=0,
        tests=("tests/core/cluster/test_operators.py",),
        why="a plan must be turned twice while a removal that it ordered first is not committed",
    ),
    Mutant(
        "a plan turned back too late removes what has taken the old one's place",
        "22",
        "a shard goes on with one voter fewer, or asks for a replica that has deleted itself",
        (
            Edit(
                _OPERATORS,
                "    if plan.undone and plan.fresh not in membership.voters:\n"
                '        return NextStep("done", plan.fresh)  # what was to stay has gone before the '
                "plan was turned back\n",
                "",
            ),
        ),
        seeds=0,
        tests=("tests/core/cluster/test_operators.py",),
        why="the removal that was ordered last must overtake the order to take it back, within a turn",
    ),
    Mutant(
        "a replica that was removed is asked for again",
        "1",
        "it has deleted itself and never catches up; the plan never ends",
        (
            Edit(
                "zkv/core/cluster/replacement.py",
                "    is_spent = plan.joined and find(members, plan.fresh.replica) is None\n",
                "    is_spent = False\n",
            ),
        ),
        seeds=0,
        tests=(_UPKEEP_TESTS,),
        why="an order to remove it must overtake the one that the plan came to want it by",
    ),
    Mutant(
        "a learner that no plan wants stays",
        "11",
        "an order that came too late leaves a learner for ever",
        (
            Edit(
                "zkv/core/cluster/replacement.py",
                "            for learner in extra_learners(info, plans):\n"
                "                _dismiss(draft, info, learner)\n",
                "            del plans\n",
            ),
        ),
        tests=(_UPKEEP_TESTS,),
        elastic=True,
    ),
    Mutant(
        "an empty learner keeps its place",
        "22",
        "the next learner of the shard on that node never comes into being",
        (
            Edit(
                "zkv/core/node/empty_learners.py",
                "        return [self._let_go(one) for one in empty if now_ms - since[one.replica.id] >= SILENT_MS]",
                "        return []",
            ),
        ),
        seeds=0,
        tests=("tests/core/node/test_replicas_that_go.py",),
        why="the word of its removal must be lost, and the coordinator have no more use for its node",
    ),
    Mutant(
        "a replica that was found again is replaced all the same",
        "24",
        "its node can hold only one of the two, so the plan never ends",
        (
            Edit(
                "zkv/core/cluster/replacement.py",
                "return found_again(plan, found[-1]) if found and len(found) < len(voters) else plan",
                "return plan",
            ),
        ),
        seeds=0,
        tests=("tests/core/cluster/test_coordinator_disks.py",),
        why="a Register must come late, just when what it leaves out has become a voter (seed 30147 once did it)",
    ),
    Mutant(
        "a node is given up as soon as it is silent",
        "24",
        "every restart of a node moves all that it holds",
        (
            Edit(
                "zkv/core/cluster/upkeep.py",
                "        return info.state == NodeState.DOWN and is_late",
                "        return info.state == NodeState.DOWN",
            ),
        ),
        seeds=0,
        tests=(_UPKEEP_TESTS,),
        why="no promise is broken, only much is moved for nothing",
    ),
    Mutant(
        "a plan is applied to a map that has changed",
        "24",
        "what moves is not what was shown",
        (
            Edit(
                "zkv/core/cluster/changes.py",
                "                if change.plan and change.plan != fingerprint(self._state):\n",
                "                if False:\n",
            ),
        ),
        seeds=0,
        tests=(_UPKEEP_TESTS,),
        why="no promise of the data is broken, only one to the operator",
    ),
)
