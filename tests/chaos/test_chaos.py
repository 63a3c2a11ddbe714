"""`zkv chaos` from end to end: it passes, leaves its evidence, notices what is wrong, and leaves no process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from zkv.chaos.figures import FINAL
from zkv.chaos.verdict import Ran, reach
from zkv.checkers.history import Call, Verb, from_lines
from zkv.testing import Cluster

CHAOS = [sys.executable, "-m", "zkv.cli.main", "chaos"]


def chaos(*words: str, expected: int = 0) -> dict[str, object]:
    ended = subprocess.run([*CHAOS, *words, "--json"], capture_output=True, text=True, timeout=240)
    assert ended.returncode == expected, ended.stderr
    verdict: dict[str, object] = json.loads(ended.stdout)
    return verdict


def processes_of(folder: Path) -> list[str]:
    """The command lines of processes that have to do with the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and process.name != str(os.getpid()):
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in words:
                found.append(words)
    return found


def history(folder: Path) -> list[Call]:
    return from_lines(line for path in folder.glob("history-*.jsonl") for line in path.read_bytes().splitlines())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run that passed."""
    folder = tmp_path_factory.mktemp("chaos") / "kept"
    verdict = chaos("--for", "8s", "--seed", "5", "--faults", "kill-leader", "--keep", str(folder))
    assert verdict["passed"] is True
    assert (verdict["lost"], verdict["doubled"], verdict["linearizable"]) == (0, 0, "yes")
    return folder


def test_a_run_leaves_its_history_its_logs_a_picture_and_no_process(kept: Path) -> None:
    files = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    logs = {f"cluster/{name}.log" for name in ("coordinator", "node1", "node2", "node3")}
    histories = {f"history-{name}.jsonl" for name in ("p1", "p2", "p3", "final")}
    assert logs | histories | {"events.log", "verdict.json", "timeline.png"} <= files
    assert (kept / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert processes_of(kept) == []
    events = (kept / "events.log").read_text()
    assert "kill -9 of node" in events
    calls = history(kept)
    assert {call.op for call in calls} == set(Verb)
    assert {call.client.partition(".")[0] for call in calls} == {"p1", "p2", "p3", FINAL}
    assert any(call.stale_ms is not None for call in calls)


@pytest.mark.parametrize("fault", ["lost write", "lost element", "doubled increment", "stale read"])
def test_one_line_changed_in_its_history_and_it_does_not_pass(kept: Path, fault: str) -> None:
    calls = history(kept)
    place, changed = planted(calls, fault)
    calls[place] = changed
    verdict = reach(calls, Ran(5, 12.0, kept, {}, [], []), lambda call: 0)
    assert not verdict.passed
    assert verdict.lost == (fault == "lost element")
    assert (verdict.linearizable == "no") == (fault != "lost element")


def planted(calls: list[Call], fault: str) -> tuple[int, Call]:
    """A call of the history as it would have been told if the cluster had failed."""
    for place, call in enumerate(calls):
        outcome = call.outcome
        if outcome is None or call.stale_ms is not None:
            continue
        if fault == "lost write" and call.client == FINAL and outcome.value is not None:
            return place, told(call, value=None, found=False)
        if fault == "lost element" and call.client == FINAL and outcome.members:
            return place, told(call, members=outcome.members[1:])
        if fault == "doubled increment" and call.op is Verb.INCREMENT and call.effect == "done":
            return place, told(call, value=str(int(outcome.value or 0) + (call.args.by or 0)))
        if fault == "stale read" and call.op is Verb.GET and outcome.found and call.client != FINAL:
            older = [one for one in calls if one.key == call.key and one.op is Verb.PUT and one.effect == "done"]
            first = min(older, key=lambda one: one.invoked_ns, default=call)
            later = [one for one in older if (first.completed_ns or 0) < one.invoked_ns]
            if any((one.completed_ns or call.invoked_ns) < call.invoked_ns for one in later):
                version = first.outcome.version if first.outcome is not None else None
                return place, told(call, value=first.args.value, version=version)
    raise AssertionError(f"no place for a {fault}")


def told(call: Call, **outcome: object) -> Call:
    assert call.outcome is not None
    return msgspec.structs.replace(call, outcome=msgspec.structs.replace(call.outcome, **outcome))


def test_without_namespaces_links_are_cut_by_proxies_and_what_needs_them_is_left_out(tmp_path: Path) -> None:
    words = ("--for", "5s", "--seed", "2", "--no-namespaces", "--faults", "cut-leader,full-disk")
    verdict = chaos(*words, "--keep", str(tmp_path / "kept"))
    assert verdict["passed"] is True
    assert verdict["skipped"] == {"full-disk": "namespaces were not wanted"}
    assert [one["kind"] for one in msgspec.convert(verdict["faults"], list[dict[str, object]])] == ["cut-leader"]


def test_shards_split_and_merge_while_nodes_and_coordinators_of_a_group_are_killed(tmp_path: Path) -> None:
    words = ("--for", "4s", "--seed", "3", "--coordinators", "3", "--faults", "kill-amid-split,kill-amid-merge")
    verdict = chaos(*words, "--keep", str(tmp_path / "kept"))
    assert verdict["passed"] is True
    events = (tmp_path / "kept" / "events.log").read_text()
    assert "split at" in events
    assert "kill -9 of" in events
    assert "merge at" in events


def test_a_users_cluster_is_put_under_load_from_outside_and_left_as_it_was(tmp_path: Path) -> None:
    with Cluster(nodes=3) as cluster, cluster.client() as client:
        pids = [cluster.pid(name) for name in cluster.names]
        client.put("mine", "kept")
        verdict = chaos("--address", cluster.address, "--yes", "--for", "4s", "--keep", str(tmp_path / "kept"))
        assert verdict["passed"] is True
        kinds = {one["kind"] for one in msgspec.convert(verdict["faults"], list[dict[str, object]])}
        assert kinds
        assert kinds <= {"garbage", "split-and-merge"}
        assert client.get("mine") == b"kept"
        assert [info.name for info in client.shard_map().tables] == ["default"]
        assert [cluster.pid(name) for name in cluster.names] == pids
        assert cluster.died() == {}


def test_a_users_cluster_is_not_touched_without_yes(tmp_path: Path) -> None:
    ended = subprocess.run([*CHAOS, "--address", "127.0.0.1:7400"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "--yes" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_in_the_middle_it_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "kept"
    command = [*CHAOS, "--for", "60s", "--faults", "pause-node,cut-node", "--keep", str(folder)]
    # A shell starts what runs in the background with Ctrl-C ignored, and that is inherited.
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "SIGSTOP of" in line or "cut: " in line:
            break
    assert len(processes_of(folder)) > 4
    running.send_signal(number)
    running.communicate(timeout=60)
    assert running.returncode == 130
    end = time.monotonic() + 30
    while processes_of(folder):
        assert time.monotonic() < end, processes_of(folder)
        time.sleep(0.05)
