"""One suite for every engine: each must agree with a plain dict, whatever happens between."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from zkv.core.shard.rows import Changes
from zkv.errors import StorageError
from zkv.storage.engine import Engine
from zkv.storage.memory import MemoryEngine
from zkv.storage.memtable import Inline, Memtable
from zkv.storage.open_engine import open_engine
from zkv.storage.rocks import RocksEngine
from zkv.storage.sqlite import FILE_NAME, SqliteEngine

ALL = pytest.mark.parametrize("kind", ["rocksdb", "sqlite", "memory", "memtable", "memtable in one piece"])
ON_DISK = pytest.mark.parametrize("kind", ["rocksdb", "sqlite"])
LAST = b"\xff" * 8


@pytest.fixture
def engine(kind: str, tmp_path: Path) -> Iterator[Engine]:
    made = {
        "rocksdb": lambda: RocksEngine(tmp_path),
        "sqlite": lambda: SqliteEngine(tmp_path),
        "memory": MemoryEngine,
        "memtable": lambda: Memtable(MemoryEngine(), Inline(), generation_rows=7, piece_rows=2),
        "memtable in one piece": lambda: Memtable(MemoryEngine(), Inline(), generation_rows=5, piece_rows=0),
    }[kind]()
    with closing(made):
        yield made


def between(rows: dict[bytes, bytes], start: bytes, end: bytes, *, reverse: bool = False) -> list[tuple[bytes, bytes]]:
    """The oracle's scan."""
    return sorted(((key, value) for key, value in rows.items() if start <= key < end), reverse=reverse)


def set_rows(rows: dict[bytes, bytes], changes: Changes) -> None:
    """The oracle's apply."""
    for key, value in changes.items():
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


def drop_rows(rows: dict[bytes, bytes], start: bytes, end: bytes) -> None:
    """The oracle's drop."""
    for key, _ in between(rows, start, end):
        del rows[key]


def some_key(rng: random.Random) -> bytes:
    """Few and short, so that they meet; with the bytes that are easy to get wrong."""
    return bytes(rng.choice((0, 1, 97, 254, 255)) for _ in range(rng.randrange(1, 4)))


def some_changes(rng: random.Random) -> Changes:
    return {
        some_key(rng): rng.choice((None, b"", b"\0", rng.randbytes(rng.choice((5, 300)))))
        for _ in range(rng.choice((0, 1, 3, 40)))
    }


@ALL
@pytest.mark.parametrize("seed", range(6))
def test_engine_agrees_with_a_dict_after_any_history(engine: Engine, seed: int) -> None:
    rng = random.Random(seed)
    rows: dict[bytes, bytes] = {}
    open_scans: list[tuple[Iterator[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]] = []
    for _ in range(150):
        start, end = some_key(rng), some_key(rng)
        if isinstance(engine, Memtable):
            engine.tend(idle=rng.random() < 0.3)
        match rng.randrange(10):
            case 0:
                engine.drop(start, end)
                drop_rows(rows, start, end)
            case 1:
                engine.flush()
            case 2:
                reverse = rng.random() < 0.5
                open_scans.append(
                    (engine.scan(start, end, reverse=reverse), between(rows, start, end, reverse=reverse))
                )
            case 3 if open_scans:
                scan, expected = open_scans.pop(rng.randrange(len(open_scans)))
                assert list(scan) == expected
            case _:
                changes = some_changes(rng)
                engine.apply(changes)
                set_rows(rows, changes)
        probe = some_key(rng)
        assert engine.get(probe) == rows.get(probe)
    assert list(engine.scan(b"", LAST)) == between(rows, b"", LAST)
    assert list(engine.scan(b"", LAST, reverse=True)) == between(rows, b"", LAST, reverse=True)
    for scan, expected in open_scans:
        assert list(scan) == expected


@ALL
def test_scan_takes_its_start_and_leaves_its_end_in_both_directions(engine: Engine) -> None:
    engine.apply({b"a": b"1", b"b": b"2", b"b\0": b"3", b"c": b"4"})
    assert list(engine.scan(b"a", b"c")) == [(b"a", b"1"), (b"b", b"2"), (b"b\0", b"3")]
    assert list(engine.scan(b"a", b"c", reverse=True)) == [(b"b\0", b"3"), (b"b", b"2"), (b"a", b"1")]
    assert list(engine.scan(b"b", b"b\0")) == [(b"b", b"2")]


@ALL
@pytest.mark.parametrize(("start", "end"), [(b"b", b"b"), (b"c", b"a"), (b"x", b"y"), (b"", b"")])
def test_scan_and_drop_of_an_empty_range_do_nothing(engine: Engine, start: bytes, end: bytes) -> None:
    engine.apply({b"a": b"1", b"b": b"2", b"c": b"3"})
    engine.drop(start, end)
    assert list(engine.scan(start, end)) == []
    assert list(engine.scan(start, end, reverse=True)) == []
    assert list(engine.scan(b"", LAST)) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]


