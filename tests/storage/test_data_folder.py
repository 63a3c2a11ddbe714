"""A data folder: one owner, one process at a time, and no silent loss."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zkv.errors import StorageError
from zkv.storage import folder as folder_module
from zkv.storage.faults import Damaged
from zkv.storage.folder import Folder
from zkv.storage.log import Log
from zkv.storage.open_engine import open_engine


def opened(path: Path, *, name: str = "node1", role: str = "node") -> Folder:
    return Folder.open(path, name=name, role=role)


def joined(path: Path, cluster: int = 99) -> int:
    """Make a folder that belongs to a cluster, and let go of it; its incarnation."""
    folder = opened(path)
    log, _ = Log.open(folder.log_path, segment_bytes=4096)
    log.close()
    open_engine(folder.rows_path).close()
    folder.set_cluster(cluster)
    folder.close()
    return folder.incarnation


def test_a_new_folder_gets_an_identity_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "node1"
    first = opened(path)
    assert first.is_new
    assert first.cluster == 0
    assert 0 < first.incarnation < 2**63
    first.close()
    again = opened(path)
    assert again.incarnation == first.incarnation
    again.close()


def test_two_folders_never_have_the_same_incarnation(tmp_path: Path) -> None:
    assert joined(tmp_path / "a") != joined(tmp_path / "b")


def test_a_folder_remembers_its_cluster(tmp_path: Path) -> None:
    incarnation = joined(tmp_path, 99)
    folder = opened(tmp_path)
    assert (folder.cluster, folder.is_new, folder.incarnation) == (99, False, incarnation)
    folder.set_cluster(99)
    with pytest.raises(StorageError, match="belongs to cluster 63, not 64"):
        folder.set_cluster(100)
    folder.close()


@pytest.mark.parametrize(("name", "role"), [("node2", "node"), ("node1", "coordinator")])
def test_another_owner_is_refused_with_both_names(name: str, role: str, tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(StorageError, match=f"belongs to node node1, not to {role} {name}.*under that name"):
        opened(tmp_path, name=name, role=role)


def contents(path: Path) -> dict[str, tuple[bytes, int]]:
    """Each file's bytes and time of change, and each folder's (an entry that comes or goes changes it)."""
    whole = {"": path} | {str(found.relative_to(path)): found for found in path.rglob("*")}
    return {
        name: (found.read_bytes() if found.is_file() else b"", found.stat().st_mtime_ns)
        for name, found in whole.items()
    }


def of_format(path: Path, number: object, **more: object) -> None:
    """Say that the folder is of that format, and let no lock lie in it, as after a copy."""
    file = path / "identity.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": number} | more))
    (path / "lock").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (3, "is of format 3, written by a newer zkv; this one reads up to 2.*start it with the version that wrote it"),
        (7, "is of format 7, written by a newer zkv"),
        (0, "is of format 0, which this version of zkv reads no more; it reads 1 to 2.*a version between.*rejoins"),
        ("two", "cannot be read"),
    ],
)
def test_a_folder_of_another_format_is_refused_and_every_byte_of_it_is_as_it_was(
    number: object, words: str, tmp_path: Path
) -> None:
    joined(tmp_path)
    of_format(tmp_path, number, something="that this version does not know")
    before = contents(tmp_path)
    assert len(before) > 5
    with pytest.raises(StorageError, match=words):
        opened(tmp_path)
    assert contents(tmp_path) == before


def refuses(path: Path, **owner: str) -> None:
    before = contents(path)
    with pytest.raises(StorageError):
        opened(path, **owner)
    assert contents(path) == before


def test_whatever_a_folder_is_refused_for_it_is_as_it_was(tmp_path: Path) -> None:
    joined(tmp_path / "theirs")
    (tmp_path / "theirs" / "lock").unlink()
    refuses(tmp_path / "theirs", name="node2")
    refuses(tmp_path / "theirs", role="coordinator")
    without_rows(tmp_path / "theirs")
    refuses(tmp_path / "theirs")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("long")
    refuses(tmp_path / "work")


def first_to_second(path: Path) -> None:
    (path / "steps").write_text((path / "steps").read_text() + "1" if (path / "steps").exists() else "1")


def second_to_third(path: Path) -> None:
    (path / "steps").write_text((path / "steps").read_text() + "2")


def test_an_older_folder_is_brought_forward_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "FORMAT", 1)
    incarnation = joined(tmp_path, 99)
    monkeypatch.setattr(folder_module, "FORMAT", 3)
    monkeypatch.setattr(folder_module, "MIGRATIONS", {1: first_to_second, 2: second_to_third})
    for _ in range(2):
        folder = opened(tmp_path)
        assert (folder.incarnation, folder.cluster) == (incarnation, 99)
        folder.close()
        assert (tmp_path / "steps").read_text() == "12", "each once"
    assert json.loads((tmp_path / "identity.json").read_text())["format"] == 3
    monkeypatch.undo()
    refuses(tmp_path)


def test_a_folder_from_before_there_were_splits_is_opened_and_no_older_zkv_opens_it_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "FORMAT", 1)
    incarnation = joined(tmp_path, 99)
    monkeypatch.undo()
    folder = opened(tmp_path)
    assert (folder.incarnation, folder.cluster) == (incarnation, 99)
    folder.close()
    monkeypatch.setattr(folder_module, "FORMAT", 1)
    refuses(tmp_path)


def test_a_step_that_was_interrupted_is_begun_anew_and_those_before_it_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> None:
        del path
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "FORMAT", 1)
    incarnation = joined(tmp_path)
    monkeypatch.setattr(folder_module, "FORMAT", 3)
    monkeypatch.setattr(folder_module, "MIGRATIONS", {1: first_to_second, 2: interrupted})
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path)
    assert json.loads((tmp_path / "identity.json").read_text())["format"] == 2
    monkeypatch.setattr(folder_module, "MIGRATIONS", {1: first_to_second, 2: second_to_third})
    folder = opened(tmp_path)
    assert folder.incarnation == incarnation
    folder.close()
    assert (tmp_path / "steps").read_text() == "12"


def test_a_folder_older_than_the_oldest_migration_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "FORMAT", 1)
    joined(tmp_path)
    monkeypatch.setattr(folder_module, "FORMAT", 4)
    monkeypatch.setattr(folder_module, "MIGRATIONS", {1: first_to_second, 3: second_to_third})
    with pytest.raises(StorageError, match=r"is of format 1, which .* reads no more; it reads 3 to 4"):
        opened(tmp_path)
    refuses(tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"format": 1}', '{"format": "1"}', "[]"])
def test_an_identity_that_cannot_be_read_is_damage(content: str, tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text(content)
    with pytest.raises(Damaged, match="rejoins empty"):
        opened(tmp_path)


def test_a_folder_with_strange_files_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StorageError, match=r"holds thesis\.tex"):
        opened(tmp_path)
    assert not (tmp_path / "identity.json").exists()


HOLDER = """
import sys
from pathlib import Path
from zkv.storage.folder import Folder
folder = Folder.open(Path(sys.argv[1]), name="node1", role="node")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_with_the_pid_of_the_first_and_taken_when_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StorageError, match=f"is in use by process {holder.pid};"):
            opened(tmp_path)
        holder.kill()
        holder.wait()
        opened(tmp_path).close()


