"""A slice of `python -m tests.fuzz.decoders`, frames of hypothesis, and the largest frames that a socket takes."""

import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import MEMORY_PER_BYTE, fuzz
from tests.fuzz.targets import TARGETS, Target
from zkv import limits
from zkv.core.cluster.frames import Peers
from zkv.core.message import Message
from zkv.core.shard.snapshot_messages import SnapshotChunk, SnapshotCredit
from zkv.errors import BadFrame
from zkv.ids import NodeId, ReplicaId
from zkv.wire import codec

FRAMES = 1_500
TAGS = st.integers(0, 80) | st.integers(-(2**63), 2**64 - 1)
LEAVES = st.none() | st.booleans() | TAGS | st.floats() | st.binary(max_size=20) | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
MESSAGES = st.builds(lambda tag, fields: [tag, *fields], TAGS, st.lists(VALUES, max_size=12))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_but_the_typed_error_escapes_and_memory_is_bounded(target: Target) -> None:
    found = fuzz(target, FRAMES, seed=0)
    assert found.failures == []
    assert found.counts["taken"] >= FRAMES // 20, "the right ones"
    assert found.counts["refused"] > 0 or not target.refusals


@settings(max_examples=100, deadline=None)
@given(frame=st.binary(max_size=100) | (MESSAGES | VALUES).map(msgpack.packb))
def test_whatever_hypothesis_thinks_of(frame: bytes) -> None:
    for target in TARGETS:
        try:
            target.take(frame)
        except target.refusals:
            continue


def many(whole: Message, part: Message) -> bytes:
    """The frame, whose last field is an empty array, with as many of the part there as the largest frame holds."""
    head, item = codec.encode(whole), codec.encode(part)
    assert head[-1:] == b"\x90"
    count = (limits.FRAME_BYTES_MAX - len(head) - 4) // len(item)
    return head[:-1] + b"\xdd" + count.to_bytes(4, "big") + item * count


def rows_of_nothing() -> bytes:
    """A snapshot's chunk of as many empty rows as the largest frame holds."""
    chunk = codec.encode(SnapshotChunk(ReplicaId(1), ReplicaId(1), 1, 1, (), 1, True))
    place, row = chunk.rindex(b"\x90"), b"\x93" + b"\xc4\x00" * 3
    count = (limits.FRAME_BYTES_MAX - 100) // len(row)
    rows = b"\xdd" + count.to_bytes(4, "big") + row * count
    return codec.encode(Peers(7, NodeId("n1"), 1, ()))[:-1] + b"\x91" + chunk[:place] + rows + chunk[place + 1 :]


LARGEST = {
    "small messages": many(Peers(7, NodeId("n1"), 1, ()), SnapshotCredit(ReplicaId(1), ReplicaId(1), 1, 1, 1)),
    "empty rows": rows_of_nothing(),
    "zeros": bytes(limits.FRAME_BYTES_MAX),
    "arrays in arrays": b"\x91" * limits.FRAME_BYTES_MAX,
    "maps in maps": b"\x81" * limits.FRAME_BYTES_MAX,
    "an array that promises four billion items": codec.encode(Peers(7, NodeId("n1"), 1, ()))[:-1]
    + b"\xdd"
    + b"\xff" * 4,
    "four gigabytes of bytes promised": codec.encode(Peers(7, NodeId("n1"), 1, ()))[:-1] + b"\xc6" + b"\xff" * 4,
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_frame_takes_memory_in_proportion_to_its_bytes(name: str) -> None:
    frame = LARGEST[name]
    assert len(frame) <= limits.FRAME_BYTES_MAX
    tracemalloc.start()
    try:
        codec.decode_to_node(frame)
        taken = True
    except BadFrame:
        taken = False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert taken is (name in ("small messages", "empty rows"))
    assert peak < MEMORY_PER_BYTE * len(frame) + 64 * 1024