@ALL
def test_scan_shows_the_rows_as_they_were_at_the_call_even_if_read_after_a_flush(engine: Engine) -> None:
    rows = {b"k%04d" % number: b"old" * 100 for number in range(2_000)}
    engine.apply(dict(rows))
    scans = [engine.scan(b"k", b"l"), engine.scan(b"k", b"l", reverse=True)]
    engine.apply(dict.fromkeys(rows, b"new"))
    engine.drop(b"k0100", b"k1900")
    engine.flush()
    engine.apply({b"k0000": None, b"k00005": b"between"})
    assert list(scans[0]) == sorted(rows.items())
    assert list(scans[1]) == sorted(rows.items(), reverse=True)


@ALL
def test_scans_that_nobody_reads_to_the_end_do_not_stop_others_or_the_close(engine: Engine) -> None:
    engine.apply({b"a": b"1", b"b": b"2"})
    unread, begun, closed = (engine.scan(b"a", b"z") for _ in range(3))
    assert next(begun) == (b"a", b"1")
    closed.close()  # type: ignore[attr-defined]  # it is a generator: `Rows.scan`
    engine.apply({b"a": None})
    assert list(engine.scan(b"a", b"z")) == [(b"b", b"2")]
    assert next(begun) == (b"b", b"2")
    assert next(unread) == (b"a", b"1")


@ALL
def test_a_row_written_after_a_drop_of_its_range_stays(engine: Engine) -> None:
    engine.apply({b"a": b"1", b"b": b"2"})
    engine.drop(b"a", b"z")
    engine.apply({b"b": b"3"})
    engine.flush()
    assert list(engine.scan(b"", LAST)) == [(b"b", b"3")]


@ALL
def test_rows_of_the_largest_size_come_back(engine: Engine) -> None:
    key, value = b"k" * 4_200, os.urandom(1024 * 1024 + 9)
    engine.apply({key: value})
    engine.flush()
    assert engine.get(key) == value
    assert list(engine.scan(b"k", b"l")) == [(key, value)]


@ALL
def test_size_grows_with_what_is_stored(engine: Engine) -> None:
    before = engine.size_bytes()
    engine.apply({b"k%d" % number: os.urandom(10_000) for number in range(200)})
    engine.flush()
    assert 1_500_000 < engine.size_bytes() - before < 8_000_000


@ON_DISK
def test_flushed_rows_are_there_when_the_folder_is_opened_again(kind: str, tmp_path: Path) -> None:
    for number in range(3):
        with closing(open_engine(tmp_path, kind)) as engine:  # type: ignore[arg-type]  # ids of the parametrization
            assert len(list(engine.scan(b"", LAST))) == number
            abandoned = engine.scan(b"", LAST)
            engine.apply({b"%d" % number: b"x"})
            engine.flush()
        assert list(abandoned) == []  # closed with its engine: it neither shows more rows nor keeps the folder locked


def batch(number: int) -> Changes:
    """What the victim writes as its batch `number`: its number, and rows that later batches overwrite and delete."""
    rng = random.Random(number)
    changes: Changes = {b"row%02d" % rng.randrange(60): rng.choice((None, rng.randbytes(20_000))) for _ in range(10)}
    return {b"number": b"%d" % number, **changes}


def play(batches: int) -> dict[bytes, bytes]:
    """What the first batches leave, the drops between them included."""
    rows: dict[bytes, bytes] = {}
    for number in range(batches):
        set_rows(rows, batch(number))
        if number % 7 == 6:
            drop_rows(rows, b"row10", b"row20")
    return rows


def open_with_memtable(folder: Path, kind: str) -> Engine:
    """The engine by itself, or as a node has it."""
    if kind != "memtable":
        return open_engine(folder, kind)  # type: ignore[arg-type]  # as above
    return Memtable(RocksEngine(folder), ThreadPoolExecutor(1), generation_rows=40, piece_rows=3)


def victim(kind: str, folder: str, flush_every: int) -> None:
    """Writes until it is killed, and says now and then which batch it flushed last."""
    engine = open_with_memtable(Path(folder), kind)
    flushed = -1
    for number in range(1_000_000):
        engine.apply(batch(number))
        if isinstance(engine, Memtable):
            engine.tend()
        if number % 7 == 6:
            engine.drop(b"row10", b"row20")
        if number % flush_every == flush_every - 1:
            engine.flush()
            flushed = number
        if number % 25 == 24:
            print(flushed, flush=True)  # noqa: T201


@pytest.mark.parametrize("kind", ["rocksdb", "sqlite", "memtable"])
@pytest.mark.parametrize(("lines", "flush_every"), [(2, 50), (11, 30), (7, 49), (30, 100_000)])
def test_kill_leaves_whole_batches_in_order_and_every_flushed_one(
    kind: str, lines: int, flush_every: int, tmp_path: Path
) -> None:
    """Thirty lines are more than a memtable leaves unflushed, so that it has flushed by itself."""
    command = [sys.executable, __file__, kind, str(tmp_path), str(flush_every)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        for _ in range(lines):
            flushed = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    with closing(open_engine(tmp_path)) as engine:
        found = dict(engine.scan(b"", LAST))
    number = int(found.get(b"number", b"-1"))
    assert number >= (0 if kind == "memtable" and lines == 30 else flushed)
    expected = play(number + 1)
    if number % 7 == 6 and found != expected:  # killed between the last batch and its drop
        expected = play(number)
        set_rows(expected, batch(number))
    assert found == expected


def corrupt(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))


