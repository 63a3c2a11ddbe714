"""One shard's part in merges as entries change it: alike on every replica, the space of what has come apart (rule 23).

What has come lies in a space of its own, which is no part of the replica's rows before the verdict; its sessions are
held in memory, too, for a verdict may be applied in the same turn as the last of them.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from msgspec import structs

from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.merge import (
    MERGED_KEPT,
    Absorbing,
    Begin,
    Carried,
    Freeze,
    MergeState,
    Thaw,
    Verdict,
    united,
    wrong_with_source,
    wrong_with_target,
)
from zkv.core.shard.records import SessionRecord, decode_session
from zkv.core.shard.rows import Changes, numbered_range, row_key, session_key
from zkv.ids import ClientId

DATA = b"r"

Stored = Callable[[int], Iterator[tuple[ClientId, SessionRecord]]]  # the sessions of a space


class Absorbed(NamedTuple):
    """What a committed merge brings: the source's rows lie in `space`, from `at` on."""

    at: bytes
    space: int
    counter: int
    floor: bytes
    sessions: dict[ClientId, SessionRecord]


class Merging:
    """The state of one replica. `drops` gathers what the owner is to delete."""

    def __init__(self, state: MergeState, stored: Stored) -> None:
        self.state = state
        self.drops: list[tuple[bytes, bytes]] = []
        absorbing = state.absorbing
        has_space = absorbing is not None and absorbing.space
        self._sessions = dict(stored(absorbing.space)) if absorbing is not None and has_space else {}

    def freeze(self, info: ShardInfo, word: Freeze | Thaw) -> ShardInfo:
        """As the source."""
        frozen = self.state.frozen
        if isinstance(word, Freeze):
            if not wrong_with_source(info, self.state, word.merge):
                self.state = structs.replace(self.state, frozen=word.merge)
        elif frozen is not None and frozen.number == word.number:
            self.state = structs.replace(self.state, frozen=None)
            return structs.replace(info, range_version=info.range_version + 1)
        return info

    def absorb(self, info: ShardInfo, word: Begin | Carried, changes: Changes) -> None:
        """As the target: the beginning, or what follows of the source."""
        if isinstance(word, Begin):
            if not wrong_with_target(info, self.state, word.merge):
                self.state = structs.replace(self.state, absorbing=Absorbing(word.merge))
            return
        absorbing = self.state.absorbing
        is_next = absorbing is not None and absorbing.merge.number == word.number and absorbing.reached == word.after
        if absorbing is None or not is_next or absorbing.complete:
            return
        assert absorbing.space, "nobody has given it a space"
        for kind, key, value in word.rows:
            if kind == DATA:
                changes[row_key(absorbing.space, key)] = value
            else:
                changes[session_key(absorbing.space, key)] = value
                self._sessions[ClientId(key)] = decode_session(value)
        reached = word.rows[-1][:2] if word.rows else absorbing.reached
        size = absorbing.size + sum(len(key) + len(value) for _, key, value in word.rows)
        absorbing = structs.replace(absorbing, reached=reached, size=size)
        if word.last:
            absorbing = structs.replace(absorbing, complete=True, counter=word.counter, floor=word.floor)
        self.state = structs.replace(self.state, absorbing=absorbing)

    def give_space(self, new_space: Callable[[], int]) -> bool:
        """The owner's answer to a beginning: where what comes is to lie. Whether it was wanted."""
        absorbing = self.state.absorbing
        if absorbing is None or absorbing.space:
            return False
        self.state = structs.replace(self.state, absorbing=structs.replace(absorbing, space=new_space()))
        return True

    def settle(self, info: ShardInfo, verdict: Verdict) -> tuple[ShardInfo, Absorbed | None]:
        """As the target: the shard as it is from now on, and what has become part of it."""
        absorbing = self.state.absorbing
        is_this = absorbing is not None and absorbing.merge.number == verdict.number
        if info.range_version != verdict.target_version or self.state.frozen is not None:
            return info, None
        if verdict.committed:
            if absorbing is None or not is_this or not absorbing.complete:
                return info, None
            merged = (*self.state.merged, verdict.number)[-MERGED_KEPT:]
            sessions = self._forget_what_came(MergeState(merged=merged), numbered_range(b"s", absorbing.space))
            return united(info, absorbing.merge), Absorbed(
                absorbing.merge.at, absorbing.space, absorbing.counter, absorbing.floor, sessions
            )
        if absorbing is not None and not is_this:
            return info, None
        if absorbing is not None:
            kinds = (numbered_range(kind, absorbing.space) for kind in (b"r", b"s"))
            self._forget_what_came(structs.replace(self.state, absorbing=None), *kinds)
        return structs.replace(info, range_version=info.range_version + 1), None

    def _forget_what_came(self, state: MergeState, *drops: tuple[bytes, bytes]) -> dict[ClientId, SessionRecord]:
        sessions, self._sessions = self._sessions, {}
        self.drops += drops
        self.state = state
        return sessions
