"""Faults that are none: shards of the load's range table split and merge by command, also while processes die.

Each begins and ends with the borders that the table was created with. What is ordered must come to pass whoever dies:
an order that ended in an error is given again, which does nothing where it has come to pass (docs/elasticity.md).
"""

import threading
from collections.abc import Callable

import zkv
from zkv.chaos.keys import PARTINGS
from zkv.chaos.scene import Scene
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.routing import admin
from zkv.core.routing.operations import Request
from zkv.errors import ZkvError

_DONE_S = 60.0  # within so long an order has come to pass
_TRIES = 5


def split_and_merge(scene: Scene) -> None:
    """A shard splits, and some time later the two halves merge."""
    at = scene.rng.choice(PARTINGS)
    _split(scene, at)
    scene.hold(0.5, 3.0)
    _merge(scene, at)


def kill_amid_split(scene: Scene) -> None:
    """A process is killed while a shard splits: the node that leads it, any other, or a coordinator."""
    at = scene.rng.choice(PARTINGS)
    _split(scene, at, meanwhile=lambda: _kill_one(scene, at))
    scene.wait_until_whole()
    _merge(scene, at)


def kill_amid_merge(scene: Scene) -> None:
    """A process is killed while two shards merge: the node that leads one of them, any other, or a coordinator."""
    at = scene.rng.choice(PARTINGS)
    _split(scene, at)
    scene.wait_until_whole()
    _merge(scene, at, meanwhile=lambda: _kill_one(scene, at))


def _kill_one(scene: Scene, at: bytes) -> None:
    table = scene.target.range_table
    name = scene.rng.choice((scene.cluster.leader_of(at, table), scene.a_node(), scene.a_coordinator()))
    scene.hold(0.0, 0.05)
    scene.cluster.kill(name)
    scene.say(f"kill -9 of {name}")
    scene.hold(0.0, 3.0)
    scene.cluster.start(name)


def _nothing() -> None:
    return


def _split(scene: Scene, at: bytes, meanwhile: Callable[[], None] = _nothing) -> None:
    scene.say(f"split at {at.decode()}")
    _order(scene, admin.split_table(scene.target.range_table, at), meanwhile)
    scene.wait_until(lambda client: _parts(scene, client, at), f"a shard begins at {at.decode()}", _DONE_S)


def _merge(scene: Scene, at: bytes, meanwhile: Callable[[], None] = _nothing) -> None:
    scene.say(f"merge at {at.decode()}")
    _order(scene, admin.merge_shards(scene.target.range_table, at), meanwhile)
    scene.wait_until(lambda client: not _parts(scene, client, at), f"no shard begins at {at.decode()}", _DONE_S)


def _order(scene: Scene, request: Request[object], meanwhile: Callable[[], None]) -> None:
    """Order it again and again until it is said to be done, while something else is done."""
    failed: list[str] = []

    def order() -> None:
        for _ in range(_TRIES):
            try:
                scene.ask(request)
            except ZkvError as error:
                failed.append(error.what)
            else:
                return

    ordering = threading.Thread(target=order)
    ordering.start()
    try:
        meanwhile()
    finally:
        ordering.join()
    for what in failed:
        scene.say(f"ordered again: {what}")


def _parts(scene: Scene, client: zkv.Client, at: bytes) -> bool:
    """Whether a shard of the range table begins there."""
    shard_map = ShardMap(client.shard_map())
    table = shard_map.named[scene.target.range_table].table
    return any(info.table == table and info.start == at for info in shard_map.shards.values())
