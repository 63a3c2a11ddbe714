"""Strangers that send nonsense to every port of a cluster, from a thread, for as long as they are wanted."""

import socket
import threading
from collections.abc import Sequence
from random import Random
from types import TracebackType
from typing import Self

import zmq

from zkv.core.cluster.frames import Peers
from zkv.ids import NodeId
from zkv.net import sockets
from zkv.wire import codec

_PAUSE_S = 0.01
_CONNECT_S = 0.5
_BYTES_MAX = 64 * 1024
_GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3\1NULL".ljust(64, b"\0")  # ZMTP 3.1, without security
_TYPES = (b"DEALER", b"SUB", b"ROUTER", b"NOTYPE")
_STRANGE_CLUSTER = 1 << 50


class Garbage:
    """Sends from `__enter__` to `__exit__`. `connections` and `bytes` count what was sent."""

    def __init__(self, addresses: Sequence[str], seed: int) -> None:
        self.connections = 0
        self.bytes = 0
        self._addresses = list(addresses)
        self._rng = Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="garbage", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        context = sockets.context()
        dealers = [sockets.dealer(context, address) for address in self._addresses]
        while not self._stop.wait(_PAUSE_S):
            if self._rng.random() < 0.5:
                self._over_tcp(self._rng.choice(self._addresses))
            else:
                self._as_frames(self._rng.choice(dealers))
        for dealer in dealers:
            sockets.close(dealer, clean=False)
        context.term()

    def _over_tcp(self, address: str) -> None:
        """Bytes that no library made, on a connection of their own."""
        host, _, port = address.rpartition(":")
        parts = self._parts()
        try:
            with socket.create_connection((host, int(port)), timeout=_CONNECT_S) as connection:
                for part in parts[:-1]:
                    connection.sendall(part)
                    connection.recv(_BYTES_MAX)  # the other side's part of the handshake
                connection.sendall(parts[-1])
        except OSError:
            return  # it hung up on nonsense, or said nothing to it, as it may
        self.connections += 1
        self.bytes += sum(map(len, parts))

    def _parts(self) -> list[bytes]:
        """What to say; after each part but the last the other side is heard."""
        rng = self._rng
        noise = rng.randbytes(rng.randint(1, 4_096))
        handshake = [_GREETING, _ready(rng.choice(_TYPES))]
        match rng.choice(("noise", "half a greeting", "greeting and noise", "all at once", "too large", "frames")):
            case "noise":
                return [noise]
            case "half a greeting":
                return [_GREETING[: rng.randrange(64)]]
            case "greeting and noise":
                return [_GREETING, noise]
            case "all at once":
                return [b"".join(handshake) + noise]
            case "too large":
                return [handshake[0], handshake[1] + b"\2" + rng.getrandbits(63).to_bytes(8, "big") + noise]
            case _:
                return [handshake[0], handshake[1] + bytes([0, min(len(noise), 255)]) + noise[:255]]

    def _as_frames(self, dealer: zmq.Socket[bytes]) -> None:
        """A whole ZeroMQ frame with nonsense in it, or several where one belongs."""
        rng = self._rng
        body = rng.randbytes(rng.randint(0, _BYTES_MAX)) if rng.random() < 0.5 else self._spoilt_message()
        flags = sockets.MORE_NOW if rng.random() < 0.2 else sockets.NOW
        try:
            dealer.send(body, flags)
            if flags == sockets.MORE_NOW:
                dealer.send(body, sockets.NOW)
        except zmq.Again:
            return  # it does not take more: what was asked of it
        self.bytes += len(body)

    def _spoilt_message(self) -> bytes:
        """A message of a foreign cluster, cut or with some bytes changed."""
        rng = self._rng
        message = Peers(_STRANGE_CLUSTER + rng.getrandbits(8), NodeId(f"n{rng.randrange(9)}"), rng.getrandbits(40), ())
        body = bytearray(codec.encode(message))
        if rng.random() < 0.3:
            return bytes(body[: rng.randrange(len(body))])
        for _ in range(rng.randint(0, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        return bytes(body)


def _ready(kind: bytes) -> bytes:
    """The command that ends a ZMTP handshake: what kind of socket is speaking."""
    body = b"\5READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind + b"\x08Identity\0\0\0\0"
    return bytes([4, len(body)]) + body
