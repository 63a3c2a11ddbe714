"""A disk so small that a test can fill it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs mounted at `path`. Skips the test where none can be mounted."""

    def __init__(self, path: Path, *, mebibytes: int) -> None:
        if os.geteuid() != 0 or sys.platform != "linux":
            pytest.skip("only root on Linux can mount a small disk")
        self.path = path
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "zkv-test", str(path)]
        mounted = subprocess.run(command, check=False, capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
        self._ballast = path / "ballast"

    def fill(self, *, left: int) -> None:
        """Leave `left` bytes free, whatever was free before."""
        with self._ballast.open("ab") as file:
            more = shutil.disk_usage(self.path).free - left
            if more > 0:
                os.posix_fallocate(file.fileno(), self._ballast.stat().st_size, more)

    def make_room(self) -> None:
        """Take away what `fill` has put there."""
        self._ballast.unlink()

    def unmount(self) -> None:
        """Let go of it; what still has a file open there keeps it."""
        subprocess.run(["umount", "-l", str(self.path)], check=True)
