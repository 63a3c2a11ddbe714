"""Waits for what is to come true of a real cluster, with a deadline."""

import time
from collections.abc import Callable

import zkv
from zkv.core.shard.descriptor import ShardState
from zkv.testing import Cluster

_LOOK_S = 0.1


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = 60.0) -> None:
    """Block until the condition holds; a cluster that does not answer yet counts as not yet."""
    end = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
        except zkv.ZkvError as error:
            last = str(error)
        else:
            last = "it is not so"
        assert time.monotonic() < end, f"not within {within_s:g} s: {what} ({last})"
        time.sleep(_LOOK_S)


def wait_until_whole(cluster: Cluster, *, within_s: float = 60.0) -> None:
    """Every node is up and registered, and every replica has applied what its leader has."""
    wait_until(lambda: is_whole(cluster), "all replicas are level", within_s=within_s)


def is_whole(cluster: Cluster) -> bool:
    """Whether every member of every shard answers, and is as far as the others."""
    with cluster.client(timeout_s=2.0) as client:
        members = {
            (info.shard, member.node): member.replica
            for info in client.shard_map().shards
            if info.state is ShardState.ACTIVE
            for member in info.membership.voters
        }
        applied: dict[int, set[int]] = {}
        figures = client.status()
        for (shard, node), replica in members.items():
            held = (figures.get(node) or {}).get("shards", {}).get(str(shard))
            if held is None or held["replica"] != replica:
                return False
            applied.setdefault(shard, set()).add(held["applied"])
        led = all(info.leading() is not None for info in client.shard_map().shards)
    return led and all(len(reached) == 1 for reached in applied.values())
