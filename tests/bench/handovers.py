"""What can be had at most with a thread a request: `python -m tests.bench.handovers`.

Threads that each wait on a lock of their own, and one that releases all those locks as soon as all are waited on: no
request is made, sent or answered. So a sync client with as many threads cannot be faster than this.
"""

import argparse
import sys
import threading
import time
from collections import deque


class Handovers:
    """`count` threads that do nothing but ask, and wait until they are let go."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._asking: deque[threading.Lock] = deque()
        self._over = False
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        while not self._over:
            self._asking.append(lock)
            lock.acquire()

    def measure(self, seconds: float) -> tuple[float, float]:
        """Hand-overs a second, and us of CPU for each."""
        asking, done = self._asking, 0
        begun, spent = time.perf_counter(), time.process_time()
        while time.perf_counter() < begun + seconds:
            while len(asking) < self._count:
                time.sleep(0)  # gives the interpreter to those who have not asked yet
            for _ in range(self._count):
                asking.popleft().release()
            done += self._count
        took, cpu = time.perf_counter() - begun, time.process_time() - spent
        self._over = True
        while any(thread.is_alive() for thread in self._threads):
            while asking:
                asking.popleft().release()
            time.sleep(0)
        return done / took, cpu / done * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    rate, cpu_us = Handovers(arguments.threads).measure(arguments.seconds)
    sys.stdout.write(f"{arguments.threads} threads: {rate:,.0f} hand-overs a second, {cpu_us:.1f} us of CPU each\n")


if __name__ == "__main__":
    main()