def largest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


@ON_DISK
def test_damage_to_stored_rows_is_an_error_and_never_a_shorter_scan(kind: str, tmp_path: Path) -> None:
    rows = {b"k%05d" % number: os.urandom(200) for number in range(5_000)}
    with closing(open_engine(tmp_path, kind)) as engine:  # type: ignore[arg-type]  # as above
        engine.apply(dict(rows))
        engine.flush()
    path = largest(tmp_path, "*.sst" if kind == "rocksdb" else FILE_NAME)
    corrupt(path, path.stat().st_size // 2)
    with closing(open_engine(tmp_path)) as engine:
        with pytest.raises(StorageError, match="state engine"):
            list(engine.scan(b"k", b"l"))
        with pytest.raises(StorageError, match="state engine"):
            list(engine.scan(b"k", b"l", reverse=True))
        with pytest.raises(StorageError, match="state engine"):
            [engine.get(key) for key in rows]


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to this process, near enough: writes fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@ON_DISK
def test_an_engine_that_found_no_room_takes_nothing_more_and_keeps_whole_batches(kind: str, tmp_path: Path) -> None:
    engine = open_engine(tmp_path, kind)  # type: ignore[arg-type]  # as above
    engine.apply(batch(0))
    engine.flush()
    with files_no_larger_than(2_000_000):
        with pytest.raises(StorageError, match="state engine failed"):
            fill(engine)
        assert engine.get(b"number") is not None
        with suppress(StorageError):
            engine.close()
    with closing(open_engine(tmp_path)) as again:
        found = dict(again.scan(b"", LAST))
    number = int(found[b"number"])
    assert found == {**play(1), **{key: value for late in range(1, number + 1) for key, value in bulk(late).items()}}


def bulk(number: int) -> Changes:
    return {b"number": b"%d" % number, b"bulk%d" % number: random.Random(number).randbytes(100_000)}


def fill(engine: Engine) -> None:
    """Until it fails; and then, that it fails again."""
    with suppress(StorageError):
        for number in range(1, 1_000):
            engine.apply(bulk(number))
            if number % 10 == 9:
                engine.flush()
    with pytest.raises(StorageError):
        engine.apply({b"number": b"1000000"})
    engine.flush()


@pytest.mark.parametrize("survivors", range(5))
def test_memory_engine_crash_keeps_a_prefix_of_what_was_not_flushed(survivors: int) -> None:
    engine = MemoryEngine()
    steps: list[Callable[[], None]] = [
        lambda: engine.apply({b"a": b"1", b"b": b"1"}),
        lambda: engine.apply({b"a": b"2", b"c": b"1"}),
        lambda: engine.drop(b"a", b"c"),
        lambda: engine.apply({b"a": b"3", b"c": None}),
    ]
    engine.apply({b"a": b"0", b"z": b"0"})
    engine.flush()
    states = [list(engine.scan(b"", LAST))]
    for step in steps:
        step()
        states.append(list(engine.scan(b"", LAST)))
    assert engine.unflushed == 4
    engine.crash(survivors)
    assert list(engine.scan(b"", LAST)) == states[survivors]
    assert engine.unflushed == 0


def test_a_folder_keeps_the_engine_it_was_made_with(tmp_path: Path) -> None:
    with closing(open_engine(tmp_path, "sqlite")) as engine:
        engine.apply({b"a": b"1"})
    with closing(open_engine(tmp_path)) as again:
        assert again.get(b"a") == b"1"
    with pytest.raises(StorageError, match="holds a sqlite engine, not rocksdb"):
        open_engine(tmp_path, "rocksdb")


WITHOUT_ROCKS = """
import sys
sys.modules["rocksdict"] = None
from pathlib import Path
from zkv.errors import StorageError
from zkv.storage.open_engine import open_engine
folder = Path(sys.argv[1])
print(type(open_engine(folder / "new")).__name__)
try:
    open_engine(folder / "old")
except StorageError as error:
    print(error)
"""


def test_a_machine_without_rocksdict_uses_sqlite_and_says_what_it_cannot_open(tmp_path: Path) -> None:
    open_engine(tmp_path / "old", "rocksdb").close()
    command = [sys.executable, "-c", WITHOUT_ROCKS, str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == ("SqliteEngine\nrocksdict is not installed; install it, or start anew with the sqlite engine\n")


def test_a_second_engine_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with closing(open_engine(tmp_path, "rocksdb")), pytest.raises(StorageError, match="lock"):
        open_engine(tmp_path, "rocksdb")


if __name__ == "__main__":
    victim(sys.argv[1], sys.argv[2], int(sys.argv[3]))
