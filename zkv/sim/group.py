"""Faults of a group of coordinators, beside those that strike any single one.

A run uses them only if its plan says that there are several. Their draws have sources of their own, so a seed without
them means what it always meant.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from zkv.core.routing.admin import AdminRequest
from zkv.core.routing.coordinators import add_coordinator, remove_coordinator
from zkv.sim.cluster import Cluster
from zkv.sim.coordinators import SimCoordinator
from zkv.sim.swarm import Swarm
from zkv.sim.world import MS, SECOND

GROUP = ("lost coordinator", "swap coordinator")
_MOST = 6  # processes, those that have been members counted
_EVERY_US = 3 * SECOND  # from strike to strike of each kind, in the mean
_SHARE = 0.5  # of the seeds use each kind


def not_whole(cluster: Cluster) -> list[str]:
    """What is amiss with the coordinators when all is quiet: each that is wanted should be a member, once, and know
    what all know; others should have no replica left."""
    return [what for one in cluster.coordinators for what in _amiss(one, cluster)]


def _amiss(one: SimCoordinator, cluster: Cluster) -> Iterator[str]:
    hosted = one.core.hosted
    if one not in cluster.members():
        if hosted is not None:
            yield f"{one.name} is no member of the group any more, and still has a replica of it"
        return
    if hosted is None or hosted.machine is None:
        yield f"{one.name} is no member of the group of coordinators"
        return
    group = hosted.replica.membership
    wanted = sorted((other.name, other.machine.folder.incarnation) for other in cluster.members())
    if group.learners or sorted((voter.node, voter.incarnation) for voter in group.voters) != wanted:
        yield f"{one.name} takes {group} for the group of coordinators"
    leader = cluster.coordinator
    if one.known != leader.known:
        yield f"{one.name} is at version {one.known} of the map, {leader.name} at {leader.known}"


class Swaps:
    """Coordinators that come, and others that go for them. `order` asks the cluster, through a client."""

    def __init__(
        self,
        cluster: Cluster,
        order: Callable[[AdminRequest[None]], None],
        later: Callable[[int, Callable[[], object]], None],
    ) -> None:
        self._cluster = cluster
        self._order = order
        self._later = later

    def swap(self, rng: Random) -> str:
        """One more is to be a member, and a little later one less, if the first has been decided by then."""
        members = self._cluster.members()
        if len(self._cluster.coordinators) >= _MOST or not members:
            return ""
        fresh, goes = self._cluster.recruit(), rng.choice(members).name
        fresh.start()
        self._order(add_coordinator(fresh.name, fresh.name, fresh.name))

        def remove() -> None:
            if fresh in self._cluster.members():
                self._order(remove_coordinator(goes))

        delay_ms = rng.choice([300, 1_500, 3_000])
        self._later(delay_ms * MS, remove)
        return f"{fresh.name} comes, and {goes} is to go {delay_ms} ms later"


def with_group(rng: Callable[[str], Random], swarm: Swarm, without: tuple[str, ...]) -> Swarm:
    """The swarm, with the kinds of this page that the seed draws."""
    kinds = tuple(kind for kind in GROUP if rng(f"swarm {kind}").random() < _SHARE and kind not in without)
    return replace(swarm, kinds=(*swarm.kinds, *kinds), every_us=swarm.every_us | dict.fromkeys(GROUP, _EVERY_US))
