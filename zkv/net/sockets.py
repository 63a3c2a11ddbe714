"""Every socket of zkv and every option of it, each for a reason that was tested (docs/architecture.md).

Frames have one body. A ROUTER's messages are [routing id | body]; a DEALER's, PUB's and SUB's are [body]. ZMQ_HEARTBEAT
stays off: with a full receive queue libzmq aborts the process; peers are judged by our own traffic.
"""

import zmq

from zkv import limits
from zkv.errors import StartError

NOW = int(zmq.NOBLOCK)
MORE_NOW = int(zmq.SNDMORE | zmq.NOBLOCK)
DRAIN_MAX = 512  # messages taken from one socket in one turn, so that no peer starves the others

_BACKLOG = 1024
_CLOSE_MS = 500  # a clean stop lets what was sent leave
_RECONNECT_MS, _RECONNECT_MS_MAX, _CONNECT_MS, _HANDSHAKE_MS = 50, 500, 400, 1_000


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """A context of our own, so that closing it closes only our sockets."""
    return zmq.Context()


def router(where: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    """Takes requests at HOST:PORT. Raises StartError where the address cannot be had."""
    socket = where.socket(zmq.ROUTER)
    _bound(socket, limits.CLIENT_QUEUE_MESSAGES)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an answer to who has left raises EHOSTUNREACH instead of vanishing
    _bind(socket, address)
    return socket


def publisher(where: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    """Broadcasts at HOST:PORT and tells of each new subscription, repeated ones too (a late joiner gets a beacon)."""
    socket = where.socket(zmq.XPUB)
    _bound(socket, limits.CLIENT_QUEUE_MESSAGES)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    _bind(socket, address)
    return socket


def dealer(where: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    """Asks HOST:PORT. Nothing is queued while there is no connection: a dead endpoint would get it late, as news."""
    socket = where.socket(zmq.DEALER)
    _bound(socket, limits.PEER_QUEUE_MESSAGES)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    _connect(socket, address)
    return socket


def monitored_dealer(
    where: zmq.Context[zmq.Socket[bytes]], address: str, events: int
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A dealer and the socket that tells of these events of it, from its first connection on."""
    socket = where.socket(zmq.DEALER)
    _bound(socket, limits.PEER_QUEUE_MESSAGES)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    monitor: zmq.Socket[bytes] = socket.get_monitor_socket(events)  # before it connects, or that is missed
    _connect(socket, address)
    return socket, monitor


def subscriber(where: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    """Hears everything that is broadcast at HOST:PORT."""
    socket = where.socket(zmq.SUB)
    _bound(socket, limits.CLIENT_QUEUE_MESSAGES)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    _connect(socket, address)
    return socket


def close(socket: zmq.Socket[bytes], *, clean: bool) -> None:
    """Close; `clean`: let what was sent leave, for a bounded time."""
    socket.close(linger=_CLOSE_MS if clean else 0)


def _bound(socket: zmq.Socket[bytes], messages: int) -> None:
    socket.set_hwm(messages)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, limits.FRAME_BYTES_MAX)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)


def _bind(socket: zmq.Socket[bytes], address: str) -> None:
    socket.setsockopt(zmq.BACKLOG, _BACKLOG)
    try:
        socket.bind(f"tcp://{address}")
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise StartError(f"cannot listen at {address}: {error.strerror}") from error


def _connect(socket: zmq.Socket[bytes], address: str) -> None:
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS_MAX)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_MS)
    try:
        socket.connect(f"tcp://{address}")
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise StartError(f"cannot connect to {address}: {error.strerror}") from error
