"""What a mutant is: a few words changed in a copy of the tree, and who is to notice."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("zkv", "tests", "pyproject.toml")


class Rotten(Exception):
    """The text to change is no longer there, or stands in several places: the mutant must be looked at."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`old`, found exactly once in `file`, becomes `new`."""

    file: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Change the file below `root`. Raises Rotten."""
        path = root / self.file
        text = path.read_text() if path.exists() else ""
        if text.count(self.old) != 1:
            raise Rotten(f"{self.file} has {text.count(self.old)} places that read {self.old!r}, not one")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. `rule` is the rule of the design that it breaks, `breaks` what then goes wrong.

    `seeds`: the simulator notices within so many seeds, from 1 on; 0: it does not, `why` says so, and `tests` do.
    `elastic`: the runs are those of `zkv sim --elastic`.
    """

    name: str
    rule: str
    breaks: str
    edits: tuple[Edit, ...]
    seeds: int = 40
    tests: tuple[str, ...] = field(default=())
    why: str = ""
    elastic: bool = False

    def __post_init__(self) -> None:
        assert self.seeds or (self.tests and self.why), f"{self.name}: who notices, and why not the simulator?"

    def grow(self, folder: Path) -> None:
        """Make a copy of the tree in `folder` that has this fault. Raises Rotten."""
        copy_tree(folder)
        for edit in self.edits:
            edit.apply(folder)


def copy_tree(folder: Path) -> None:
    """What a run of the simulator or of some tests needs, in `folder`."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
