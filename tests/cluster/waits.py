"""Waits for what is to come true of a real cluster, with a deadline."""

import time
from collections.abc import Callable

import zkv

_LOOK_S = 0.1


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = 60.0) -> None:
    """Block until the condition holds; a cluster that does not answer yet counts as not yet."""
    end = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
        except zkv.ZkvError as error:
            last = str(error)
        else:
            last = "it is not so"
        assert time.monotonic() < end, f"not within {within_s:g} s: {what} ({last})"
        time.sleep(_LOOK_S)
