"""Many runs: one seed after the other, in one process or several, always handed back in the order of the seeds."""

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from zkv.sim.plan import Plan
from zkv.sim.report import Report
from zkv.sim.run import simulate


def search(first: int, runs: int, plan: Plan, jobs: int) -> Iterator[Report]:
    """The reports of seeds first, first + 1, ..., in that order. Whoever stops listening stops the search."""
    seeds = iter(range(first, first + runs))
    if jobs == 1:
        yield from (simulate(seed, plan) for seed in seeds)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    waiting: deque[Future[Report]] = deque()
    try:
        for seed in seeds:
            waiting.append(pool.submit(simulate, seed, plan))
            if len(waiting) > 2 * jobs:  # so that no process waits for a slow neighbour
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
