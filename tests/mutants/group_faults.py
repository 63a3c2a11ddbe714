"""Faults in the group of coordinators: its founding, its leader, its members, and who follows it."""

from tests.mutants.mutant import Edit, Mutant

_GROUP = "tests/sim/test_group.py"
_WHY = "the runs that mutants are looked for in have one coordinator"

GROUP = (
    Mutant(
        "a coordinator that does not lead answers",
        "24",
        "a request is answered from a map that others have left behind",
        (
            Edit(
                "zkv/core/cluster/coordinator.py",
                "case _ if not self._leading and not self.alone:",
                "case _ if self.state.map.version == 0 and not self.alone:",
            ),
        ),
        seeds=0,
        tests=(_GROUP,),
        why=_WHY,
    ),
    Mutant(
        "the last change is not said again by who leads next",
        "24",
        "a change whose leader died before its broadcast is a gap, and every subscriber asks for the whole map",
        (
            Edit(
                "zkv/core/cluster/coordinator.py",
                "[delta for delta in self._last if delta.version == self.state.map.version]",
                "[]",
            ),
        ),
        seeds=0,
        tests=("tests/core/cluster/test_coordinator_nodes.py",),
        why=_WHY,
    ),
    Mutant(
        "every coordinator publishes",
        "24",
        "subscribers hear each change from each, late ones after newer ones",
        (
            Edit(
                "zkv/core/node/coordination.py",
                "published = broadcasts if self.succession.leading or self.logic.alone else []",
                "published = broadcasts",
            ),
        ),
        seeds=0,
        tests=(_GROUP,),
        why=_WHY,
    ),
    Mutant(
        "a coordinator publishes without a lease",
        "24",
        "one that was stopped, and followed by another, speaks as the leader when it wakes",
        (
            Edit(
                "zkv/core/node/coordination.py",
                "if self.succession.leading and not self.succession.sure:",
                "if self.succession.leading and not self.host.now_ms:",
            ),
        ),
        seeds=0,
        tests=(_GROUP,),
        why=_WHY,
    ),
    Mutant(
        "a coordinator without its folder votes",
        "1",
        "with the vote of one that has forgotten it, a change of the map that was published is lost",
        (
            Edit(
                "zkv/core/cluster/founding.py",
                "if member.node == self._me.name and member.incarnation == self._incarnation:",
                "if member.node == self._me.name:",
            ),
            Edit(
                "zkv/core/cluster/founding.py",
                "any((voter.node, voter.incarnation) == (meet.name, meet.incarnation) for voter in membership.voters)",
                "any(voter.node == meet.name for voter in membership.voters)",
            ),
        ),
        seeds=0,
        tests=(_GROUP,),
        why=_WHY,
    ),
    Mutant(
        "a founder that lost its folder founds again",
        "1",
        "two groups under the same names, one of which has half of the members' word",
        (
            Edit(
                "zkv/core/cluster/founding.py",
                "return same and other.replica == 0 and (self._me.name, self._incarnation) in other.heard",
                "return same and other.replica == 0",
            ),
        ),
        seeds=0,
        tests=("tests/core/cluster/test_founding.py",),
        why="a disk would have to be lost within the milliseconds of the founding",
    ),
    Mutant(
        "a new leader counts nodes down at once",
        "24",
        "every node passes for dead because a coordinator died",
        (
            Edit(
                "zkv/core/cluster/liveness.py",
                "        self.contests.clear()\n        self.fresh_ms = self.now_ms",
                "        self.contests.clear()",
            ),
        ),
        seeds=0,
        tests=(_GROUP,),
        why=_WHY,
    ),
    Mutant(
        "a node stays with a silent coordinator",
        "24",
        "it counts as down although it could reach the one that leads",
        (Edit("zkv/core/cluster/choice.py", ">= SILENT_MS:", ">= 100 * SILENT_MS:"),),
        seeds=0,
        tests=(_GROUP,),
        why=_WHY,
    ),
)
