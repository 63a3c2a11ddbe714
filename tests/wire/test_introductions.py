"""First words of a version that is too far from ours: read, whatever else they have come to hold."""

from collections.abc import Callable

import msgpack
import pytest

from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Peers
from zkv.core.cluster.group import CoordinatorInfo, Meet
from zkv.core.message import Message
from zkv.errors import BadFrame
from zkv.ids import NodeId, ReplicaId
from zkv.wire import codec

Decode = Callable[[bytes], Message]
NOWHERE = CoordinatorInfo(NodeId("c1"), "", "")
NEW = {"what": ["later", "versions", {"may": "add"}]}


def frame(*fields: object) -> bytes:
    packed: bytes = msgpack.packb(list(fields))
    return packed


HELLO = frame(40, 5, 4, 77, NEW)
WELCOME = frame(41, 5, 4, 77, "n1", "node", 9, NEW)
REGISTER = frame(60, "n1", 11, 77, {"ip": 6}, None, "heavy", 4, NEW, NEW)
MEET = frame(80, "c1", 11, 4, NEW)
PEERS = frame(3, 77, "n1", 11, [[99, NEW], 4], "lane", 9.5, [1, 2, 3], 4, NEW)


@pytest.mark.parametrize(
    ("decode", "strange", "read"),
    [
        (codec.decode_to_node, HELLO, m.Hello(5, 4, 0)),
        (codec.decode_to_coordinator, HELLO, m.Hello(5, 4, 0)),
        (codec.decode_to_client, WELCOME, m.Welcome(5, 4, 77, "n1", "node", 0)),
        (codec.decode_to_coordinator, REGISTER, m.Register(NodeId("n1"), 11, 77, "", "", 1.0, 4, ())),
        (codec.decode_to_node, PEERS, Peers(77, NodeId("n1"), 11, (), protocol=4)),
        (codec.decode_to_coordinator, PEERS, Peers(77, NodeId("n1"), 11, (), protocol=4)),
        (codec.decode_to_coordinator, MEET, Meet(NodeId("c1"), 11, 4, NOWHERE, ReplicaId(0), ())),
    ],
    ids=["hello to a node", "hello", "welcome", "register", "peers", "peers to a coordinator", "meet"],
)
def test_who_it_is_and_what_it_speaks_is_read_from_a_frame_of_another_shape(
    decode: Decode, strange: bytes, read: Message
) -> None:
    assert decode(strange) == read


@pytest.mark.parametrize("protocol", [1, 2, 3])
def test_a_wrong_frame_of_a_version_that_we_work_with_is_noise(protocol: int) -> None:
    with pytest.raises(BadFrame):
        codec.decode_to_node(frame(40, 5, protocol, 77, NEW))


@pytest.mark.parametrize(
    ("decode", "strange"),
    [
        (codec.decode_to_node, WELCOME),
        (codec.decode_to_node, REGISTER),
        (codec.decode_to_client, HELLO),
        (codec.decode_to_client, PEERS),
        (codec.decode_to_node, HELLO[:-1]),
        (codec.decode_to_node, HELLO + b"\0"),
        (codec.decode_to_node, frame(40, 5, "three", 77)),
        (codec.decode_from_coordinator, REGISTER),
    ],
    ids=[
        "welcome to a node",
        "register to a node",
        "hello to a client",
        "peers to a client",
        "cut",
        "long",
        "type",
        "at",
    ],
)
def test_words_at_the_wrong_place_or_cut_are_noise(decode: Decode, strange: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(strange)
