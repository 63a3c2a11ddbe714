"""One million puts of 100 bytes to 100,000 keys: what the nodes then take of memory, and the log of the disk.

python -m tests.cluster.million                # --puts N for fewer
"""

import argparse
import sys
import time
from dataclasses import dataclass

import zkv
from zkv.testing import Cluster

IDLE_BYTES_MAX = 120 << 20
FULL_BYTES_MAX = 400 << 20
LOG_BYTES_MAX = 192 << 20  # a checkpoint is asked for at 64 MiB; it takes a segment more, and until then the old ones
KEYS = 100_000
VALUE_BYTES = 100
_OUTSTANDING = 1_000
_LOOK_EVERY = 50_000


@dataclass
class Most:
    """The most that any node has taken so far."""

    memory: int = 0
    log: int = 0

    def look(self, client: zkv.Client) -> None:
        """Ask every node."""
        for name, figures in client.status().items():
            if name.startswith("node"):
                assert figures is not None, f"{name} does not answer"
                memory, log = figures["memory_bytes"], figures["log_bytes"]
                assert isinstance(memory, int)
                assert isinstance(log, int)
                self.memory, self.log = max(self.memory, memory), max(self.log, log)


def value_of(number: int) -> bytes:
    """Of the put `number`: no two are alike."""
    return b"%0*d" % (VALUE_BYTES, number)


def put_all(client: zkv.Client, puts: int, most: Most) -> None:
    """Put after put, some always in flight; every one is acknowledged when this returns."""
    with client.pipeline() as pipeline:
        for first in range(0, puts, _OUTSTANDING):
            last = min(first + _OUTSTANDING, puts)
            waiting = [pipeline.put(b"key-%06d" % (number % KEYS), value_of(number)) for number in range(first, last)]
            for one in waiting:
                one.result()
            if first % _LOOK_EVERY == 0:
                most.look(client)
    most.look(client)


def wrong_rows(client: zkv.Client, puts: int) -> int:
    """How many keys do not hold the last value that was put there."""
    wrong = 0
    for first in range(0, min(KEYS, puts), 1_000):
        numbers = range(first, min(first + 1_000, KEYS, puts))
        held = client.mget([b"key-%06d" % number for number in numbers])
        last = {number: number + (puts - 1 - number) // KEYS * KEYS for number in numbers}
        wrong += sum(held[b"key-%06d" % number] != value_of(last[number]) for number in numbers)
    return wrong


def main() -> int:
    """Print the figures; 0 only if all are within their bounds and every key holds its last value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--puts", type=int, default=1_000_000)
    puts = parser.parse_args().puts
    idle, most = Most(), Most()
    with Cluster(nodes=3) as cluster, cluster.client(timeout_s=30.0) as client:
        idle.look(client)
        began = time.monotonic()
        put_all(client, puts, most)
        took = time.monotonic() - began
        wrong = wrong_rows(client, puts)
    print(  # noqa: T201
        f"{puts} puts in {took:.0f} s; most of any node: idle {idle.memory >> 20} MiB, then {most.memory >> 20} MiB, "
        f"log {most.log >> 20} MiB; {wrong} rows are not what was put last"
    )
    bounded = idle.memory <= IDLE_BYTES_MAX and most.memory <= FULL_BYTES_MAX and most.log <= LOG_BYTES_MAX
    return 0 if bounded and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
