"""What is special to the sync client: threads, forks, closing, pipelines, and a light import."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import zkv
from tests.client.fake_server import FakeServer
from tests.core.routing.fake_shards import LOST
from zkv.core.routing import operations as ops
from zkv.core.shard.commands import ReadGroup, WriteGroup
from zkv.net import sockets
from zkv.testing.ports import ClaimedPorts


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[zkv.Client]:
    with zkv.connect(server.coordinator) as client:
        yield client


def test_sixteen_threads_share_a_client_and_their_requests_share_messages(
    server: FakeServer, client: zkv.Client
) -> None:
    def work(worker: int) -> list[int]:
        own = b"worker%d" % worker
        sums = []
        for number in range(100):
            client.put(own, b"%d" % number)
            assert client.get(own) == b"%d" % number
            sums.append(client.increment("shared"))
        return sums

    before = server.frames
    with ThreadPoolExecutor(16) as pool:
        sums = list(pool.map(work, range(16)))
    assert sorted(total for part in sums for total in part) == list(range(1, 1_601))
    assert all(part == sorted(part) for part in sums)
    assert server.frames - before < 4_800


def test_addresses_where_nobody_answers_are_named(server: FakeServer) -> None:
    with ClaimedPorts(2) as claimed:
        nobody = [f"127.0.0.1:{port}" for port in claimed.ports]
        began = time.monotonic()
        with pytest.raises(zkv.Unavailable) as error:
            zkv.connect(*nobody, timeout_s=0.5)
    assert time.monotonic() - began < 2
    assert all(address in str(error.value) for address in nobody)
    assert error.value.effect == "none"


def test_one_of_several_addresses_is_enough(server: FakeServer) -> None:
    with ClaimedPorts(1) as claimed:
        addresses = f"127.0.0.1:{claimed.ports[0]}, {server.nodes['n2'].address}"
        with zkv.connect(addresses) as client:
            assert client.put("k", "v") == 1


@pytest.mark.parametrize("address", ["", "nowhere", "host:", ":7400", "host:0", "host:99999", "host:seven"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(zkv.InvalidRequest):
        zkv.connect(address)


def test_a_call_in_flight_at_close_ends_with_its_effect_and_later_ones_are_refused(server: FakeServer) -> None:
    server.fault = lambda address, group: LOST if isinstance(group, WriteGroup) else None
    client = zkv.connect(server.coordinator)
    client.get("warm")
    waiting = client.ask(ops.put("k", "v"))
    while not server.effects:
        client.get("k")
    client.close()
    with pytest.raises(zkv.Unavailable) as closed:
        waiting.result()
    assert closed.value.effect == "unknown"
    with pytest.raises(zkv.InvalidRequest, match="closed"):
        client.get("k")
    client.close()


def test_a_client_that_nobody_holds_any_more_ends_its_thread(server: FakeServer) -> None:
    before = threading.active_count()
    client = zkv.connect(server.coordinator)
    thread = client._io._thread
    del client
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
    assert threading.active_count() == before


def test_a_forked_child_is_told_to_connect_anew(client: zkv.Client) -> None:
    client.put("k", "v")
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            client.get("k")
        except zkv.InvalidRequest as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as told:
        assert b"fork" in told.read()
    assert client.get("k") == b"v"


def test_a_node_that_dies_and_comes_back_is_used_again(server: FakeServer, client: zkv.Client) -> None:
    key, home = server.key_in(1), server.leader_address(1)
    client.put(key, "v")
    server.die(home)
    with pytest.raises(zkv.ZkvError):
        client.put(key, "w", timeout_s=0.3)
    server.rise(home)
    assert client.get(key, timeout_s=5) is not None


def test_bytes_that_are_no_frame_are_counted_and_harm_nobody(server: FakeServer) -> None:
    with ClaimedPorts(1) as claimed:
        context = sockets.context()
        liar = sockets.router(context, f"127.0.0.1:{claimed.ports[0]}")
        with zkv.connect(server.coordinator, f"127.0.0.1:{claimed.ports[0]}") as client:
            peer = liar.recv()
            liar.recv()
            liar.send_multipart([peer, b"\xc1garbage"])
            turns = client._io._turns
            while not turns.bad_frames:
                client.put("k", "v")
            assert client.get("k") == b"v"
        liar.close(linger=0)
        context.term()


def test_a_pipeline_has_many_requests_in_flight_in_few_messages(server: FakeServer, client: zkv.Client) -> None:
    before = server.frames
    with client.pipeline() as pipeline:
        puts = [pipeline.put(b"k%d" % number, b"%d" % number) for number in range(20_000)]
    assert all(put.is_done for put in puts)
    assert server.frames - before < 2_000
    assert client.get("k19999") == b"19999"


def test_a_pipeline_raises_an_error_that_nobody_asked_for_and_no_other(client: zkv.Client) -> None:
    client.put("k", "v")
    with pytest.raises(zkv.ConditionFailed), client.pipeline() as pipeline:
        pipeline.put("k", "w", if_absent=True)
    with client.pipeline() as pipeline:
        refused = pipeline.put("k", "w", if_absent=True)
        with pytest.raises(zkv.ConditionFailed):
            refused.result()


def test_a_scan_asks_for_the_next_page_before_this_one_is_used_up(server: FakeServer, client: zkv.Client) -> None:
    keys = server.keys_in(1, 1_500)
    for start in range(0, len(keys), 1_000):
        client.mput(dict.fromkeys(keys[start : start + 1_000], b"v"))
    rows = client.scan()
    assert next(rows)[1] == b"v"
    coming = rows._coming
    assert coming is not None
    coming.wait()
    assert len(list(rows)) == len(keys) - 1
    assert rows.cursor is None


def test_a_scan_that_meets_an_error_says_where_it_had_come_to(server: FakeServer, client: zkv.Client) -> None:
    client.create_table("log", "range")
    keys = [b"%05d" % number for number in range(2_500)]
    for start in range(0, len(keys), 1_000):
        client.mput(dict.fromkeys(keys[start : start + 1_000], b"v"), table="log")
    rows = client.scan(table="log", timeout_s=0.3)
    seen = [next(rows)[0] for _ in range(1_200)]
    server.fault = lambda address, group: None if isinstance(group, ReadGroup | WriteGroup) else LOST
    with pytest.raises(zkv.ZkvError):
        seen.extend(key for key, _ in rows)
    server.fault = lambda address, group: None
    cursor = rows.cursor
    assert cursor is not None
    rest = [key for key, _ in client.scan(table="log", cursor=cursor)]
    assert len(seen) < len(keys)
    assert seen + rest == keys


def test_the_import_is_light() -> None:
    heavy = ("rich", "typer", "rocksdict", "honcho", "sqlite3", "click")
    script = f"import sys, zkv; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_that_is_exported_exists() -> None:
    assert [name for name in zkv.__all__ if not hasattr(zkv, name)] == []
