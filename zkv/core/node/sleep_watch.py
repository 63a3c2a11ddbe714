"""Watches over what sleeps: gives signs of life, and wakes who has lost its leader's node (`core.raft.sleeping`)."""

from collections.abc import Callable, Container, Iterable, Mapping

from zkv.core.node.host import Address, Host
from zkv.core.node.links import LinkWatch
from zkv.core.raft.ready import Timing
from zkv.core.raft.replica import Role
from zkv.core.shard.machine import ShardMachine
from zkv.ids import NodeId


class SleepWatch:
    """Of one node. A node that is silent for an election timeout counts as gone, as a leader would that is awake.

    Signs fall on whole multiples of their interval, so that they share a turn with what else falls there.
    """

    def __init__(self, links: LinkWatch, timing: Timing) -> None:
        self.due_ms = 0
        self._links = links
        self._ping_ms = timing.ping_ms
        self._silent_ms = timing.election_ms_min
        self._trusted_ms = 0  # before this nobody could be heard
        self._looked_ms = 0

    def tend(
        self, host: Host[ShardMachine], addresses: Callable[[], Mapping[NodeId, tuple[str, int]]]
    ) -> Iterable[Address]:
        """At the end of a turn: whom to give a sign of life now."""
        now_ms = host.now_ms
        if now_ms < self.due_ms:
            return ()
        if now_ms - self._looked_ms > 2 * self._ping_ms:
            self._trusted_ms = now_ms  # this process was stopped, or has begun: what was sent to it may still wait
        self._looked_ms = now_ms
        self.due_ms = now_ms - now_ms % self._ping_ms + self._ping_ms
        since_ms = now_ms - self._silent_ms
        known = addresses()
        if since_ms < self._trusted_ms:
            living = {(node, incarnation) for node, (_, incarnation) in known.items()}
        else:
            living = {(node, known[node][1]) for node in self._links.heard_since(since_ms) if node in known}
        return [address for address in _heed_silence(host, living) if address[0] in known]


def _heed_silence(host: Host[ShardMachine], living: Container[Address]) -> Iterable[Address]:
    """Wake who sleeps while its leader's node is not `living`. Returns who must hear that this node lives.

    In an order that does not hang on how strings hash, so that a simulated run replays in any process.
    """
    listeners: dict[Address, None] = {}
    for hosted in host.hosted.values():
        replica = hosted.replica
        if not replica.asleep:
            continue
        if replica.role is Role.LEADER:
            listeners.update(((voter.node, voter.incarnation), None) for voter in replica.membership.voters)
            continue
        leader = replica.leader_member
        if leader is None or (leader.node, leader.incarnation) not in living:
            host.touch(hosted).stir()
    return listeners
