"""Each invariant is broken on purpose, by one fault in the product: some seed must notice, and say which."""

from collections.abc import Callable
from typing import Any

import pytest

from zkv.core.cluster.follower import MapFollower
from zkv.core.cluster.shardmap import MapDelta
from zkv.core.node.pipeline import Pipeline
from zkv.core.raft.elections import Standing
from zkv.core.raft.leading import Leadership
from zkv.core.raft.replica import Replica
from zkv.core.shard.sessions import Session, Sessions
from zkv.sim.files import SimDisk
from zkv.sim.plan import Plan
from zkv.sim.run import simulate
from zkv.storage import segments

SEEDS = range(1, 60)
Plant = Callable[[pytest.MonkeyPatch], None]


def forget_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "result", lambda session, sequence: None)


def forget_results_but_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applies retries again; who asks what is remembered still hears it."""
    remembered = Session.result
    monkeypatch.setattr(Session, "result", lambda session, sequence: None)
    monkeypatch.setattr(
        Sessions, "result", lambda sessions, client, sequence: remembered(sessions._sessions[client], sequence)
    )


def commit_what_one_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leadership, "majority_holds", lambda leading: leading._log.last.index)


def promise_before_the_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "promise", lambda pipeline, promise: False)


def lease_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leadership, "holds_lease", lambda leading, now_ms: leading._log.applied >= leading.term_start)


def vote_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def give(standing: Standing, candidate: Any) -> None:
        standing.vote = candidate
        standing.is_new = True

    monkeypatch.setattr(Standing, "give", give)
    answer = Replica._on_vote_request

    def generous(replica: Replica, request: Any) -> bool:
        if not request.pre and request.term == replica.term:
            replica._standing.vote = request.sender
        return answer(replica, request)

    monkeypatch.setattr(Replica, "_on_vote_request", generous)


def skip_changes_of_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(follower: MapFollower, delta: MapDelta) -> None:
        held = follower.map
        assert held is not None
        if delta.version > held.version:
            held.version = delta.version - 1
            held.apply(delta)

    monkeypatch.setattr(MapFollower, "_follow", follow)


def take_damage_for_a_torn_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "vouched_after", lambda data, header, offset: None)


def flush_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimDisk, "flush", lambda disk, file: None)


PLANTED: list[tuple[Plant, str]] = [
    (forget_results, "linearizable: violation"),
    (forget_results_but_show_them, "was applied twice"),
    (commit_what_one_holds, "which is on the disks of"),
    (promise_before_the_flush, "which is on the disks of"),
    (lease_without_end, "lease"),
    (vote_for_all, " lead in term "),
    (skip_changes_of_the_map, "a change was missed"),
    (take_damage_for_a_torn_end, "a log was opened without complaint"),
    (flush_nothing, "refuses a folder that nobody has harmed"),
]
FIRST = {vote_for_all: 31}  # where to begin, if far from the first: what few seeds notice takes a while to meet


@pytest.mark.parametrize(("plant", "said"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_fault_is_noticed(plant: Plant, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    heard: list[str] = []
    first = FIRST.get(plant, SEEDS.start)
    for seed in (*range(first, SEEDS.stop), *range(SEEDS.start, first)):
        report = simulate(seed, Plan(burst_ms=4_000))
        heard += report.failures
        if any(said in failure for failure in report.failures):
            return
    raise AssertionError(f"nobody said {said!r}, only {sorted({failure[:100] for failure in heard})}")
