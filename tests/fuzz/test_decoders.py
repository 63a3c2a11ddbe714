"""A slice of `python -m tests.fuzz.decoders`, frames of hypothesis, and the largest frames that a socket takes."""

import tracemalloc

import msgpack
import msgspec
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


def stuffed(whole: Message, part: bytes) -> bytes:
    """The frame, with as many of the part in its last empty array as the largest frame holds."""
    before, _, after = codec.encode(whole).rpartition(b"\x90")
    count = (limits.FRAME_BYTES_MAX - 2 * len(before) - 100) // len(part)
    return before + b"\xdd" + count.to_bytes(4, "big") + part * count + after


PEERS = Peers(7, NodeId("n1"), 1, ())
CHUNK = SnapshotChunk(ReplicaId(1), ReplicaId(1), 1, 1, (), 1, True)
CREDIT = SnapshotCredit(ReplicaId(1), ReplicaId(1), 1, 1, 1)
BEFORE, _, _ = codec.encode(PEERS).rpartition(b"\x90")
LARGEST = {
    "small messages": stuffed(PEERS, codec.encode(CREDIT)),
    "empty rows": stuffed(msgspec.structs.replace(PEERS, messages=(CHUNK,)), b"\x93" + b"\xc4\x00" * 3),
    "zeros": bytes(limits.FRAME_BYTES_MAX),
    "arrays in arrays": b"\x91" * limits.FRAME_BYTES_MAX,
    "maps in maps": b"\x81" * limits.FRAME_BYTES_MAX,
    "an array that promises four billion items": BEFORE + b"\xdd" + b"\xff" * 4,
    "four gigabytes of bytes promised": BEFORE + b"\xc6" + b"\xff" * 4,
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
