"""A network and mounts of one's own, for this process and all that it starts; they go when the last of these ends.

Linux only: as root, or as anybody where the system lets users make namespaces.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

_NEW_MOUNTS, _NEW_USER, _NEW_NETWORK = 0x0002_0000, 0x1000_0000, 0x4000_0000
_NEEDED = ("ip", "tc", "nsenter", "unshare", "mount")


def enter() -> str:
    """Leave the system's network and mounts for new, empty ones. Returns "", or why that is not possible.

    To be called before this process has a thread or a socket.
    """
    if sys.platform != "linux":
        return f"{sys.platform} has no network namespaces"
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        return f"there is no {', '.join(missing)} on the PATH"
    user, group = os.getuid(), os.getgid()
    flags = _NEW_MOUNTS | _NEW_NETWORK | (0 if user == 0 else _NEW_USER)
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(flags) != 0:
        return f"the system does not let this user make namespaces: {os.strerror(ctypes.get_errno())}"
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    run("mount", "--make-rprivate", "/")
    run("ip", "link", "set", "lo", "up")
    return ""


def run(*words: str, given: str = "") -> None:
    """Run one of the system's commands. Raises CalledProcessError, with what it said."""
    ended = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
    if ended.returncode:
        error = subprocess.CalledProcessError(ended.returncode, words)
        error.add_note(ended.stderr.strip())
        raise error


def succeeds(*words: str) -> bool:
    """Whether one of the system's commands does what it is asked."""
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
