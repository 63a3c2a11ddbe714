"""Frames: the same bytes as the msgpack package, everything else refused with one typed error."""

import random
from collections.abc import Callable

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Answers, Forward, Peers, Requests
from zkv.core.cluster.shardmap import Beacon, MapDelta
from zkv.core.message import Message
from zkv.core.raft.messages import AppendRequest, Entry, VoteRequest
from zkv.core.shard.commands import (
    Delete,
    Deleted,
    Failed,
    FailedBecause,
    Increment,
    Put,
    PutIf,
    ReadGroup,
    Reason,
    Refused,
    ScanGroup,
    Values,
    WriteGroup,
    Written,
)
from zkv.core.shard.rows import pack_row
from zkv.core.shard.snapshot_messages import DraftCredit, SnapshotChunk, SnapshotDigest
from zkv.errors import BadFrame
from zkv.ids import NodeId, ReplicaId, ShardId
from zkv.wire import codec

ME = b"0123456789abcdef"
WRITE = WriteGroup(1, ShardId(3), 4, 1000, ME, 1, 1, -1, False, (Put(b"k", b"v"), Delete(b"z"), Increment(b"q", -3)))
READ = ReadGroup(2, ShardId(3), 4, 1000, True, (b"k",))
SCAN = ScanGroup(3, ShardId(3), 4, 1000, False, b"", b"", b"p", 10, True)
APPEND = AppendRequest(ShardId(1), ReplicaId(2), ReplicaId(3), 4, 5, 4, 5, 9, -1, (Entry(4, 6, 1, b"payload"),))

Decode = Callable[[bytes], Message]

FRAMES: list[tuple[Decode, Message, str]] = [
    (
        codec.decode_to_node,
        Requests(7, 2, (WRITE, READ, SCAN)),
        "95010702939b01010304cd03e8c41030313233343536373839616263646566"
        + "0101ffc2"
        + "93"
        + "9301c4016bc40176"
        + "9303c4017aff"
        + "9304c40171fd"
        + "9702020304cd03e8c391c4016b"
        + "9b03030304cd03e8c2c400c400c401700ac3"
        + "c3",
    ),
    (
        codec.decode_to_node,
        Peers(
            7,
            NodeId("n1"),
            11,
            (APPEND, VoteRequest(ShardId(1), ReplicaId(2), ReplicaId(3), 4, 5, 4, True, False)),
            1,
            9,
            (3, 4),
            2,
        ),
        "9903"
        + "07a26e310b92"
        + "9c14010203040504050"
        + "9ff"
        + "91940406"
        + "01c4077061796c6f6164c2"
        + "99160102030405"
        + "04c3c2"
        + "010992030402",
    ),
    (
        codec.decode_to_node,
        Peers(
            7,
            NodeId("n1"),
            11,
            (
                DraftCredit(ReplicaId(2), ReplicaId(3), 4, 0, 8, b"k", 1, (0, 5)),
                SnapshotDigest(ReplicaId(3), ReplicaId(2), 4, 1, b"", ((b"k", 300, b"digest"),), 9),
            ),
        ),
        "990307a26e310b92"
        + "99580203040008c4016b01920005"
        + "985903020401c4009193c4016bcd012cc40664696765737409"
        + "000092000001",
    ),
    (
        codec.decode_to_client,
        Answers(2, NodeId("n1"), (Values(1, (pack_row(5, b"v"), None)),)),
        "940202a26e319194020192c40a00000000000000050076c0ff",
    ),
    (codec.decode_broadcast, Beacon(3, 300), "932003cd012c"),
]


@pytest.mark.parametrize(("decode", "message", "golden"), FRAMES, ids=lambda part: type(part).__name__)
def test_the_bytes_of_a_frame_are_fixed(decode: Decode, message: Message, golden: str) -> None:
    assert codec.encode(message).hex() == golden
    assert decode(bytes.fromhex(golden)) == message


@pytest.mark.parametrize(("decode", "message", "golden"), FRAMES, ids=lambda part: type(part).__name__)
def test_msgpack_reads_and_writes_the_same_bytes(decode: Decode, message: Message, golden: str) -> None:
    plain = msgpack.unpackb(codec.encode(message), use_list=True)
    assert msgpack.packb(plain) == bytes.fromhex(golden)
    assert decode(msgpack.packb(plain)) == message


