"""First words of a process of a version too far from ours, whose frames may have any shape by now.

Of these only the places of what states the version stay the same for ever, for fields are added at the end. So such a
process is refused in words, and not taken for noise.
"""

import msgspec

from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Peers
from zkv.core.cluster.group import CoordinatorInfo, Meet
from zkv.core.cluster.versions import works_with
from zkv.ids import NodeId, ReplicaId


class _Hello(msgspec.Struct, frozen=True, array_like=True, tag=40):
    id: int
    protocol: int


class _Welcome(msgspec.Struct, frozen=True, array_like=True, tag=41):
    id: int
    protocol: int
    cluster: int
    node: str
    role: str


class _Register(msgspec.Struct, frozen=True, array_like=True, tag=60):
    node: str
    incarnation: int
    cluster: int
    address: msgspec.Raw
    zone: msgspec.Raw
    weight: msgspec.Raw
    protocol: int


class _Peers(msgspec.Struct, frozen=True, array_like=True, tag=3):
    cluster: int
    sender: str
    incarnation: int
    messages: msgspec.Raw
    lane: msgspec.Raw
    sent_ms: msgspec.Raw
    heard_ms: msgspec.Raw
    protocol: int


class _Meet(msgspec.Struct, frozen=True, array_like=True, tag=80):
    name: str
    incarnation: int
    protocol: int


Introduction = m.Hello | m.Welcome | m.Register | Peers | Meet

_decoder: msgspec.msgpack.Decoder[_Hello | _Welcome | _Register | _Peers | _Meet] = msgspec.msgpack.Decoder(
    _Hello | _Welcome | _Register | _Peers | _Meet
)


def introduction(frame: bytes) -> Introduction | None:
    """What a frame that does not decode states, if it states a version too far from ours: enough to be refused by."""
    try:
        stated = _decoder.decode(frame)
    except (ValueError, RecursionError):
        return None
    if works_with(stated.protocol):
        return None
    match stated:
        case _Hello():
            return m.Hello(stated.id, stated.protocol, 0)
        case _Welcome():
            return m.Welcome(stated.id, stated.protocol, stated.cluster, stated.node, stated.role, 0)
        case _Register():
            node = NodeId(stated.node)
            return m.Register(node, stated.incarnation, stated.cluster, "", "", 1.0, stated.protocol, ())
        case _Peers():
            return Peers(stated.cluster, NodeId(stated.sender), stated.incarnation, (), protocol=stated.protocol)
        case _Meet():
            name = NodeId(stated.name)
            nowhere = CoordinatorInfo(name, "", "")
            return Meet(name, stated.incarnation, stated.protocol, nowhere, ReplicaId(0), ())
