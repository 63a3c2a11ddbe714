"""What the README shows is run: each block of Python, and each command with its output."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zkv.testing import Cluster

README = (Path(__file__).parents[1] / "README.md").read_text()
ADDRESS = "127.0.0.1:7400"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[0])
def test_the_python_of_the_readme_runs(code: str, zkv_cluster: Cluster) -> None:
    words = [sys.executable, "-W", "error", "-c", code.replace(ADDRESS, zkv_cluster.address)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_commands_of_the_readme_print_what_it_says(zkv_cluster: Cluster) -> None:
    (tour,) = blocks("console")
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", tour, re.MULTILINE)
    assert len(steps) > 10
    environment = os.environ | {"ZKV_ADDRESS": zkv_cluster.address}
    shell = f'zkv() {{ "{sys.executable}" -m zkv.cli.main "$@"; }}; '
    for command, output in steps:
        words = ["bash", "-c", shell + command]
        ended = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        told = ended.stdout + ended.stderr
        if command.startswith("zkv put "):  # a version: which one depends on what the shard has seen before
            assert (command, told.strip().isdigit()) == (command, True)
        else:
            assert (command, told) == (command, output)
