"""What the shard scenarios write down of a turn: sends, log items, answers, deletions, events."""

from collections.abc import Iterator

import msgspec

from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Answers, Forward, Forwarded
from zkv.core.message import Message
from zkv.core.node.host import Effects
from zkv.core.node.node import Turn
from zkv.core.raft.membership import decode_membership
from zkv.core.raft.messages import Entry, EntryKind, LogItem, Membership
from zkv.core.shard.commands import (
    EFFECT_DONE,
    EFFECT_NONE,
    Answer,
    Deleted,
    Evict,
    Failed,
    Incremented,
    Page,
    Refused,
    Result,
    Values,
)
from zkv.core.shard.merge import (
    Begin,
    Carried,
    Freeze,
    decode_absorb,
    decode_freeze,
    decode_verdict,
)
from zkv.core.shard.merge_messages import Fate, FateAsk, MergeAsk, MergeRows, MergeUnfit
from zkv.core.shard.records import decode_batch
from zkv.core.shard.rows import unpack_row
from zkv.core.shard.snapshot_messages import (
    DraftCredit,
    MergedOffer,
    SnapshotChunk,
    SnapshotCredit,
    SnapshotDigest,
    SnapshotInstalled,
    SnapshotOffer,
)
from zkv.core.shard.split import decode_split

_EFFECTS = {EFFECT_NONE: "none", EFFECT_DONE: "done"}


def told(turn: Turn) -> Iterator[str]:
    """A turn in lines: what it sends, writes, answers and deletes."""
    yield from _sent(turn.effects)
    if turn.effects.log is not None:
        for item in turn.effects.log.items:
            yield f"logs {_item(item)}"
    for _, answer in turn.answers:
        if isinstance(answer, Answers):
            yield from (f"answers {show(one)}" for one in answer.answers)
    for key in turn.effects.changes:
        if key[:1] == b"t":
            yield f"buries replica {int.from_bytes(key[9:], 'big')}"
    for start, _ in (*turn.effects.clears, *turn.effects.drops):
        yield f"deletes the {'rows' if start[:1] == b'r' else 'sessions'} of space {int.from_bytes(start[1:9], 'big')}"
    if turn.effects.flush_engine:
        yield "flushes its rows"
    for message in turn.coordinator:
        if isinstance(message, m.Dropped):
            yield f"tells the coordinator that replica {message.replica} is gone"
    yield from (f"says: {event}" for event in turn.events if not event.startswith("leads "))


def _sent(effects: Effects) -> Iterator[str]:
    for sends in (effects.messages, effects.bulk):
        for (target, _), messages in sends.items():
            for message in messages:
                told = _message(message)
                if told:
                    yield f"-> {target} {told}"


def _message(message: Message) -> str:
    match message:
        case Forward():
            return f"passes on {', '.join(f'#{group.id}' for group in message.groups)}"
        case Forwarded():
            return f"passes back {', '.join(map(show, message.answers))}"
        case MergedOffer():
            merged = ",".join(map(str, message.merging.merged))
            frozen = f" frozen for {message.merging.frozen.number}" if message.merging.frozen else ""
            return f"{_message(message.offer)}, merged {merged or 'none'}{frozen}"
        case MergeAsk():
            return f"asks shard {message.merge.source} for merge {message.merge.number} after {message.after[1][-4:]!r}"
        case MergeRows():
            rows = " ".join(_row(*row) for row in message.rows)
            return f"gives for merge {message.number}: {rows or 'nothing'}{' (all)' if message.last else ''}"
        case MergeUnfit():
            return f"is not to be frozen for merge {message.number}: {message.why}"
        case FateAsk():
            return f"asks what became of merge {message.number}"
        case Fate():
            return f"merge {message.number} is {'committed' if message.committed else 'abandoned'}"
        case SnapshotOffer():
            return f"snapshot as of {message.index}@{message.index_term} counter {message.counter} to {message.target}"
        case SnapshotChunk():
            kinds = " ".join(_row(*row) for row in message.rows)
            return f"chunk {message.number}{' (last)' if message.last else ''}: {kinds or 'no rows'}"
        case SnapshotDigest():
            return f"digest {message.number} from {_key(message.start)} to {_keys(message)}"
        case DraftCredit():
            wanted = f", wants {_places(message.wanted)} of digest {message.number}" if message.wanted else ""
            more = f"{message.next} chunks, takes up to {message.limit}"
            return f"has {more}, and a draft up to {_key(message.reached)}{wanted}"
        case SnapshotCredit():
            return f"has {message.next} chunks, takes up to {message.limit}"
        case SnapshotInstalled():
            return f"snapshot {message.index} {'installed' if message.installed else 'not wanted'}"
        case _:
            return ""


