"""Which nodes are there, and how each is reached: the coordinator's sessions with them.

A session lives in memory alone. A coordinator that has just begun to lead has none, and every node that speaks to it
is asked to register again, which brings its reports.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from zkv import limits
from zkv.core.cluster.messages import Register
from zkv.core.cluster.shardmap import NodeInfo, NodeState
from zkv.ids import NodeId

TICK_GAP_MS: Final = limits.NODE_DOWN_MS // 3  # a longer gap between two ticks: the coordinator itself was paused
CONTEST_MS: Final = 2 * limits.REGISTER_MS  # what the old holder said sooner may have waited in a queue


@dataclass(slots=True)
class Session:
    """How a node is reached, and when it was last heard."""

    source: bytes
    incarnation: int
    address: str
    heard_ms: int


@dataclass(slots=True)
class Contest:
    """Somebody who wants an id that another folder or address seems to hold. Decided by who falls silent."""

    source: bytes
    register: Register
    since_ms: int


@dataclass(slots=True)
class Liveness:
    """Sessions by node, on one clock. `fresh_ms`: nobody can have been silent since before it."""

    now_ms: int
    fresh_ms: int
    sessions: dict[NodeId, Session] = field(default_factory=dict)
    contests: dict[NodeId, Contest] = field(default_factory=dict)

    def start(self) -> None:
        """Begin to lead: nobody is known, and nobody is silent yet."""
        self.sessions.clear()
        self.contests.clear()
        self.fresh_ms = self.now_ms

    def tick(self, now_ms: int) -> None:
        """Time goes on. After a pause of our own, silence counts from now: what was sent may still be in a queue."""
        if now_ms - self.now_ms > TICK_GAP_MS:
            self.fresh_ms = now_ms
        self.now_ms = max(self.now_ms, now_ms)

    def is_heard(self, node: NodeId) -> bool:
        """Whether the node has spoken within limits.NODE_DOWN_MS."""
        session = self.sessions.get(node)
        return session is not None and self.now_ms - session.heard_ms <= limits.NODE_DOWN_MS

    def silent_ms(self, node: NodeId) -> int:
        """For how long the node has been silent, as far as this coordinator could have heard it."""
        session = self.sessions.get(node)
        heard_ms = session.heard_ms if session is not None else self.fresh_ms
        return self.now_ms - max(heard_ms, self.fresh_ms)

    def state_of(self, info: NodeInfo) -> NodeState:
        """What to believe of a node, given what was believed: down only after a silence that we could have heard."""
        if self.is_heard(info.node):
            return NodeState.UP
        in_grace = self.now_ms - self.fresh_ms <= limits.NODE_DOWN_MS
        return info.state if in_grace else NodeState.DOWN

    def differs(self, nodes: Iterable[NodeInfo]) -> bool:
        """Whether some node is to be believed in another state."""
        for info in nodes:
            if (info.state is not NodeState.UP or not self.is_heard(info.node)) and self.state_of(info) != info.state:
                return True
        return False

    def is_taken(self, register: Register, held: NodeInfo | None) -> bool:
        """Whether the id may be in use by another folder, or at another address, than this one.

        Without a session its holder gets the time to come back to a coordinator that has just begun to lead.
        """
        claim = (register.incarnation, register.address)
        session = self.sessions.get(register.node)
        if session is not None:
            return claim != (session.incarnation, session.address) and self.is_heard(register.node)
        if held is None or claim == (held.incarnation, held.address):
            return False
        return held.state == NodeState.UP and self.now_ms - self.fresh_ms <= limits.NODE_DOWN_MS

    def contest(self, source: bytes, register: Register) -> None:
        """Let the newcomer wait: either the holder falls silent, and a repeated Register finds the id free, or not."""
        held = self.contests.get(register.node)
        same = held is not None and held.register.incarnation == register.incarnation
        since = held.since_ms if held is not None and same else self.now_ms
        self.contests[register.node] = Contest(source, register, since)

    def accept(self, source: bytes, register: Register) -> None:
        """The node is who it says; from now on it is reached at `source`."""
        self.contests.pop(register.node, None)
        self.sessions[register.node] = Session(source, register.incarnation, register.address, self.now_ms)

    def heard(self, source: bytes, node: NodeId, incarnation: int) -> bool:
        """The node spoke; False if it must register first."""
        session = self.sessions.get(node)
        if session is None or session.incarnation != incarnation:
            return False
        session.source = source
        session.heard_ms = self.now_ms
        return True

    def lost_contest(self, node: NodeId) -> Contest | None:
        """The newcomer who must go, now that the id's holder has spoken; None if nobody wanted it (or only just)."""
        contest = self.contests.get(node)
        if contest is None or self.now_ms - contest.since_ms < CONTEST_MS:
            return None
        return self.contests.pop(node)
