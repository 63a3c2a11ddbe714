"""Scripts of commands and everything that came of them: `raft/*.txt`, commands in `raft_script.py`.

A block is a command, `----`, and its whole output. After a change of behaviour run with --rewrite, read the diff, and
commit it only if you understand each line.
"""

from pathlib import Path

import pytest
from raft_script import Script

SCRIPTS = sorted((Path(__file__).parent / "raft").glob("*.txt"))


def play(text: str) -> str:
    """The script with the output that it has now."""
    script = Script()
    played = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("----")[0].strip("\n").split("\n")
        commands = [line for line in lines if line and not line.startswith("#")]
        if not commands:
            played.append(block)
            continue
        output = [line for command in commands for line in script.run(command)]
        played.append("\n".join([*lines, "----", *(output or ["ok"])]))
    return "\n\n".join(played) + "\n"


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_the_script_plays_as_written(path: Path, rewrite: bool) -> None:
    text = path.read_text()
    played = play(text)
    if rewrite:
        path.write_text(played)
    else:
        assert played == text