def test_a_folder_can_be_taken_again_after_it_was_let_go_or_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(StorageError):
        opened(tmp_path, name="other")
    opened(tmp_path).close()


def test_the_pid_file_names_this_process_until_the_folder_is_closed(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.write_pid()
    assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
    folder.close()
    assert not (tmp_path / "pid").exists()


def test_a_folder_whose_flush_failed_is_refused_from_then_on(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.mark_failed("fdatasync: Input/output error")
    folder.close()
    for _ in range(2):
        with pytest.raises(Damaged, match=r"a flush failed.*Input/output error.*rejoins empty"):
            opened(tmp_path)


def test_marking_a_folder_that_cannot_be_written_raises_nothing(tmp_path: Path) -> None:
    folder = opened(tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "away")
    folder.mark_failed("the disk is gone")
    assert not (tmp_path / "data").exists()
    os.close(folder._lock)


def without_log(path: Path) -> None:
    for segment in (path / "log").iterdir():
        segment.unlink()


def without_rows(path: Path) -> None:
    (path / "rows").rename(path.with_name("elsewhere"))


def without_anything(path: Path) -> None:
    without_log(path)
    without_rows(path)


@pytest.mark.parametrize(
    ("lose", "what"), [(without_log, "log"), (without_rows, "state rows"), (without_anything, "log")]
)
def test_a_member_without_its_log_or_rows_is_a_lost_disk(
    lose: Callable[[Path], None], what: str, tmp_path: Path
) -> None:
    joined(tmp_path / "data")
    lose(tmp_path / "data")
    with pytest.raises(Damaged, match=f"has lost its {what}.*rejoins empty"):
        opened(tmp_path / "data")


def test_a_folder_that_never_joined_may_lack_everything(tmp_path: Path) -> None:
    opened(tmp_path).close()
    folder = opened(tmp_path)
    assert folder.is_new
    folder.close()


def test_an_interrupted_change_of_identity_leaves_the_old_one(tmp_path: Path) -> None:
    incarnation = joined(tmp_path)
    (tmp_path / "identity.json.new").write_text('{"format"')
    folder = opened(tmp_path)
    assert folder.incarnation == incarnation
    folder.set_cluster(99)
    folder.close()


def test_free_bytes_are_those_of_the_folders_disk(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    free = os.statvfs(tmp_path)
    assert abs(folder.free_bytes() - free.f_bavail * free.f_frsize) < 2**30
    folder.close()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use the data folder") as caught:
        opened(tmp_path / "file" / "data")
    assert "\n" not in str(caught.value)
