"""Which versions of the protocol work together: equal ones, and those that are one apart.

So processes are upgraded one after the other while the others serve. Everybody states its version in its first words
(Hello and Welcome, Register and Registered, every Peers), and whoever finds the other too far away refuses it in words.
A new version leads to nothing that the one before it does not understand, until all have it.
"""

from typing import Final

PROTOCOL_VERSION = 2
SPLITS_SINCE: Final = 2  # the version that knows entries that split a shard
MERGES_SINCE: Final = 2  # and those of a merge
DRAFTS_SINCE: Final = 2  # and snapshots that go on where an earlier one broke off
APART_MAX: Final = 1


def works_with(protocol: int) -> bool:
    """Whether a process that states this version and this process understand each other."""
    return abs(protocol - PROTOCOL_VERSION) <= APART_MAX


def too_far(who: str, protocol: int, me: str) -> str:
    """Why `who` is refused by `me`, in words."""
    return (
        f"{who} speaks protocol {protocol}, {me} {PROTOCOL_VERSION}: more than one version apart they do not work "
        "together, so upgrade one version at a time"
    )
