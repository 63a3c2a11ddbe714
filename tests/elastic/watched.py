"""A mixed load at a steady rate from processes of its own; what its clients saw is kept, judged and measured."""

import math
from pathlib import Path
from typing import Self

from zkv.chaos import figures
from zkv.chaos.crew import Crew
from zkv.chaos.final_reads import read_all
from zkv.chaos.history_file import now_ns
from zkv.chaos.keys import GENERATION_S, HASH, RANGE, SHARDS, SPLITS
from zkv.chaos.load import LoadSettings
from zkv.checkers.history import Call, Verb, from_lines
from zkv.checkers.judgement import judge
from zkv.checkers.verdict import Status
from zkv.testing import Cluster

_PROCESSES, _TASKS = 2, 8
_PATIENCE_S = 10.0
_FAILED = ("none", "unknown")


class Watched:
    """Between `__enter__` and `end`, so many operations a second go to two tables, of which `hash` and `range`."""

    def __init__(self, cluster: Cluster, folder: Path, *, rate_per_s: float, seed: int = 1) -> None:
        self.calls: list[Call] = []
        self._cluster = cluster
        self._folder = folder
        self._began_ns = now_ns()
        folder.mkdir(parents=True)
        with cluster.client(timeout_s=30.0) as client:
            client.create_table(HASH, "hash", replicas=3, shards=SHARDS)
            client.create_table(RANGE, "range", replicas=3, splits=SPLITS)
        self._crew = Crew(
            [
                LoadSettings(
                    name=f"p{number}",
                    addresses=cluster.addresses(),
                    tables=[HASH, RANGE],
                    history=str(folder / f"history-p{number}.jsonl"),
                    seed=seed,
                    rate_per_s=rate_per_s / _PROCESSES,
                    tasks=_TASKS,
                    began_ns=self._began_ns,
                    timeouts_s=(_PATIENCE_S,),
                )
                for number in range(1, _PROCESSES + 1)
            ],
            folder,
        )

    def __enter__(self) -> Self:
        self._crew.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._crew.__exit__(None, None, None)

    def end(self) -> None:
        """No more is asked; every key is read once more, and `calls` is the whole history."""
        self._crew.stop()
        generations = math.ceil((now_ns() - self._began_ns) / 1e9 / GENERATION_S)
        with self._cluster.client(timeout_s=30.0) as client:
            read_all(client, [HASH, RANGE], generations, self._folder / "history-final.jsonl")
        for path in sorted(self._folder.glob("history-*.jsonl")):
            with path.open("rb") as lines:
                self.calls += from_lines(lines)

    def failed(self) -> int:
        """Requests that ended in an error; a condition that did not hold is none."""
        return sum(call.effect in _FAILED and not (call.outcome and call.outcome.failed) for call in self.calls)

    def wrong(self) -> list[str]:
        """What the history says against the cluster, in words."""
        found = [f"{v.checker}: {v.status.value}" for v in judge(self.calls, drift=0.01) if v.status != Status.PASSED]
        lost, doubled = figures.lost(self.calls), figures.doubled(self.calls)
        return found + [f"{lost} lost"] * bool(lost) + [f"{doubled} doubled"] * bool(doubled)

    def p99_ms(self, begin_ns: int, end_ns: int) -> float:
        """Of the requests that began in that time and were answered, scans apart."""
        took = sorted(
            call.completed_ns - call.invoked_ns
            for call in self.calls
            if call.completed_ns and begin_ns <= call.invoked_ns < end_ns and call.op is not Verb.MEMBERS
        )
        return took[len(took) * 99 // 100] / 1e6 if took else 0.0
