"""A build of the simulator for long searches: the core and the simulator as C, by mypyc, from the very same source.

    .venv/bin/python -m tests.sim.compiled FOLDER       # about three minutes
    cd FOLDER && PYTHONPATH=. python -m zkv.cli.main sim --seed 1 --runs 5000 --jobs 2

A run costs a third to a half. A seed is the same run in both: the build ends by comparing some traces. What is
compiled is stricter than what is interpreted: a value that is not of its declared type raises TypeError. One thing
differs by nature: a tuple has no identity there, so code must not ask for one.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import typer

_TREE = Path(__file__).parents[2]
_COMPILED = ("zkv/core", "zkv/sim")
# mypyc gives its classes slots by itself, and refuses to be told.
_SLOTS = re.compile(r"^(\s*@dataclass)(?:\(slots=True\)|(\(.*), slots=True|(\()slots=True, )", re.MULTILINE)
# Left as they are: messages are msgspec's classes; and mypyc (2.4) fails at a `__next__` that returns a tuple.
_INTERPRETED = re.compile(r"\((Message|msgspec\.Struct|Struct)\b|def __next__\(self\) -> SnapshotRow")
_BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup
files = sys.argv[1:]
sys.argv = ["setup.py", "build_ext", "--inplace"]
setup(name="zkv-compiled", packages=[], ext_modules=mypycify(files, opt_level="2", debug_level="0", multi_file=True))
"""
_TRACES = """
from zkv.sim.plan import Plan
from zkv.sim.run import simulate
for plan in (Plan(), Plan(elastic=True, coordinators=3)):
    for seed in range(1, 6):
        report = simulate(seed, plan)
        print(seed, report.result, report.trace)
"""


def build(folder: Path) -> None:
    """Copy the project's code to `folder`, which must not exist, and compile it there. Raises CalledProcessError."""
    shutil.copytree(_TREE / "zkv", folder / "zkv", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_TREE / "pyproject.toml", folder)
    files = []
    for path in sorted(path for part in _COMPILED for path in (folder / part).rglob("*.py")):
        text = path.read_text()
        path.write_text(_SLOTS.sub(r"\1\2\3", text))
        if path.name != "__init__.py" and not _INTERPRETED.search(text):
            files.append(str(path.relative_to(folder)))
    typer.echo(f"compiling {len(files)} modules into {folder}; this takes some minutes")
    run(folder, _BUILD, *files, out=folder / "build.log")


def run(folder: Path, code: str, *words: str, out: Path) -> str:
    """What this code prints in a process that imports zkv from `folder`, kept in the file `out`."""
    with out.open("w") as log:
        environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-c", code, *words]
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=True)
    return out.read_text()


def main(folder: Path) -> int:
    """Build, compare traces, say how to use it. 1 if a trace differs, 2 where there is something in the way."""
    if folder.exists():
        typer.echo(f"{folder} exists already: remove it, or name another folder")
        return 2
    build(folder)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert (folder / f"zkv/core/raft/replica{suffix}").exists(), f"nothing was built: see {folder / 'build.log'}"
    compiled = run(folder, _TRACES, out=folder / "traces.compiled")
    interpreted = run(_TREE, _TRACES, out=folder / "traces.interpreted")
    if compiled != interpreted:
        typer.echo(f"the traces differ: diff {folder}/traces.interpreted {folder}/traces.compiled")
        return 1
    typer.echo(f"the same {len(compiled.splitlines())} traces as interpreted. To use it:")
    typer.echo(f"    cd {folder} && PYTHONPATH=. {sys.executable} -m zkv.cli.main sim --seed 1 --runs 5000 --jobs 2")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
