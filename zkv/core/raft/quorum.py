"""Majority arithmetic: how many are enough, and what enough of them have reached."""

from collections.abc import Iterable


def majority(count: int) -> int:
    """How many of `count` voters any two decisions must share one of."""
    return count // 2 + 1


def reached(values: Iterable[int]) -> int:
    """The greatest number that a majority of voters has reached, one value a voter (at least one).

    With an even count the extra voter makes a majority harder, not easier: of four, three must have it.
    """
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]
