"""The cluster of the core's tests behind real ZeroMQ sockets: what the shells are tested against."""

import queue
import threading
from collections.abc import Callable
from types import TracebackType

import zmq

from tests.core.routing.fake_shards import FakeShards
from zkv.core.cluster.shardmap import Beacon, MapDelta, Partitioner
from zkv.net import drain, sockets
from zkv.testing.ports import ClaimedPorts
from zkv.wire import codec


class FakeServer(FakeShards):
    """Three nodes, a coordinator and a broadcast on ports of 127.0.0.1, served by one thread until `close`."""

    def __init__(self, *, partitioner: Partitioner = Partitioner.HASH, shards: int = 3) -> None:
        self._claimed = ClaimedPorts(5)
        coordinator, publisher, *nodes = [f"127.0.0.1:{port}" for port in self._claimed.ports]
        super().__init__(
            shards=shards,
            partitioner=partitioner,
            addresses=tuple(nodes),
            coordinator=coordinator,
            publisher=publisher,
        )
        self.frames = 0  # received
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._context = sockets.context()
        self._routers = {address: sockets.router(self._context, address) for address in self.names}
        self._publisher = sockets.publisher(self._context, publisher)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def do_there(self, order: Callable[[], None]) -> None:
        """Run this in the server's thread, and return when it has."""
        done = threading.Event()
        self._orders.put((order, done))
        assert done.wait(10), "the server's thread does not answer"

    def die(self, address: str) -> None:
        """The process at this address is killed."""

        def order() -> None:
            self.dead.add(address)
            self._routers.pop(address).close(linger=0)

        self.do_there(order)

    def rise(self, address: str) -> None:
        """It is started again."""

        def order() -> None:
            self.dead.discard(address)
            self._routers[address] = sockets.router(self._context, address)

        self.do_there(order)

    def broadcast(self, delta: MapDelta) -> None:
        self._publisher.send(codec.encode(delta))

    def close(self) -> None:
        """Stop serving."""
        self._stopping = True
        self._thread.join()
        self._claimed.release()

    def __enter__(self) -> "FakeServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stopping:
            self._turn()
        for socket in (*self._routers.values(), self._publisher):
            socket.close(linger=0)
        self._context.term()

    def _turn(self) -> None:
        poller = zmq.Poller()
        for socket in (*self._routers.values(), self._publisher):
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(10))
        while not self._orders.empty():
            order, done = self._orders.get()
            order()
            done.set()
        if self._publisher in ready and drain.drain(self._publisher):
            self._publisher.send(codec.encode(Beacon(1, self.version)))
        for address, router in list(self._routers.items()):
            if router in ready:
                self._serve(address, router)

    def _serve(self, address: str, router: zmq.Socket[bytes]) -> None:
        decode = codec.decode_to_coordinator if address == self.coordinator else codec.decode_to_node
        for peer, body in drain.drain_router(router):
            self.frames += 1
            if address in self.deaf:
                continue
            message = self.answer_to(address, decode(body))
            if message is not None:
                drain.answer(router, peer, codec.encode(message))
