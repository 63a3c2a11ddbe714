"""Which links to other nodes have gone silent: a half-open connection takes what it is given and delivers nothing.

A link only sends, so its own end cannot tell. Every frame therefore carries its sender's clock, and gives back the
receiver's last stamp of each lane: a node learns from its peer what of its own has arrived. A link whose stamps do not
come back for SILENT_MS is to be connected anew. A peer that has nothing to say owes an empty frame, and nothing is owed
for one.
"""

from typing import Final

from zkv.core.cluster import versions
from zkv.core.cluster.frames import Peers
from zkv.ids import NodeId

MESSAGES: Final = 0
SNAPSHOTS: Final = 1
LANES: Final = (MESSAGES, SNAPSHOTS)
SILENT_MS: Final = 3_000  # a peer that is merely slow or stopped loses no more than a connection by it
ECHO_MS: Final = 1_000  # who heard something and had nothing to say for so long, says that


class _Lane:
    """One link. `waiting_ms`: since when a frame has been on its way without an echo; None: none is."""

    __slots__ = ("heard_ms", "sent_ms", "waiting_ms")

    def __init__(self) -> None:
        self.heard_ms = 0  # the peer's stamp on the last frame that came over its lane
        self.sent_ms = 0
        self.waiting_ms: int | None = None


class _Peer:
    __slots__ = ("heard_ms", "lanes", "owed_ms", "protocol", "stated", "strange")

    def __init__(self) -> None:
        self.lanes = (_Lane(), _Lane())
        self.heard_ms = 0  # when anything of it last arrived, by our clock
        self.owed_ms: int | None = None  # when the first frame arrived that was not followed by one of ours
        self.protocol = versions.PROTOCOL_VERSION  # as it last stated it
        self.stated = False
        self.strange = False  # that is too far from ours


class LinkWatch:
    """The links of one node to all its peers, two each. The owner stamps what it sends and renews what is silent."""

    def __init__(self) -> None:
        self._peers: dict[NodeId, _Peer] = {}
        self._told: dict[NodeId, str] = {}

    def heard_of(self, peer: NodeId) -> tuple[int, int]:
        """For the next frame to this peer: its last stamp on each lane."""
        messages, snapshots = self._peer(peer).lanes
        return messages.heard_ms, snapshots.heard_ms

    def sent(self, peer: NodeId, lane: int, now_ms: int, *, empty: bool) -> None:
        """A frame stamped `now_ms` was handed to the link."""
        known = self._peer(peer)
        link = known.lanes[lane]
        link.sent_ms = now_ms
        if lane == MESSAGES:
            known.owed_ms = None
        if link.waiting_ms is None and not empty:
            link.waiting_ms = now_ms

    def heard(self, frame: Peers, now_ms: int) -> bool:
        """A frame of a peer arrived, meant for this node. False: its version is too far from ours, do not listen.

        Such a peer counts as silent, for nothing that it does is understood.
        """
        known = self._peer(frame.sender)
        known.stated = True
        if frame.protocol != known.protocol:
            self._introduced(frame.sender, known, frame.protocol)
        if known.strange:
            return False
        known.heard_ms = now_ms
        known.lanes[frame.lane].heard_ms = frame.sent_ms
        if frame.messages and known.owed_ms is None:
            known.owed_ms = now_ms
        for link, echo_ms in zip(known.lanes, frame.heard_ms, strict=True):
            if link.waiting_ms is not None and link.waiting_ms <= echo_ms <= link.sent_ms:
                link.waiting_ms = now_ms if echo_ms < link.sent_ms else None
        return True

    def protocol_of(self, peer: NodeId) -> int:
        """The version that the peer last stated; 0: none yet."""
        known = self._peers.get(peer)
        return known.protocol if known is not None and known.stated else 0

    def told(self) -> list[str]:
        """What is worth a line in the log since the last call: the newest of each peer."""
        told, self._told = list(self._told.values()), {}
        return told

    def silent(self, now_ms: int) -> list[tuple[NodeId, int]]:
        """(peer, lane) of each link to be connected anew; each is then given SILENT_MS again."""
        found = []
        for peer, known in self._peers.items():
            for lane in LANES:
                link = known.lanes[lane]
                if link.waiting_ms is not None and now_ms - link.waiting_ms >= SILENT_MS:
                    link.waiting_ms = None
                    found.append((peer, lane))
        return found

    def heard_since(self, since_ms: int) -> list[NodeId]:
        """Peers of which anything has arrived after that."""
        return [peer for peer, known in self._peers.items() if known.heard_ms > since_ms]

    def owing(self, now_ms: int) -> list[NodeId]:
        """Peers that wait for a sign of what has arrived, and to whom there was nothing to say."""
        return [
            peer
            for peer, known in self._peers.items()
            if known.owed_ms is not None and now_ms - known.owed_ms >= ECHO_MS
        ]

    def _introduced(self, peer: NodeId, known: _Peer, protocol: int) -> None:
        known.protocol, was_strange = protocol, known.strange
        known.strange = not versions.works_with(protocol)
        if known.strange:
            self._told[peer] = versions.too_far(f"refused node {peer}: it", protocol, "this node")
        elif was_strange:
            self._told[peer] = f"node {peer} now speaks protocol {protocol}, and is listened to"

    def _peer(self, peer: NodeId) -> _Peer:
        known = self._peers.get(peer)
        if known is None:
            known = self._peers[peer] = _Peer()
        return known
