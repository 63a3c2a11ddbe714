"""Bytes <-> messages: the one table of what may arrive where.

Every frame is one msgpack body; its decoder checks tags, types, lengths and spare fields in C. A body that is not
exactly one known message raises BadFrame: the caller counts and drops it, and never answers. First words of a version
too far from ours are read as far as they state it (`introductions`), so that they are refused in words.
"""

from typing import TypeAlias

import msgspec

from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Answers, Peers, Requests
from zkv.core.cluster.group import ChangeCoordinators, Found, Leave, Meet, NotLeading, Whereabouts
from zkv.core.cluster.shardmap import Beacon, MapDelta
from zkv.errors import BadFrame
from zkv.wire.introductions import introduction

ClientFrame = Requests | m.Hello | m.MapRequest | m.StatusRequest
ToNode: TypeAlias = ClientFrame | Peers
TableFrame = m.CreateTable | m.DropTable | m.SplitTable | m.TuneSplits | m.MergeTable | m.TuneMerges
AdminFrame = TableFrame | m.ChangeNode | m.CancelOperator | m.ChangeTuning | m.PlanRequest | ChangeCoordinators
NodeFrame = m.Register | m.Alive | m.Dropped | m.ShardSizes
GroupFrame = Peers | Meet | Found | Leave
ToCoordinator = m.Hello | m.MapRequest | m.StatusRequest | AdminFrame | NodeFrame | GroupFrame
FromCoordinator = m.Registered | m.RegisterRefused | m.Heard | m.MapAnswer | m.Order | NotLeading
ToClient = Answers | m.Welcome | m.MapAnswer | m.AdminDone | m.AdminRefused | m.StatusAnswer | m.PlanAnswer | NotLeading
Broadcast = MapDelta | Beacon | Whereabouts

_encoder = msgspec.msgpack.Encoder()
_to_node: msgspec.msgpack.Decoder[ToNode] = msgspec.msgpack.Decoder(ToNode)
_to_coordinator: msgspec.msgpack.Decoder[ToCoordinator] = msgspec.msgpack.Decoder(ToCoordinator)
_from_coordinator: msgspec.msgpack.Decoder[FromCoordinator] = msgspec.msgpack.Decoder(FromCoordinator)
_to_client: msgspec.msgpack.Decoder[ToClient] = msgspec.msgpack.Decoder(ToClient)
_broadcast: msgspec.msgpack.Decoder[Broadcast] = msgspec.msgpack.Decoder(Broadcast)

encode = _encoder.encode


def decode_to_node(frame: bytes) -> ToNode:
    """The one message in `frame`, as it may arrive at a node's ROUTER. Raises BadFrame."""
    try:
        return _to_node.decode(frame)
    except (ValueError, RecursionError) as error:
        stranger = introduction(frame)
        if isinstance(stranger, m.Hello | Peers):
            return stranger
        raise BadFrame(str(error)) from error


def decode_to_coordinator(frame: bytes) -> ToCoordinator:
    """The one message in `frame`, as it may arrive at a coordinator's ROUTER. Raises BadFrame."""
    try:
        return _to_coordinator.decode(frame)
    except (ValueError, RecursionError) as error:
        stranger = introduction(frame)
        if isinstance(stranger, m.Hello | m.Register | Peers | Meet):
            return stranger
        raise BadFrame(str(error)) from error


def decode_from_coordinator(frame: bytes) -> FromCoordinator:
    """The one message in `frame`, as it may arrive at a node's DEALER to a coordinator. Raises BadFrame."""
    try:
        return _from_coordinator.decode(frame)
    except (ValueError, RecursionError) as error:
        raise BadFrame(str(error)) from error


def decode_to_client(frame: bytes) -> ToClient:
    """The one message in `frame`, as it may arrive at a client's DEALER. Raises BadFrame."""
    try:
        return _to_client.decode(frame)
    except (ValueError, RecursionError) as error:
        stranger = introduction(frame)
        if isinstance(stranger, m.Welcome):
            return stranger
        raise BadFrame(str(error)) from error


def decode_broadcast(frame: bytes) -> Broadcast:
    """The one message in `frame`, as it may arrive at a SUB socket. Raises BadFrame."""
    try:
        return _broadcast.decode(frame)
    except (ValueError, RecursionError) as error:
        raise BadFrame(str(error)) from error
