"""Mutated bytes for everything that decodes: nothing but its typed error escapes, and memory stays bounded.

python -m tests.fuzz.decoders --frames 1000000         # over all decoders; --seed N for others, and to repeat a failure
"""

import argparse
import random
import resource
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field

from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.wild import Wild

SEEDS = 40  # right frames that are mutated, at one time; one of them is new for every FRESH_EVERY frames
FRESH_EVERY = 20
MEASURED_EVERY = 50  # of these one has its memory measured, which takes long
MEMORY_PER_BYTE, MEMORY_BYTES = 32, 256 * 1024  # what a frame may take while it is decoded: so much a byte, and this
ADDRESS_SPACE_BYTES = 1024 * 1024 * 1024  # beyond what Python has at the start: a MemoryError escapes, and is found
FAILURES_MAX = 5


@dataclass
class Found:
    """What came of the frames of one decoder."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    largest: int = 0  # bytes of memory for one frame


def fuzz(target: Target, frames: int, seed: int) -> Found:
    """Feed it. Right frames must be taken; of mutated ones anything may come but another error than the typed one."""
    chance = random.Random(f"{target.name} {seed}")
    wild = Wild(chance)
    found = Found()
    pool = [target.fresh(wild) for _ in range(SEEDS)]
    for number in range(frames):
        if number % FRESH_EVERY == 0:
            pool[chance.randrange(SEEDS)] = frame = target.fresh(wild)
        else:
            frame = wild.mutated(chance.choice(pool), chance.choice(pool))
        measured = number % MEASURED_EVERY == 1
        if measured:
            tracemalloc.start()
        outcome = _fed(target, frame, found)
        found.counts[outcome] += 1
        if measured:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            found.largest = max(found.largest, peak)
            if peak > MEMORY_BYTES + MEMORY_PER_BYTE * len(frame):
                found.failures.append(f"{target.name}: {peak} bytes of memory for {len(frame)}: {frame[:200].hex()}")
        if len(found.failures) >= FAILURES_MAX:
            break
    return found


def _fed(target: Target, frame: bytes, found: Found) -> str:
    try:
        target.take(frame)
    except target.refusals:
        return "refused"
    except Exception as error:  # what must not be: it is what we look for
        found.failures.append(
            f"{target.name}: {type(error).__name__}: {error}: {len(frame)} bytes: {frame[:200].hex()}"
        )
        return "escaped"
    return "taken"


def main() -> int:
    """A line for each decoder; 0 only if nothing escaped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ADDRESS_SPACE_BYTES, hard))
    began = time.monotonic()
    each = -(-args.frames // len(TARGETS))
    print(f"{'decoder':30} {'frames':>9} {'taken':>9} {'refused':>9} {'escaped':>8} {'most memory':>12}")
    failures: list[str] = []
    total = 0
    for target in TARGETS:
        found = fuzz(target, each, args.seed)
        failures += found.failures
        counts = found.counts
        total += counts.total()
        print(
            f"{target.name:30} {counts.total():9} {counts['taken']:9} {counts['refused']:9} {counts['escaped']:8} "
            f"{found.largest / 1024:8.0f} KiB",
            flush=True,
        )
    print(f"{total} frames in {time.monotonic() - began:.0f} s; {len(failures)} failures")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