def _key(key: bytes) -> str:
    """Of a row, or the first one that can follow it."""
    return f"behind {key[:-1].decode()}" if key.endswith(b"\0") else key.decode() or "the start"


def _keys(digest: SnapshotDigest) -> str:
    return ", ".join(f"{end.decode()} ({size} bytes)" for end, size, _ in digest.pieces)


def _places(pieces: tuple[int, ...]) -> str:
    return f"piece{'s' if len(pieces) > 1 else ''} {', '.join(map(str, pieces))}"


def _row(kind: bytes, key: bytes, value: bytes) -> str:
    if kind == b"s":
        return f"session {key[-1:].decode()}"
    row = unpack_row(value)
    return f"{key.decode()}={row.value.decode()}@{row.version}"


def _item(item: LogItem) -> str:
    parts = [f"replica {item.replica}:"]
    if item.gone:
        parts.append("gone")
    if item.start is not None:
        parts.append(f"starts after {item.start[0]}@{item.start[1]}")
    if item.hard_state is not None:
        parts.append(f"term {item.hard_state.term} vote {item.hard_state.vote}")
    parts += [_entry(entry) for entry in item.entries]
    if len(parts) == 1:
        parts.append(f"committed up to {item.commit}")
    return " ".join(parts)


def _entry(entry: Entry) -> str:
    match entry.kind:
        case EntryKind.BATCH:
            groups = decode_batch(entry.payload)
            text = ", ".join(f"{chr(group.client[-1])}{group.first}" for group in groups)
        case EntryKind.MEMBERSHIP:
            text = f"members {members(decode_membership(entry.payload))}"
        case EntryKind.EVICT:
            evict = msgspec.msgpack.decode(entry.payload, type=Evict)
            text = f"forget {', '.join(chr(client[-1]) for client in evict.clients)}"
        case EntryKind.FREEZE:
            word = decode_freeze(entry.payload)
            text = f"freeze for {word.merge.number}" if isinstance(word, Freeze) else f"thaw after {word.number}"
        case EntryKind.ABSORB:
            text = _came(decode_absorb(entry.payload))
        case EntryKind.MERGE:
            verdict = decode_verdict(entry.payload)
            text = f"merge {verdict.number} {'committed' if verdict.committed else 'abandoned'}"
        case EntryKind.SPLIT:
            split = decode_split(entry.payload)
            text = f"split at {split.at.decode()} into {split.shard}: {members(split.members)}"
        case _:
            text = "-"
    return f"[{entry.index}@{entry.term} {text}]"


def _came(word: Begin | Carried) -> str:
    if isinstance(word, Begin):
        return f"begin {word.merge.number}: {word.merge.source} from {word.merge.at.decode()} on"
    rows = " ".join(_row(*row) for row in word.rows)
    return f"for {word.number} after {word.after[1][-4:]!r}: {rows or 'nothing'}{' (all)' if word.last else ''}"


def members(membership: Membership) -> str:
    voters = ",".join(str(one.replica) for one in membership.voters)
    learners = "".join(f"+{one.replica}" for one in membership.learners)
    return f"{voters}{learners} v{membership.version}"


def show(answer: Answer) -> str:
    """One answer on one line."""
    match answer:
        case Refused():
            effect = _EFFECTS.get(answer.effect, "unknown")
            text = f"{answer.reason.name}, effect {effect}: {answer.detail}"
            if answer.news is not None:
                text += f" (leader {answer.news.leader} term {answer.news.term}, range {answer.news.range_version})"
            return f"#{answer.id} {text}"
        case Values():
            rows = [_row_text(row) if row else "nothing" for row in answer.rows]
            stale = f", stale {answer.stale_ms} ms" if answer.stale_ms >= 0 else ""
            return f"#{answer.id} reads {' '.join(rows)}{stale}"
        case Page():
            return f"#{answer.id} page of {len(answer.rows)}"
        case _:
            text = " ".join(map(_result, answer.results))
            holders = ",".join(map(str, answer.holders))
            return f"#{answer.id} wrote {text}{'' if answer.committed else ', not committed,'} held by {holders}"


def _result(result: Result) -> str:
    match result:
        case Deleted():
            return f"deleted@{result.version}" if result.existed else f"none@{result.version}"
        case Incremented():
            return f"{result.value}@{result.version}"
        case Failed():
            return f"failed({result.because.name} {result.version})"
        case _:
            return f"@{result}"


def _row_text(stored: bytes) -> str:
    row = unpack_row(stored)
    return f"{row.value.decode()}@{row.version}"
