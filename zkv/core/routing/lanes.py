"""From parts to groups: each part waits in its shard's lane; a turn's end cuts every lane into groups.

One write group holds consecutive sequence numbers, one level, one answer to "may it have happened before", and no more
than a shard takes at once. Numbers are given out here, at the cut, so that each group's are consecutive (rule 12).
"""

from collections import deque
from itertools import chain

from zkv import limits
from zkv.core.routing.operations import SCAN, WRITE
from zkv.core.routing.parts import Part
from zkv.core.routing.session import Session
from zkv.core.shard.descriptor import ShardInfo


class Lane:
    """What waits for one shard. `info` is the shard as it was when the parts were placed by it."""

    __slots__ = ("again", "anywhere", "fresh", "info", "reads")

    def __init__(self, info: ShardInfo) -> None:
        self.info = info
        self.fresh: deque[Part] = deque()  # writes without numbers
        self.again: list[Part] = []  # writes with numbers, to be sent again
        self.reads: list[Part] = []  # and pages of scans
        self.anywhere: list[Part] = []  # reads that any replica may serve, not refused yet

    def __bool__(self) -> bool:
        return bool(self.fresh or self.again or self.reads or self.anywhere)

    def add(self, part: Part) -> None:
        """Let the part wait for the turn's end."""
        if part.request.kind == WRITE:
            if part.first:
                self.again.append(part)
            else:
                self.fresh.append(part)
        elif part.request.level and not part.tries:
            self.anywhere.append(part)
        else:
            self.reads.append(part)

    def waiting(self) -> list[Part]:
        """What is in the lane and has not ended."""
        return [part for part in (*self.again, *self.fresh, *self.reads, *self.anywhere) if not part.done]

    def take_all(self) -> list[Part]:
        """Empty the lane."""
        parts = self.waiting()
        self.again, self.reads, self.anywhere = [], [], []
        self.fresh.clear()
        return parts

    def cut_again(self) -> list[list[Part]]:
        """Groups of writes that keep their numbers: by session, in runs without a hole."""
        parts = sorted((part for part in self.again if not part.done), key=_number)
        self.again = []
        groups: list[list[Part]] = []
        count = size = 0
        for part in parts:
            if groups and _follows(part, groups[-1][-1]) and _fits(count + len(part.items), size + part.size):
                groups[-1].append(part)
            else:
                groups.append([part])
                count = size = 0
            count += len(part.items)
            size += part.size
        return groups

    def cut_fresh(self, session: Session, now_ms: int) -> list[list[Part]]:
        """Groups of writes that get their numbers now. What finds no room in the window, or is late, stays."""
        fresh, groups = self.fresh, []
        room = session.room()
        while fresh and room > 0:
            group, count = self._fill(room, now_ms)
            if not group:
                break
            room -= count
            run = session.allot(count)
            number = run.first
            for part in group:
                part.run = run
                part.first = number
                number += len(part.items)
            groups.append(group)
        return groups

    def cut_reads(self, parts: list[Part]) -> list[list[Part]]:
        """Groups of reads, by level; each page of a scan is alone."""
        groups: list[list[Part]] = []
        group: list[Part] = []
        level = -1  # of what may join the last group; -1: nothing may
        count = 0
        for part in parts:
            if part.done:
                continue
            request = part.request
            more = len(part.items)
            count += more
            alone = part.alone or request.kind == SCAN
            if request.level == level and count <= limits.BATCH_OPERATIONS_MAX and not alone:
                group.append(part)
                continue
            group = [part]
            groups.append(group)
            count = more
            level = -1 if alone else request.level
        return groups

    def _fill(self, room: int, now_ms: int) -> tuple[list[Part], int]:
        """The next group of new writes, and how many operations it holds, at most `room`."""
        fresh = self.fresh
        group: list[Part] = []
        count = size = 0
        while fresh:
            part = fresh[0]
            if part.done:
                fresh.popleft()
                continue
            if part.request.deadline_ms <= now_ms:
                break  # it ends in the next sweep, which is near, and is not sent before
            more = len(part.items)
            if more > room - count and not group and room > 0:
                fresh.insert(1, part.cut(room))  # never starved by smaller ones that would fit
                more = room
            alike = not group or part.request.level == group[0].request.level
            if more > room - count or not alike or (group and not _fits(count + more, size + part.size)):
                break
            group.append(fresh.popleft())
            count += more
            size += part.size
        return group, count


def items_of(group: list[Part]) -> tuple[object, ...]:
    """The items of all parts, in order."""
    if len(group) == 1:
        return group[0].items
    return tuple(chain.from_iterable([part.items for part in group]))


def _fits(count: int, size: int) -> bool:
    return count <= limits.BATCH_OPERATIONS_MAX and size <= limits.BATCH_BYTES_MAX


def _number(part: Part) -> tuple[bytes, int]:
    assert part.run is not None, "a write that is sent again has its number"
    return (part.run.session.client, part.first)


def _follows(part: Part, before: Part) -> bool:
    """Whether the part may stand behind `before` in one group."""
    assert part.run is not None
    assert before.run is not None
    return (
        part.run.session is before.run.session
        and part.first == before.first + len(before.items)
        and part.request.level == before.request.level
        and part.may_have_happened == before.may_have_happened
        and not (part.alone or before.alone)
    )
