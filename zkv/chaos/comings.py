"""Faults that are none: nodes come and go as an operator wants it, under the same load and the same verdict.

Each begins and ends with the run's own nodes; one more, the spare, is there only meanwhile (docs/elasticity.md).
"""

from collections.abc import Callable

import zkv
from zkv.chaos.failure import ChaosFailed
from zkv.chaos.scene import Scene
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.shardmap import NodeState
from zkv.core.routing import admin
from zkv.server.exits import Exit

_MOVED_S = 60.0  # within so long whatever is to move has moved
_Wanted = Callable[[ShardMap], bool]


def join_and_drain(scene: Scene) -> None:
    """A node joins, gets its share, is drained, stops and is removed."""
    _join(scene)
    scene.hold(0.0, 2.0)
    _leave(scene)


def drain_and_restart(scene: Scene) -> None:
    """One more node joins; another is drained, restarted while it is empty, and filled again."""
    _join(scene)
    name = scene.a_node(besides=scene.spare)
    _empty_by_command(scene, name)
    _terminate(scene, name)
    scene.hold(0.0, 1.0)
    scene.cluster.start(name)
    _order(scene, name, "undrain")
    _leave(scene)


def remove_dead(scene: Scene) -> None:
    """One more node joins; another dies for good, is removed, rebuilt elsewhere, and joins anew without its disk."""
    _join(scene)
    name = scene.a_node(besides=scene.spare)
    scene.cluster.kill(name)
    scene.say(f"kill -9 of {name}, for good")
    scene.empty(name)
    _await(scene, lambda shard_map: not _is_up(shard_map, name), f"{name} counts as down")
    _order(scene, name, "remove")
    _await(scene, lambda shard_map: name not in shard_map.nodes, f"{name} is rebuilt elsewhere and forgotten")
    scene.cluster.start(name)
    _await(scene, lambda shard_map: _is_up(shard_map, name), f"{name} joins anew")
    _leave(scene)


def _join(scene: Scene) -> None:
    """The spare joins, and has its share."""
    spare = scene.spare
    scene.cluster.start(spare)
    scene.say(f"{spare} joins")
    _await(scene, lambda shard_map: _holds_something(shard_map, spare), f"{spare} gets its share")
    scene.wait_until_whole()


def _leave(scene: Scene) -> None:
    """The spare is drained, stops, and is removed with all that is left of it."""
    spare = scene.spare
    _empty_by_command(scene, spare)
    _terminate(scene, spare)
    _order(scene, spare, "remove")
    _await(scene, lambda shard_map: spare not in shard_map.nodes, f"{spare} is forgotten")
    scene.empty(spare)
    scene.cluster.forget(spare)


def _empty_by_command(scene: Scene, name: str) -> None:
    _order(scene, name, "drain")
    _await(scene, lambda shard_map: not _holds_something(shard_map, name), f"{name} is empty")


def _terminate(scene: Scene, name: str) -> None:
    status = scene.cluster.terminate(name)
    if status != Exit.OK:
        raise ChaosFailed(f"{name}, which holds nothing, ended with exit status {status} after SIGTERM")
    scene.say(f"{name} stopped by SIGTERM")


def _order(scene: Scene, name: str, action: str) -> None:
    scene.say(f"{action} {name}")
    scene.ask(admin.change_node(name, action))


def _await(scene: Scene, wanted: _Wanted, what: str) -> None:
    def holds(client: zkv.Client) -> bool:
        return wanted(ShardMap(client.shard_map()))

    scene.wait_until(holds, what, _MOVED_S)


def _is_up(shard_map: ShardMap, name: str) -> bool:
    return any(node.node == name and node.state is NodeState.UP for node in shard_map.nodes.values())


def _holds_something(shard_map: ShardMap, name: str) -> bool:
    members = (info.membership for info in shard_map.shards.values())
    return any(own.node == name for group in members for own in (*group.voters, *group.learners))
