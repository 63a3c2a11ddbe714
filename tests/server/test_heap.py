"""Large blocks are mapped apart, also once such a block has been freed: glibc would put the next into its heap."""

import subprocess
import sys

import pytest

COUNT = """
import ctypes
from zkv.server.heap import MAPPED_FROM_BYTES, map_large_blocks

class Info(ctypes.Structure):
    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
if {asked}:
    assert map_large_blocks()
for _ in range(3):
    block = bytearray(2 * MAPPED_FROM_BYTES)
    del block
before = mallinfo().hblks
blocks = [bytearray(2 * MAPPED_FROM_BYTES) for _ in range(8)]
print(mallinfo().hblks - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others have no mallopt")
@pytest.mark.parametrize(("asked", "mapped"), [(True, 8), (False, 0)])
def test_blocks_that_come_and_go_are_mapped_each_time(asked: bool, mapped: int) -> None:
    script = COUNT.replace("{asked}", str(asked))
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    if "mallinfo2" in said.stderr:
        pytest.skip("this C library counts no blocks")
    assert (said.stderr, int(said.stdout)) == ("", mapped)
