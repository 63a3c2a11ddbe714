"""Garbage for live sockets: raw connections that talk nonsense, and ZeroMQ peers that send wrong or too many frames."""

import contextlib
import random
import socket
from collections.abc import Callable, Iterator

import msgspec
import zmq

from tests.fuzz.wild import Wild
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Peers, Requests
from zkv.core.cluster.shardmap import MapSnapshot
from zkv.core.shard.commands import ReadGroup, ScanGroup, WriteGroup
from zkv.ids import NodeId
from zkv.wire import codec

# What a ZMTP 3.0 peer says first (RFC 23): signature, version, mechanism, as-server, filler; then its READY command.
_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"

_LINGER_MS = 2_000  # what was sent is to arrive

Speech = Callable[[random.Random], bytes]

SPEECHES: dict[str, Speech] = {
    "random bytes": lambda chance: chance.randbytes(chance.choice((1, 10, 100, 5_000))),
    "one byte again and again": lambda chance: bytes([chance.randrange(256)]) * chance.randrange(1, 8_000),
    "another protocol": lambda chance: chance.choice((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"*1\r\n$4\r\nPING\r\n")),
    "half a greeting, then silence": lambda chance: _GREETING[: chance.randrange(1, 64)],
    "a greeting, then garbage": lambda chance: _GREETING + chance.randbytes(500),
    "a greeting of an unknown mechanism": lambda chance: _GREETING[:12] + b"MAGIC".ljust(20, b"\0") + bytes(32),
    "a greeting of another version": lambda chance: _GREETING[:10] + chance.randbytes(2) + _GREETING[12:] + _READY,
    "a command that promises eight exabytes": lambda chance: _GREETING + b"\x06" + b"\x7f" + b"\xff" * 7,
    "a ready peer, then garbage": lambda chance: _GREETING + _READY + chance.randbytes(2_000),
    "a frame that promises eight exabytes": lambda chance: _GREETING + _READY + b"\x02" + b"\x7f" + b"\xff" * 7,
    "the largest frame, of which little comes": lambda chance: (
        _GREETING + _READY + b"\x02" + limits.FRAME_BYTES_MAX.to_bytes(8, "big") + bytes(1_000)
    ),
    "frames that never end their message": lambda chance: _GREETING + _READY + b"\x01\x01x" * 2_000,
}


@contextlib.contextmanager
def connections(address: str, chance: random.Random, count: int) -> Iterator[dict[str, int]]:
    """So many connections to HOST:PORT, each of which has said one of these things; they stay open meanwhile.

    Yields how many said what.
    """
    host, _, port = address.partition(":")
    said: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for number in range(count):
            name = list(SPEECHES)[number % len(SPEECHES)]
            connection = held.enter_context(socket.create_connection((host, int(port)), timeout=5))
            with contextlib.suppress(ConnectionError):  # closed in the middle of the speech: as it should be
                connection.sendall(SPEECHES[name](chance))
            said[name] = said.get(name, 0) + 1
        yield said


def wild_frames(chance: random.Random, shard_map: MapSnapshot, count: int) -> Iterator[bytes]:
    """Frames as clients send them, with the cluster's id and its shards, and peers' of a foreign one; most mutated."""
    wild = Wild(chance)
    before = b""
    for _ in range(count):
        frame = codec.encode(_message(wild, chance, shard_map))
        if chance.random() < 0.66:
            frame = wild.mutated(frame, before or frame)
        before = frame
        yield frame


def _message(wild: Wild, chance: random.Random, shard_map: MapSnapshot) -> object:
    match chance.randrange(6):
        case 0:
            peers = wild.value(Peers)
            assert isinstance(peers, Peers)
            return msgspec.structs.replace(peers, cluster=shard_map.cluster ^ 1)
        case 1:
            return wild.value(m.Hello | m.MapRequest | m.StatusRequest)
        case _:
            groups = []
            for _ in range(chance.randint(0, 3)):
                group = wild.value(WriteGroup | ReadGroup | ScanGroup)
                assert isinstance(group, WriteGroup | ReadGroup | ScanGroup)
                info = chance.choice(shard_map.shards)
                groups.append(msgspec.structs.replace(group, shard=info.shard, range_version=info.range_version))
            return Requests(shard_map.cluster, shard_map.version, tuple(groups), chance.random() < 0.5)


class Peer:
    """A ZeroMQ DEALER that reads nothing."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RCVHWM, 1)
        self._socket.setsockopt(zmq.SNDTIMEO, 10_000)
        self._socket.connect(f"tcp://{address}")

    def send(self, *frames: bytes) -> None:
        """One message. Raises zmq.Again if the other side takes nothing for ten seconds."""
        self._socket.send_multipart(frames)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close(linger=_LINGER_MS)
        self._context.term()


def hostile_frames() -> dict[str, list[bytes]]:
    """Messages of several frames, too deep, too large, or with nothing in them."""
    before, _, _ = codec.encode(Peers(123, NodeId("node2"), 1, ())).rpartition(b"\x90")
    return {
        "nothing": [b""],
        "arrays in arrays": [b"\x91" * 1_000_000],
        "maps in maps": [b"\x81" * 1_000_000],
        "four billion items": [before + b"\xdd" + b"\xff" * 4],
        "three frames": [b"one", b"two", b"three"],
        "ten thousand frames": [b"x"] * 10_000,
        "a frame of the largest size": [b"\xc0" * limits.FRAME_BYTES_MAX],
        "a frame above the largest size": [b"\xc0" * (limits.FRAME_BYTES_MAX + 1)],
    }
