"""Which faults come when: drawn from the seed, so that each kind comes before any comes again."""

from collections.abc import Iterator, Sequence
from random import Random

from zkv.chaos.faults import FAULTS, Needs
from zkv.errors import InvalidRequest


def chosen(kinds: Sequence[str], present: set[Needs], absent: dict[Needs, str]) -> tuple[list[str], dict[str, str]]:
    """The kinds (none: all) that are possible here, and why others are not. Raises InvalidRequest for unknown ones."""
    unknown = [kind for kind in kinds if kind not in FAULTS]
    if unknown:
        raise InvalidRequest(f"no such fault: {', '.join(unknown)}", advice=f"there are {', '.join(FAULTS)}")
    wanted = list(kinds or FAULTS)
    skipped = {kind: absent[FAULTS[kind].needs] for kind in wanted if FAULTS[kind].needs not in present}
    return [kind for kind in wanted if kind not in skipped], skipped


def endless(kinds: Sequence[str], rng: Random) -> Iterator[str]:
    """Rounds of all kinds, each shuffled."""
    while True:
        deck = list(kinds)
        rng.shuffle(deck)
        yield from deck