@pytest.mark.parametrize(("decode", "message", "golden"), FRAMES, ids=lambda part: type(part).__name__)
def test_a_frame_that_is_cut_or_too_long_is_refused(decode: Decode, message: Message, golden: str) -> None:
    whole = bytes.fromhex(golden)
    for length in range(len(whole)):
        with pytest.raises(BadFrame):
            decode(whole[:length])
    with pytest.raises(BadFrame):
        decode(whole + b"\xc0")


def _requests(**fields: object) -> bytes:
    group = msgspec.structs.replace(WRITE, **fields)
    return codec.encode(Requests(7, 2, (group,)))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc0",
        b"\x91" * 100_000,
        b"\x81" * 100_000,
        msgpack.packb([99, 1, 2, 3]),
        msgpack.packb({"tag": 1}),
        msgpack.packb([1, 7, 2, [], True, "spare"]),
        msgpack.packb([1, 7, 2]),
        msgpack.packb([1, "7", 2, [], True]),
        msgpack.packb([1, -7, 2, [], True]),
        msgpack.packb([1, 2**64 - 1, 2, [], True]),
        _requests(operations=(Put(b"", b"v"),)),
        _requests(operations=(Put(b"k" * (limits.KEY_BYTES_MAX + 1), b"v"),)),
        _requests(operations=(Put(b"k", b"v" * (limits.VALUE_BYTES_MAX + 1)),)),
        _requests(operations=()),
        _requests(operations=(Delete(b"k"),) * (limits.BATCH_OPERATIONS_MAX + 1)),
        _requests(operations=(PutIf(b"k", b"v", -1),)),
        _requests(client=b"short"),
        _requests(first=0),
        _requests(copies=limits.REPLICAS_MAX + 1),
        _requests(budget_ms=-1),
        codec.encode(Requests(7, 2, (READ,) * (limits.FRAME_GROUPS_MAX + 1))),
        codec.encode(Answers(2, NodeId("n1"), ())),
        codec.encode(m.Heard(1, True)),
    ],
    ids=range(24),
)
def test_what_no_client_or_peer_may_send_is_refused(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        codec.decode_to_node(frame)


DECODERS: list[Decode] = [
    codec.decode_to_node,
    codec.decode_to_coordinator,
    codec.decode_from_coordinator,
    codec.decode_to_client,
    codec.decode_broadcast,
]
SEEDS = [bytes.fromhex(golden) for _, _, golden in FRAMES] + [
    codec.encode(message)
    for message in (
        Answers(1, NodeId("n"), (Written(1, (3, Deleted(True, 4), Failed(FailedBecause.VERSION, 0)), True, (1, 2)),)),
        Answers(1, NodeId("n"), (Refused(1, Reason.TIMEOUT, 2, "late"),)),
        Peers(
            1,
            NodeId("n"),
            1,
            (
                Forward(b"x", 1, (WRITE,)),
                SnapshotChunk(ReplicaId(1), ReplicaId(2), 3, 0, ((b"r", b"k", b"v"),), 5, True),
                DraftCredit(ReplicaId(2), ReplicaId(1), 3, 0, 8, b"k", 1, (0, 5)),
                SnapshotDigest(ReplicaId(1), ReplicaId(2), 3, 0, b"", ((b"k", 17, b"digest"),), 5),
            ),
        ),
        m.Register(NodeId("n"), 5, 0, "127.0.0.1:1", "", 1.0, 1, ()),
        m.Alive(NodeId("n"), 5, 1),
        MapDelta(1, 2),
    )
]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(frame: bytes) -> None:
    for decode in DECODERS:
        _harmless(decode, frame)


def test_mutated_frames_never_raise_anything_else() -> None:
    rng = random.Random(20)
    for _ in range(20_000):
        frame = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(frame))
            match rng.randrange(3):
                case 0:
                    frame[place] = rng.randrange(256)
                case 1:
                    del frame[place:]
                    frame += b"\xc0"
                case _:
                    frame[place:place] = rng.randbytes(rng.randrange(1, 5))
        for decode in DECODERS:
            _harmless(decode, bytes(frame))


def _harmless(decode: Decode, frame: bytes) -> None:
    """Either a message, which then encodes to something that decodes to the same message, or BadFrame."""
    try:
        message = decode(frame)
    except BadFrame:
        return
    assert decode(codec.encode(message)) == message or message != message  # NaN weights
