"""What the coordinators' commands come to in words, for the log of who leads."""

from typing import Final

from zkv.core.cluster.commands import CoordinatorState, MapCommand
from zkv.core.cluster.merges import told_of_merge
from zkv.core.cluster.operators import told_of_plan
from zkv.core.cluster.registrar import told_of
from zkv.core.cluster.splits import told_of_split

EVENTS_MAX: Final = 1_000  # lines kept until the shell takes them; the oldest go first


class Chronicle:
    """Lines since they were last taken. What was told already is not told again."""

    def __init__(self, state: CoordinatorState) -> None:
        self._lines: list[str] = []
        self.begin(state)

    def begin(self, state: CoordinatorState) -> None:
        """The state is another, all at once."""
        self._nodes = dict(state.map.nodes)
        self._plans = {number: told_of_plan(plan) for number, plan in state.operators.items()}

    def take(self) -> list[str]:
        """The lines so far."""
        lines, self._lines = self._lines, []
        return lines

    def tell(self, command: MapCommand) -> None:
        """The command has taken effect."""
        self._lines += [f"node {gone} belongs to the cluster no longer" for gone in command.delta.dropped_nodes]
        for node in command.delta.nodes:
            self._lines.append(told_of(self._nodes.get(node.node), node))
            self._nodes[node.node] = node
        for plan in command.operators:
            line = told_of_plan(plan)
            if self._plans.get(plan.id) != line:
                self._lines.append(line)
            self._plans[plan.id] = line
        self._lines += map(told_of_split, command.splits)
        self._lines += map(told_of_merge, command.merges)
        for done in command.finished:
            self._plans.pop(done, None)
        del self._lines[:-EVENTS_MAX]
