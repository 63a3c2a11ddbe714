"""Faults in evening out range tables: what would let replicas or leads swing to and fro."""

from tests.mutants.mutant import Edit, Mutant

_EVENNESS = "zkv/core/cluster/evenness.py"
_TESTS = ("tests/core/cluster/test_evenness.py",)
_WHY = "the simulator's runs take seconds, and it asks for replicas to be where they should, not for them to rest"

EVENNESS = (
    Mutant(
        "a node is evened out as soon as it is away from its share",
        "evenness",
        "no hysteresis: with every breath of the load something moves",
        (
            Edit(
                _EVENNESS,
                "part, least = (self._bounds.end, 0.5) if node in before else (self._bounds.begin, 1.0)",
                "part, least = (self._bounds.end, 0.5)",
            ),
        ),
        seeds=0,
        tests=_TESTS,
        why=_WHY,
    ),
    Mutant(
        "a replica moves for no gain",
        "evenness",
        "the largest shard goes round, and with it the place where there is too much",
        (
            Edit(
                _EVENNESS,
                "        return (self.fullness(source) * share - self.loads[target]) / (1 + gain * share / "
                "self._shares[source])\n",
                "        return self.loads[source] + 0 * gain * share\n",
            ),
        ),
        seeds=0,
        tests=_TESTS,
        why=_WHY,
    ),
    Mutant(
        "a shard that has just moved may move again",
        "evenness",
        "what is not known to have arrived is sent on",
        (Edit(_EVENNESS, "if own.is_free and own.shard not in moved and", "if own.is_free and"),),
        seeds=0,
        tests=_TESTS,
        why=_WHY,
    ),
    Mutant(
        "replicas move by what was asked lately",
        "evenness",
        "load that comes and goes drags replicas after it",
        (Edit(_EVENNESS, "return piece.steady + LEAD_REQUESTS", "return piece.requests + LEAD_REQUESTS"),),
        seeds=0,
        tests=_TESTS,
        why=_WHY,
    ),
    Mutant(
        "leads follow what was said last",
        "evenness",
        "leaders' figures shake, and leads with them",
        (Edit("zkv/core/cluster/heard.py", "LATELY_HALF_MS: Final = 60_000", "LATELY_HALF_MS: Final = 1"),),
        seeds=0,
        tests=("tests/sim/test_placement.py",),
        why=_WHY,
    ),
    Mutant(
        "range tables are evened out while a node is away",
        "evenness",
        "a node that restarts comes back to replicas that are on their way to others",
        (Edit("zkv/core/cluster/evening.py", "        if not may_plan:\n", "        if may_plan is None:\n"),),
        seeds=0,
        tests=("tests/core/cluster/test_evening.py",),
        why=_WHY,
    ),
)
