"""What the runs ask of a cluster's map and figures."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import zmq

import zkv
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import MapDelta
from zkv.core.routing import admin
from zkv.core.routing.admin import Figures
from zkv.core.shard.descriptor import ShardInfo
from zkv.ids import ReplicaId, ShardId
from zkv.wire import codec

BATCH = 500  # rows that are asked for at once


def order(client: zkv.Client, node: str, action: str) -> None:
    """Have a node drained, undrained or removed."""
    client.ask(admin.change_node(node, action)).result()


def shards_of(client: zkv.Client, table: str) -> tuple[ShardInfo, ...]:
    """In range order."""
    shard_map = ShardMap(client.shard_map())
    return shard_map.shards_of(shard_map.named[table].table)


def held(client: zkv.Client, node: str) -> int:
    """How many replicas the node has, learners among them."""
    members = [m for s in client.shard_map().shards for m in (*s.membership.voters, *s.membership.learners)]
    return sum(member.node == node for member in members)


def fill(client: zkv.Client, table: str, rows: int, value_of: Callable[[int], bytes]) -> None:
    """Put so many rows, in key order."""
    for first in range(0, rows, BATCH):
        numbers = range(first, min(first + BATCH, rows))
        client.mput({key_of(number): value_of(number) for number in numbers}, table=table, timeout_s=60)


def key_of(number: int) -> bytes:
    """Of a row that `fill` puts."""
    return b"%09d" % number


def leading(client: zkv.Client) -> dict[str, Figures]:
    """The coordinators that say that they lead, with what they tell; one, but for moments."""
    told = client.status().items()
    return {name: one for name, one in told if one and one.get("role") == "coordinator" and one.get("leading")}


def at_rest(client: zkv.Client) -> bool:
    """Whether no operator is left, by the word of the coordinator that leads."""
    return [told["operators"] for told in leading(client).values()] == [[]]


def bytes_of_shards(client: zkv.Client) -> dict[ShardId, int]:
    """As some node has counted them; those that nobody has counted are missing."""
    sizes: dict[ShardId, int] = {}
    for figures in client.status().values():
        shards = (figures or {}).get("shards")
        for shard, told in shards.items() if isinstance(shards, dict) else ():
            sizes[ShardId(int(shard))] = max(sizes.get(ShardId(int(shard)), 0), told["bytes"])
    return sizes


def bytes_of_nodes(client: zkv.Client) -> dict[str, int]:
    """What the replicas of each node that is up hold, by the shards' sizes."""
    sizes = bytes_of_shards(client)
    found = {str(node.node): 0 for node in client.shard_map().nodes}
    for info in client.shard_map().shards:
        for member in info.membership.voters:
            found[member.node] = found.get(member.node, 0) + sizes.get(info.shard, 0)
    return found


@contextmanager
def subscribed(addresses: Iterable[str]) -> Iterator[list[MapDelta]]:
    """All changes of the map that any coordinator broadcasts, in the order in which they come."""
    deltas: list[MapDelta] = []
    stopping = threading.Event()
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    socket.setsockopt(zmq.RCVTIMEO, 100)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.subscribe(b"")
    for address in addresses:
        socket.connect(f"tcp://{address}")

    def listen() -> None:
        while not stopping.is_set():
            try:
                body = socket.recv_multipart()[-1]
            except zmq.Again:
                continue
            message = codec.decode_broadcast(body)
            if isinstance(message, MapDelta):
                deltas.append(message)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield deltas
    finally:
        stopping.set()
        thread.join()
        socket.close()


class Arrivals:
    """Replicas that were not there at the first of some changes of the map, and what had to be copied for them."""

    def __init__(self, client: zkv.Client, deltas: list[MapDelta]) -> None:
        self._known = _replicas(client.shard_map().shards)
        self._deltas = deltas

    def bytes(self, client: zkv.Client) -> int:
        """Of all that came."""
        sizes = bytes_of_shards(client)
        seen = [info for delta in list(self._deltas) for info in delta.shards]
        came = _replicas([*seen, *client.shard_map().shards])
        return sum(sizes.get(shard, 0) for own, shard in came.items() if own not in self._known)


def _replicas(shards: Iterable[ShardInfo]) -> dict[ReplicaId, ShardId]:
    return {
        member.replica: info.shard for info in shards for member in (*info.membership.voters, *info.membership.learners)
    }
