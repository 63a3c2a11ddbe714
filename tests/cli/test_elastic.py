"""Commands that change a real cluster: a node joins, is planned for, drained, explained and removed, under load."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.waits import wait_until
from zkv.cli.main import run
from zkv.testing import Cluster

Told = tuple[int, str, str]
Zkv = Callable[..., Told]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3) as one:
        yield one


@pytest.fixture
def zkv(cluster: Cluster, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Zkv:
    """Run one command line: (exit code, stdout, stderr)."""
    monkeypatch.setenv("ZKV_ADDRESS", cluster.address)

    def command(*words: str) -> Told:
        code = run(list(words))
        told = capfd.readouterr()
        return code, told.out, told.err

    return command


def shards_of(zkv: Zkv, node: str) -> int:
    rows = json.loads(zkv("nodes", "--json")[1])["nodes"]
    return next((row["shards"] for row in rows if row["id"] == node), 0)


def test_three_nodes_are_too_few_to_drain_one(zkv: Zkv) -> None:
    code, _, err = zkv("nodes", "drain", "node1")
    assert code == 1
    assert "without it there would be 2 nodes: add a node first" in err
    code, _, err = zkv("nodes", "remove", "node9", "--yes")
    assert (code, "there is no node node9" in err) == (1, True)
    assert zkv("nodes", "set", "node1")[0] == 2
    assert zkv("operators", "cancel", "77")[0] == 1


def test_a_node_joins_is_drained_and_goes_and_no_request_fails(cluster: Cluster, zkv: Zkv) -> None:
    counted = [0]
    failed: list[Exception] = []
    over = threading.Event()

    def load() -> None:
        with cluster.client() as client:
            while not over.is_set() and not failed:
                try:
                    client.increment("counted")
                    client.put(f"key {counted[0] % 500}", b"x" * 200)
                    counted[0] += 1
                except Exception as error:  # whatever it is, it is what must not be
                    failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        cluster.start("node4")
        wait_until(lambda: shards_of(zkv, "node4") == 4, "node4 has its share")
        wait_until(lambda: zkv("operators", "--json")[1] == '{"operators": []}\n', "nothing is under way")
        assert "it holds 4 replicas" in zkv("explain", "node", "node4")[1]
        code, plan, _ = zkv("plan", "drain", "node4", "--json")
        moves = json.loads(plan)["moves"]
        assert (code, len(moves), {move["from"] for move in moves}) == (0, 4, {"node4"})
        (cluster.data / "plan.json").write_text(plan)
        assert zkv("apply", str(cluster.data / "plan.json"), "--yes") == (0, "", "")
        assert shards_of(zkv, "node4") == 0
        assert {one["id"]: one["duty"] for one in json.loads(zkv("nodes", "--json")[1])["nodes"]}["node4"] == "drained"
        shards = json.loads(zkv("shards", "--json")[1])
        homes = {shard["shard"]: shard["replicas"] for shard in shards}
        assert all(move["to"] in homes[move["shard"]] for move in moves)
        code, _, err = zkv("apply", str(cluster.data / "plan.json"), "--yes")
        assert (code, "the map has changed since the plan was made" in err) == (1, True)
        assert cluster.terminate("node4") == 0
        assert zkv("nodes", "remove", "node4", "--yes")[0] == 0
        wait_until(lambda: "node4" not in zkv("nodes", "--json")[1], "node4 is gone")
    finally:
        over.set()
        thread.join()
    assert failed == []
    with cluster.client() as client:
        assert client.get("counted") == str(counted[0]).encode()


def test_what_is_where_and_why_is_said_in_words(zkv: Zkv) -> None:
    code, words, _ = zkv("explain", "key", "greeting")
    lines = words.splitlines()
    assert code == 0
    assert "CRC-32" in lines[0]
    assert lines[-1] == "nothing is under way for it"
    number = lines[0].partition("shard ")[2].split()[0]
    assert zkv("explain", "shard", number)[1].splitlines() == lines[1:]
    assert zkv("explain", "shard", "999")[0] == 1


def test_how_the_cluster_changes_by_itself_can_be_changed(zkv: Zkv) -> None:
    mib = 1024 * 1024
    usual = {"balance": "on", "grace_s": 60.0, "moves_per_node": 2, "bytes_per_s": 64 * mib}
    usual |= {"split_bytes": 64 * mib, "split_requests": 1_000, "merge_bytes": 16 * mib}
    usual |= {"hot_s": 20.0, "cold_s": 3_600.0}
    assert json.loads(zkv("tune", "--json")[1]) == usual
    words = "--balance off --grace 5 --moves 3 --rate 2000000 --split off --merge off --hot off --hot-for 5 --cold 60"
    code, told, _ = zkv("tune", *words.split(), "--json")
    other = {"balance": "off", "grace_s": 5.0, "moves_per_node": 3, "bytes_per_s": 2_000_000}
    assert (code, json.loads(told)) == (
        0,
        other | {"split_bytes": 0, "split_requests": 0, "merge_bytes": 0, "hot_s": 5, "cold_s": 60},
    )
    words = f"--balance on --grace 60 --moves 2 --rate {64 * mib} --split {64 * mib} --merge {16 * mib}"
    words += " --hot 1000 --hot-for 20 --cold 3600"
    assert zkv("tune", *words.split())[0] == 0
    assert json.loads(zkv("tune", "--json")[1]) == usual
    assert zkv("tune", "--merge", "much")[0] == 2
    assert zkv("tune", "--hot", "much")[0] == 2
    for wrong in ("much", "10"):
        assert zkv("tune", "--split", wrong)[0] == 2


def test_a_weight_and_a_zone_set_by_command_are_shown(zkv: Zkv) -> None:
    assert zkv("nodes", "set", "node1", "--weight", "1.05", "--zone", "attic")[0] == 0
    rows = json.loads(zkv("nodes", "--json")[1])["nodes"]
    assert (rows[0]["id"], rows[0]["weight"], rows[0]["zone"]) == ("node1", 1.05, "attic")
