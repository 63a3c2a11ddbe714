"""How a process speaks to its operator: one line an event on stderr, `time level process message`."""

import logging
import sys
import time


def begin_logging(process: str, level: str = "INFO") -> None:
    """Send everything that `logging` hears to stderr, under the process's name, in UTC. Once per process."""
    name = process.replace("%", "%%")
    form = f"%(asctime)s.%(msecs)03dZ %(levelname)s {name} %(message)s"
    formatter = logging.Formatter(form, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
