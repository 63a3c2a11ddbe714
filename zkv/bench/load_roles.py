"""A process of load: `python -m zkv.bench.load_roles TASK`, a Task as JSON.

It connects, prints `ready`, reads from stdin when to begin and to end, and prints its Outcome as JSON.
"""

import gc
import sys

import msgspec

from zkv.bench.clients import async_loop, sync_loop
from zkv.bench.loops import closed_loop, fleet_loop, open_loop
from zkv.bench.plan import Outcome, Shell, Task
from zkv.bench.recorder import Recorder
from zkv.bench.workloads import Stream


def run(task: Task) -> Outcome:
    """Ask as the task says, from when the starter says."""
    plan = task.plan
    stream = Stream(plan, task.table, task.part)
    if plan.rate:
        recorder = open_loop(task.addresses, stream, plan, start)
    elif plan.shell is Shell.aio:
        recorder = async_loop(task.addresses, stream, plan, start, task.clients)
    elif plan.shell is Shell.sync:
        recorder = sync_loop(task.addresses, stream, plan, start, task.clients)
    elif task.clients > 1:
        recorder = fleet_loop(task.addresses, stream, plan, start, task.clients)
    else:
        recorder = closed_loop(task.addresses, stream, plan, start)
    return recorder.outcome()


def start() -> Recorder:
    """Say that this process is ready, and wait to be told when to begin and to end."""
    gc.collect()
    gc.freeze()
    say("ready")
    begin, end = msgspec.json.decode(sys.stdin.readline(), type=tuple[float, float])
    return Recorder(begin, end)


def say(line: str) -> None:
    """Tell the starter."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    say(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Task))).decode())
