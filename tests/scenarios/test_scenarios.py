"""Scripts of commands and everything that came of them: `raft/*.txt`, `shard/*.txt`, `cluster/*.txt`, `client/*.txt`.

The commands of a folder are in the module of its name (`raft_script.py`, ...). A block is commands, `----`, and their
whole output; blocks are parted by empty lines, and `#` begins a remark. After a change of behaviour run with
--rewrite, read the diff, and commit it only if you understand each line.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import client_script
import cluster_script
import pytest
import raft_script
import shard_script


class Stage(Protocol):
    """What a script plays on."""

    def run(self, command: str) -> list[str]:
        """Do one command; everything that came of it, a line each."""
        ...

    def close(self) -> None:
        """Give back what it changed beyond itself."""
        ...


STAGES: dict[str, Callable[[], Stage]] = {
    "raft": raft_script.Script,
    "shard": shard_script.Script,
    "cluster": cluster_script.Script,
    "client": client_script.Script,
}
SCRIPTS = sorted(path for folder in STAGES for path in (Path(__file__).parent / folder).glob("*.txt"))


def play(text: str, stage: Stage) -> str:
    """The script with the output that it has now."""
    played = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("----")[0].strip("\n").split("\n")
        commands = [line for line in lines if line and not line.startswith("#")]
        if not commands:
            played.append(block)
            continue
        output = [line for command in commands for line in stage.run(command)]
        played.append("\n".join([*lines, "----", *(output or ["ok"])]))
    return "\n\n".join(played) + "\n"


@pytest.mark.parametrize("path", SCRIPTS, ids=[f"{path.parent.name}/{path.stem}" for path in SCRIPTS])
def test_the_script_plays_as_written(path: Path, rewrite: bool) -> None:
    text = path.read_text()
    stage = STAGES[path.parent.name]()
    try:
        played = play(text, stage)
    finally:
        stage.close()
    if rewrite:
        path.write_text(played)
    else:
        assert played == text
