"""A disk that can be filled: a file system in memory, small, for one node's folder. Needs mounts of one's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIZE_MIB = 640
_CHUNK = b"\0" * (1 << 20)


class SmallDisk:
    """Mounted at `path`; the mount goes with the run's namespace, or with `close`."""

    def __init__(self, path: Path, node: str) -> None:
        self.path = path
        self.node = node
        path.mkdir(parents=True)
        mount = shutil.which("mount")
        assert mount is not None, "isolation looks for it"
        subprocess.run([mount, "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "zkv-chaos", path], check=True)

    @property
    def folder(self) -> Path:
        """The node's data folder."""
        return self.path / self.node

    @contextmanager
    def filled(self, leave_bytes: int) -> Iterator[int]:
        """Meanwhile a file takes all room but so much; gives its size."""
        filler = self.path / "filler"
        try:
            yield self._fill(filler, leave_bytes)
        finally:
            filler.unlink(missing_ok=True)

    def keep(self, target: Path) -> None:
        """Copy the node's folder to where it outlives the mount."""
        if self.folder.exists():
            shutil.copytree(self.folder, target)

    def close(self) -> None:
        """Unmount."""
        umount = shutil.which("umount")
        if umount is not None:
            subprocess.run([umount, "--lazy", self.path], check=True)

    def _fill(self, path: Path, leave_bytes: int) -> int:
        written = 0
        with path.open("wb", buffering=0) as filler:
            while (free := self._free_bytes()) > leave_bytes:
                try:
                    written += filler.write(_CHUNK[: min(len(_CHUNK), free - leave_bytes)])
                except OSError:  # ENOSPC: the node was faster
                    break
        return written

    def _free_bytes(self) -> int:
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize
