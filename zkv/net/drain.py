"""Taking all that a socket has, and sending without ever waiting."""

import zmq

from zkv.limits import DRAIN_BYTES_MAX
from zkv.net.sockets import DRAIN_MAX, MORE_NOW, NOW

Socket = zmq.Socket[bytes]


def drain_router(socket: Socket) -> list[tuple[bytes, bytes]]:
    """(routing id, body) of each message that is there, DRAIN_MAX and DRAIN_BYTES_MAX at most.

    What has more frames than a routing id and a body is dropped.
    """
    taken: list[tuple[bytes, bytes]] = []
    size = 0
    recv = socket.recv
    try:
        for _ in range(DRAIN_MAX):
            peer = recv(NOW)
            frame = recv(NOW, copy=False)
            if frame.more:
                _skip_rest(socket)
                continue
            body = frame.bytes
            taken.append((peer, body))
            size += len(body)
            if size > DRAIN_BYTES_MAX:
                break
    except zmq.Again:
        pass
    return taken


def drain(socket: Socket) -> list[bytes]:
    """The body of each message that is there, DRAIN_MAX at most. What has more frames than one is dropped."""
    taken: list[bytes] = []
    recv = socket.recv
    try:
        for _ in range(DRAIN_MAX):
            frame = recv(NOW, copy=False)
            if frame.more:
                _skip_rest(socket)
                continue
            taken.append(frame.bytes)
    except zmq.Again:
        pass
    return taken


def answer(socket: Socket, peer: bytes, body: bytes | zmq.Frame) -> bool:
    """Send to one peer of a ROUTER. False: it has left, or does not read and its queue is full."""
    try:
        socket.send(peer, MORE_NOW)
    except zmq.Again:
        return False
    except zmq.ZMQError as error:
        if error.errno != zmq.EHOSTUNREACH:
            raise
        return False
    socket.send(body, NOW, copy=type(body) is bytes)
    return True


def tell(socket: Socket, body: bytes | zmq.Frame) -> bool:
    """Send over a DEALER. False: not connected, or the queue is full."""
    try:
        socket.send(body, NOW, copy=type(body) is bytes)
    except zmq.Again:
        return False
    return True


def _skip_rest(socket: Socket) -> None:
    while socket.recv(NOW, copy=False).more:
        continue
