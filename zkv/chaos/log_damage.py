"""What a disk may do to the log of a process that is dead: tear its end, or flip a bit in what it had confirmed."""

import os
from pathlib import Path
from random import Random

from zkv.storage import recovery, segments
from zkv.storage.disk import Disk
from zkv.storage.recovery import StoredSegment
from zkv.storage.segments import HEADER_BYTES, RECORD_BYTES


def tear(log: Path, rng: Random) -> str:
    """Leave behind the last record what an unflushed write leaves when the power fails; says what.

    It is added, not cut out of what was there: kill -9 cannot tell how much of that was promised.
    """
    last = _read(log)[-1]
    body = rng.randbytes(rng.randint(100, 4_000))
    record = segments.seal(body)
    whole = segments.prefix(record, last.header.position_of(last.end), last.header.salt) + record
    match rng.choice(("cut", "holed", "noise")):
        case "cut":
            torn = whole[: rng.randrange(1, len(whole))]
        case "holed":  # a sector in the middle never arrived
            at = rng.randrange(RECORD_BYTES, len(whole) - 50)
            torn = whole[:at] + bytes(50) + whole[at + 50 :]
        case _:
            torn = rng.randbytes(len(whole))
    with last.path.open("r+b") as file:
        file.seek(last.end)
        file.write(torn)
    return f"{len(torn)} bytes of a torn record at byte {last.end} of {last.path.name}"


def flip(log: Path, rng: Random) -> str:
    """Flip one bit of a record that a later one vouches for; says which."""
    candidates = [(segment, _records(segment)) for segment in _read(log)]
    # The newest segment's last record may pass for a torn tail, and should.
    spans = [(segment, end) for segment, ends in candidates[:-1] for end in ends[-1:]]
    segment, ends = candidates[-1]
    spans += [(segment, ends[-2])] if len(ends) > 1 else []
    segment, end = rng.choice(spans)
    at, bit = rng.randrange(HEADER_BYTES, end), rng.randrange(8)
    with segment.path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
        os.fsync(file.fileno())
    return f"bit {bit} of byte {at} of {segment.path.name}"


def _read(log: Path) -> list[StoredSegment]:
    found = recovery.read(log, Disk())
    assert found is not None, f"a process that served has a log in {log}"
    return found.needed


def _records(segment: StoredSegment) -> list[int]:
    """Where the segment's records end."""
    return [end for end, _ in segments.records(segment.path.read_bytes(), segment.header)]
