"""The processes of `zkv.bench.ceiling`: client, reader, primary and replica, each one loop over bare sockets.

`python -m zkv.bench.ceiling_roles ROLE ARGUMENTS...`; a server prints its port, the client its result.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from zkv.bench.ceiling import Kind, Rate, Shape, rate_of

NOW, MORE = int(zmq.NOBLOCK), int(zmq.SNDMORE | zmq.NOBLOCK)
_DRAIN_MAX = 512
_HIGH_WATER = 100_000
_LOG_BYTES = 256 << 20
_SILENCE_MS = 5_000
_WARM_UP_S = 0.3
_STEP = 7_919  # a prime: visits every key before it repeats one

Socket = zmq.Socket[bytes]
Rows = list[tuple[bytes, bytes]]


class Put(msgspec.Struct, array_like=True, tag=1, gc=False):
    """Store one value."""

    request: int
    key: bytes
    value: bytes


class Get(msgspec.Struct, array_like=True, tag=2, gc=False):
    """Read one value."""

    request: int
    key: bytes


class Append(msgspec.Struct, array_like=True, tag=10, gc=False):
    """Rows number `first` and on, to a replica."""

    first: int
    rows: Rows


encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Put | Get).decode
_decode_append = msgspec.msgpack.Decoder(Append).decode
_decode_count = msgspec.msgpack.Decoder(int).decode
_decode_value = msgspec.msgpack.Decoder(tuple[int, bytes]).decode


def key_of(number: int) -> bytes:
    """16 bytes."""
    return b"user%012d" % number


def _socket(kind: int) -> Socket:
    context: zmq.Context[Socket] = zmq.Context.instance()
    socket = context.socket(kind)
    socket.set_hwm(_HIGH_WATER)
    socket.setsockopt(zmq.LINGER, 0)
    return socket


def _serve() -> Socket:
    socket = _socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    return socket


def _ask(port: str) -> Socket:
    socket = _socket(zmq.DEALER)
    socket.connect(f"tcp://127.0.0.1:{port}")
    return socket


def _waiter(*sources: Socket) -> Callable[..., list[tuple[object, int]]]:
    """`poll` of a poller made once: `Socket.poll` makes one each time."""
    poller = zmq.Poller()
    for source in sources:
        poller.register(source, zmq.POLLIN)
    return poller.poll


def _drain_router(socket: Socket) -> list[tuple[bytes, bytes]]:
    taken: list[tuple[bytes, bytes]] = []
    recv = socket.recv
    try:
        for _ in range(_DRAIN_MAX):
            peer = recv(NOW)
            frame = recv(NOW, copy=False)
            assert not frame.more, "a surplus frame"
            taken.append((peer, frame.bytes))
    except zmq.Again:
        pass
    return taken


def _drain(socket: Socket) -> list[bytes]:
    taken: list[bytes] = []
    recv = socket.recv
    try:
        for _ in range(_DRAIN_MAX):
            taken.append(recv(NOW))
    except zmq.Again:
        pass
    return taken


class _Log:
    """Appends a batch; with a folder it is on disk when `append` returns."""

    def __init__(self, folder: str) -> None:
        self._file = -1
        self._size = 0
        if folder:
            self._file = os.open(Path(folder) / f"{os.getpid()}.log", os.O_CREAT | os.O_WRONLY, 0o600)
            os.posix_fallocate(self._file, 0, _LOG_BYTES)

    def append(self, rows: Rows) -> None:
        if self._file < 0:
            return
        data = encode(rows)
        if self._size + len(data) > _LOG_BYTES:
            self._size = 0
        os.pwrite(self._file, data, self._size)
        self._size += len(data)
        os.fdatasync(self._file)


def replica(folder: str) -> None:
    """Holds what the primary sends, and says how much it holds."""
    socket, log = _serve(), _Log(folder)
    held: dict[bytes, bytes] = {}
    count = 0
    wait = _waiter(socket)
    while wait():
        peer, fresh = b"", Rows()
        for sender, body in _drain_router(socket):
            peer, append = sender, _decode_append(body)
            assert append.first == count, "rows arrive in order and without gaps"
            count += len(append.rows)
            fresh += append.rows
        if fresh:
            log.append(fresh)
            held.update(fresh)
            socket.send(peer, MORE)
            socket.send(encode(count), NOW)


class _Primary:
    """Takes puts, passes them on, and answers what a majority of three holds."""

    def __init__(self, folder: str, replicas: list[str]) -> None:
        self._socket, self._log = _serve(), _Log(folder)
        self._rows: dict[bytes, bytes] = {}
        self._peers = [_ask(port) for port in replicas]
        self._held = dict.fromkeys(self._peers, 0)
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._appended = self._answered = 0

    def run(self) -> None:
        wait = _waiter(self._socket, *self._peers)
        while True:
            for source, _ in wait():
                assert isinstance(source, zmq.Socket)
                if source is self._socket:
                    self._take()
                else:
                    self._held[source] = max(self._held[source], *map(_decode_count, _drain(source)), 0)
            self._answer()

    def _take(self) -> None:
        batch = Rows()
        for client, body in _drain_router(self._socket):
            put = _decode_request(body)
            assert isinstance(put, Put)
            self._waiting.append((client, put.request))
            batch.append((put.key, put.value))
        message = encode(Append(self._appended, batch))
        for peer in self._peers:
            peer.send(message, NOW)
        self._log.append(batch)  # while the replicas do the same
        self._appended += len(batch)
        self._rows.update(batch)

    def _answer(self) -> None:
        majority = min(self._appended, max(self._held.values()))
        send = self._socket.send
        while self._answered < majority:
            client, request = self._waiting.popleft()
            self._answered += 1
            send(client, MORE)
            send(encode(request), NOW)


def reader(keys: int, value_bytes: int) -> None:
    """Serves gets from a dict."""
    socket = _serve()
    rows = {key_of(number): b"v" * value_bytes for number in range(keys)}
    send, wait = socket.send, _waiter(socket)
    while wait():
        for client, body in _drain_router(socket):
            get = _decode_request(body)
            send(client, MORE)
            send(encode((get.request, rows[get.key])), NOW)


def client(port: str, kind: Kind, shape: Shape) -> Rate:
    """A closed loop: each answer is followed by the next request; after a warm-up that does not count."""
    socket = _ask(port)
    send, clock, reads = socket.send, time.perf_counter, kind is Kind.get
    keys, value = [key_of(number) for number in range(shape.keys)], b"v" * shape.value_bytes
    count, begun, latencies, turn = len(keys), [0.0] * shape.outstanding, list[float](), 0
    begin = clock() + _WARM_UP_S
    end = begin + shape.seconds

    def ask(slot: int) -> None:
        nonlocal turn
        turn = (turn + _STEP) % count
        begun[slot] = clock()
        send(encode(Get(slot, keys[turn]) if reads else Put(slot, keys[turn], value)), NOW)

    for slot in range(shape.outstanding):
        ask(slot)
    wait = _waiter(socket)
    while wait(_SILENCE_MS):
        for body in _drain(socket):
            slot, now = _decode_value(body)[0] if reads else _decode_count(body), clock()
            if now > end:
                return rate_of(latencies, shape.seconds)
            if now >= begin:
                latencies.append(now - begun[slot])
            ask(slot)
    raise SystemExit("no answer for 5 s")


def main(role: str, *arguments: str) -> None:
    """One process."""
    match role:
        case "replica":
            replica(arguments[0])
        case "primary":
            _Primary(arguments[0], list(arguments[1:])).run()
        case "reader":
            reader(*msgspec.json.decode(arguments[0], type=tuple[int, int]))
        case _:
            shape = msgspec.json.decode(arguments[2], type=Shape)
            rate = client(arguments[0], Kind(arguments[1]), shape)
            sys.stdout.write(msgspec.json.encode(rate).decode() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
