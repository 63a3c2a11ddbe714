"""The commands against a real cluster: what they print, and their exit codes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.waits import wait_until
from zkv.cli.main import run
from zkv.core.cluster.partition import hash_slot
from zkv.testing import Cluster

Told = tuple[int, str, str]
Zkv = Callable[..., Told]


@pytest.fixture
def zkv_command(
    zkv_cluster: Cluster, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Zkv:
    """Run one command line: (exit code, stdout, stderr)."""
    monkeypatch.setenv("ZKV_ADDRESS", zkv_cluster.address)

    def command(*words: str) -> Told:
        code = run(list(words))
        told = capfdbinary.readouterr()
        return code, told.out.decode(), told.err.decode()

    return command


def test_what_is_put_can_be_got_and_deleted_once(zkv_command: Zkv) -> None:
    code, version, _ = zkv_command("put", "city", "Zürich")
    assert (code, int(version) > 0) == (0, True)
    assert zkv_command("get", "city") == (0, "Zürich\n", "")
    assert zkv_command("delete", "city") == (0, "", "")
    assert zkv_command("get", "city") == (3, "", "zkv: no such key: city\n")
    assert zkv_command("delete", "city") == (3, "", "zkv: no such key: city\n")


def test_json_has_the_version_and_who_answered(zkv_command: Zkv) -> None:
    _, put, _ = zkv_command("put", "json", '{"a": 1}', "--json")
    code, got, _ = zkv_command("get", "json", "--json")
    row = json.loads(got)
    assert code == 0
    assert (row["key"], row["value"], row["version"]) == ("json", '{"a": 1}', json.loads(put)["version"])
    assert row["node"] in ("node1", "node2", "node3")


def test_conditions_that_do_not_hold_are_exit_code_1(zkv_command: Zkv) -> None:
    _, version, _ = zkv_command("put", "once", "a", "--if-absent")
    code, out, err = zkv_command("put", "once", "b", "--if-absent")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "nothing was written" in err
    assert zkv_command("put", "once", "b", "--if-version", version.strip())[0] == 0
    assert zkv_command("put", "once", "c", "--if-version", version.strip())[0] == 1
    assert zkv_command("get", "once")[1] == "b\n"


def test_a_value_from_a_file_keeps_its_bytes(zkv_command: Zkv, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(bytes(range(256)))
    assert zkv_command("put", "blob", "--file", str(tmp_path / "blob"))[0] == 0
    assert json.loads(zkv_command("get", "blob", "--json")[1])["value_base64"].startswith("AAECAwQF")


def test_increments_add_up(zkv_command: Zkv) -> None:
    assert [zkv_command("incr", "visits", *words)[1] for words in ([], ["--by", "10"], ["--by", "-4"])] == [
        "1\n",
        "11\n",
        "7\n",
    ]
    zkv_command("put", "word", "seven")
    code, _, err = zkv_command("incr", "word")
    assert (code, "is not a decimal integer" in err) == (1, True)


def test_several_keys_at_once(zkv_command: Zkv) -> None:
    assert zkv_command("mput", "m:1", "one", "m:2", "two\nlines") == (0, "2\n", "")
    assert zkv_command("mget", "m:2", "m:1") == (0, "m:2\ttwo\x10nlines\nm:1\tone\n", "")
    assert zkv_command("mget", "m:1", "m:9") == (3, "m:1\tone\n", "zkv: no such key: m:9\n")
    rows = json.loads(zkv_command("mget", "m:1", "m:9", "--json")[1])
    assert rows == [{"key": "m:1", "value": "one"}, {"key": "m:9", "value": None}]


def test_a_range_table_is_scanned_in_key_order(zkv_command: Zkv) -> None:
    assert zkv_command("table", "create", "letters", "--partitioner", "range", "--split", "h", "--split", "q")[0] == 0
    zkv_command("mput", *[word for letter in "zqamhb" for word in (letter, letter.upper())], "--table", "letters")
    scan = lambda *words: zkv_command("scan", "--table", "letters", *words)[1].split()[::2]  # noqa: E731
    assert scan() == ["a", "b", "h", "m", "q", "z"]
    assert scan("--reverse", "--limit", "2") == ["z", "q"]
    assert scan("--start", "b", "--end", "q") == ["b", "h", "m"]
    assert zkv_command("table", "drop", "letters", "--yes")[0] == 0
    assert zkv_command("scan", "--table", "letters")[0] == 1


def test_a_range_table_is_split_and_merged_and_scanned_over_that(zkv_command: Zkv) -> None:
    assert zkv_command("table", "create", "words", "--partitioner", "range")[0] == 0
    words = ("ant", "bee", "cow", "dog", "eel")
    zkv_command("mput", *[part for word in words for part in (word, word.upper())], "--table", "words")
    code, told, _ = zkv_command("table", "split", "words", "--at", "cow", "--json")
    row = json.loads(told)
    assert (code, row["table"], row["at"], row["left"] < row["right"]) == (0, "words", "cow", True)
    told = f"shard {row['left']} ends and shard {row['right']} begins at 'cow'\n"
    assert zkv_command("table", "split", "words", "--at", "cow") == (0, told, "")
    assert zkv_command("scan", "--table", "words")[1].split()[::2] == list(words)
    assert zkv_command("scan", "--table", "words", "--reverse")[1].split()[::2] == list(reversed(words))
    assert zkv_command("get", "eel", "--table", "words")[1] == "EEL\n"
    explained = zkv_command("explain", "shard", str(row["right"]))[1]
    assert "it is split above 67108864" in explained or "its rows are not counted yet" in explained
    refused = zkv_command("table", "split", "default", "--at", "cow")
    assert (refused[0], "table default is hashed" in refused[2]) == (1, True)
    assert "there is no table 'nothing'" in zkv_command("table", "split", "nothing", "--at", "cow")[2]
    merged = zkv_command("table", "merge", "words", "--at", "cow", "--json")
    assert (merged[0], json.loads(merged[1])) == (0, {"table": "words", "at": "cow", "shard": row["left"]})
    told = f"shard {row['left']} has what was on either side of 'cow'\n"
    assert zkv_command("table", "merge", "words", "--at", "cow") == (0, told, "")
    assert zkv_command("scan", "--table", "words")[1].split()[::2] == list(words)
    refused = zkv_command("table", "merge", "default", "--at", "cow")
    assert (refused[0], "table default is hashed" in refused[2]) == (1, True)
    assert zkv_command("table", "drop", "words", "--yes")[0] == 0


def test_tables_can_be_made_shown_and_dropped(zkv_command: Zkv) -> None:
    assert zkv_command("table", "create", "pairs", "--replicas", "2", "--shards", "4") == (0, "", "")
    assert zkv_command("table", "create", "pairs", "--replicas", "3")[0] == 1
    shown = json.loads(zkv_command("table", "show", "pairs", "--json")[1])
    assert (shown["partitioner"], shown["replicas"], len(shown["shards"])) == ("hash", 2, 4)
    assert {len(shard["replicas"]) for shard in shown["shards"]} == {2}
    assert "pairs" in zkv_command("tables")[1]
    assert zkv_command("table", "drop", "pairs", "--yes")[0] == 0
    code, _, err = zkv_command("table", "show", "pairs")
    assert (code, err.startswith("zkv: there is no table 'pairs'")) == (1, True)


def test_the_cluster_shows_its_nodes_and_shards(zkv_command: Zkv, zkv_cluster: Cluster) -> None:
    nodes = json.loads(zkv_command("nodes", "--json")[1])["nodes"]
    assert [(node["id"], node["state"], node["address"]) for node in nodes] == [
        (name, "up", zkv_cluster.address_of(name)) for name in ("node1", "node2", "node3")
    ]
    shards = json.loads(zkv_command("shards", "--table", "default", "--json")[1])
    assert all(set(shard["replicas"]) == {"node1", "node2", "node3"} for shard in shards)
    assert all(shard["leader"] in shard["replicas"] and shard["live"] == 3 for shard in shards)
    status = json.loads(zkv_command("status", "--json")[1])
    assert (status["nodes_up"], status["shards_below_replicas"], status["silent"]) == (3, [], [])
    screen = zkv_command("status")[1]
    assert "nodes     3 up, 0 down" in screen
    assert "0 without a leader, 0 below their replica count" in screen


def test_locate_names_the_leader_that_serves_the_key(zkv_command: Zkv, zkv_cluster: Cluster) -> None:
    found = json.loads(zkv_command("locate", "greeting", "--json")[1])
    assert found["hash"] == hash_slot(b"greeting")
    assert found["leader"] == zkv_cluster.leader_of("greeting")
    assert sorted(found["replicas"]) == ["node1", "node2", "node3"]
    assert any(found["leader"] in reason for reason in found["why"])
    assert f"leader      {found['leader']}" in zkv_command("locate", "greeting")[1]


def test_the_ring_has_a_share_for_each_node(zkv_command: Zkv) -> None:
    rows = json.loads(zkv_command("ring", "--json")[1])
    assert [row["node"] for row in rows] == ["node1", "node2", "node3"]
    assert abs(sum(row["share_percent"] for row in rows) - 100) < 0.1
    assert zkv_command("ring")[1].count("█") > 60


def test_map_watch_shows_a_change_as_it_is_broadcast(zkv_cluster: Cluster) -> None:
    words = [sys.executable, "-m", "zkv.cli.main", "map", "watch", "--for", "20", "--json"]
    with subprocess.Popen([*words, "--address", zkv_cluster.address], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        heard = json.loads(watching.stdout.readline())  # a beacon: the subscription is there
        assert heard["kind"] == "beacon"
        with zkv_cluster.client() as client:
            client.create_table("watched")
        while "watched" not in [table[1] for table in heard.get("tables", [])]:
            heard = json.loads(watching.stdout.readline())
        watching.kill()


def test_every_address_of_the_cluster_will_do(zkv_command: Zkv, zkv_cluster: Cluster) -> None:
    zkv_command("put", "anywhere", "yes")
    for name in zkv_cluster.names:
        assert zkv_command("get", "anywhere", "--address", zkv_cluster.address_of(name)) == (0, "yes\n", "")
    both = f"127.0.0.1:1,{zkv_cluster.address_of('node2')}"
    assert zkv_command("get", "anywhere", "--address", both)[1] == "yes\n"


def test_what_is_too_large_is_refused_before_it_is_sent(zkv_command: Zkv) -> None:
    code, _, err = zkv_command("put", "k" * 4097, "v")
    assert (code, err) == (1, "zkv: the key has 4097 bytes; 4096 is the most; nothing was written; send less at once\n")


def test_a_reader_that_leaves_early_costs_no_traceback(zkv_command: Zkv, zkv_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("".join(f"early:{number}\t{'x' * 100}\n" for number in range(3000)))
    zkv_command("import", str(tmp_path / "rows"))
    shell = f"{sys.executable} -m zkv.cli.main export --address {zkv_cluster.address} | head -n 1"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (ended.stdout.count("\n"), ended.stderr) == (1, "")


def test_weaker_levels_can_be_named(zkv_command: Zkv) -> None:
    assert zkv_command("put", "weak", "1", "--w", "1") == (0, "0\n", "")  # acknowledged before its version is known
    assert zkv_command("put", "strong", "1", "--w", "all")[0] == 0

    def reads() -> bool:
        code, got, _ = zkv_command("get", "strong", "--r", "any", "--json")
        return code == 0 and "stale_ms" in json.loads(got)

    wait_until(reads, "the replica that is asked has heard of the commit")
    assert zkv_command("put", "weak", "1", "--w", "most")[0] == 2


def test_without_the_coordinator_keys_and_the_overview_can_still_be_had(zkv_command: Zkv, zkv_cluster: Cluster) -> None:
    zkv_cluster.kill("coordinator")
    node = ["--address", zkv_cluster.address_of("node1")]
    try:
        assert zkv_command("put", "orphan", "fine", *node)[0] == 0
        assert zkv_command("get", "orphan", *node) == (0, "fine\n", "")
        code, screen, _ = zkv_command("status", *node)
        assert (code, "no coordinator answers" in screen, "3 up, 0 down" in screen) == (0, True, True)
        assert zkv_command("table", "create", "orphans", "--timeout", "0.5", *node)[0] == 4
    finally:
        zkv_cluster.start("coordinator")
