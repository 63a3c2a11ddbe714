"""Faults of a group of coordinators, beside those that strike any single one.

A run uses them only if its plan says that there are several. Their draws have sources of their own, so a seed without
them means what it always meant.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from zkv.sim.cluster import Cluster
from zkv.sim.coordinators import SimCoordinator
from zkv.sim.swarm import Swarm
from zkv.sim.world import SECOND

GROUP = ("lost coordinator",)
_EVERY_US = 3 * SECOND  # from strike to strike of each kind, in the mean
_SHARE = 0.5  # of the seeds use each kind


def not_whole(cluster: Cluster) -> list[str]:
    """What is amiss with the coordinators when all is quiet: each should be a member, once, and know what all know."""
    return [what for one in cluster.coordinators for what in _amiss(one, cluster)]


def _amiss(one: SimCoordinator, cluster: Cluster) -> Iterator[str]:
    hosted = one.core.hosted
    if hosted is None or hosted.machine is None:
        yield f"{one.name} is no member of the group of coordinators"
        return
    group = hosted.replica.membership
    wanted = sorted((other.name, other.machine.folder.incarnation) for other in cluster.coordinators)
    if group.learners or sorted((voter.node, voter.incarnation) for voter in group.voters) != wanted:
        yield f"{one.name} takes {group} for the group of coordinators"
    leader = cluster.coordinator
    if one.known != leader.known:
        yield f"{one.name} is at version {one.known} of the map, {leader.name} at {leader.known}"


def with_group(rng: Callable[[str], Random], swarm: Swarm, without: tuple[str, ...]) -> Swarm:
    """The swarm, with the kinds of this page that the seed draws."""
    kinds = tuple(kind for kind in GROUP if rng(f"swarm {kind}").random() < _SHARE and kind not in without)
    return replace(swarm, kinds=(*swarm.kinds, *kinds), every_us=swarm.every_us | dict.fromkeys(GROUP, _EVERY_US))
