"""What a leader puts on the wire: appends, heartbeats, and when it must speak without entries (Raft 5.3)."""

from typing import NamedTuple

from zkv import limits
from zkv.core.raft.log import Log
from zkv.core.raft.messages import AppendRequest, Entry
from zkv.core.raft.progress import Phase, Progress
from zkv.core.raft.ready import Ready, Timing
from zkv.ids import ReplicaId, ShardId


class Name(NamedTuple):
    """Who speaks: put on every message."""

    shard: ShardId
    replica: ReplicaId
    term: int


class Beat:
    """When a leader must speak although it has no entry to send.

    Heartbeats fall on whole multiples of their interval: all replicas of a node beat together, in one message to each
    peer however many shards there are.
    A commit is told with the next append. If none goes within `Timing.tell_ms` it is told by itself: followers then
    apply it soon, and under load it hardly ever costs a message, also where the load is spread over many shards.
    """

    __slots__ = ("_heartbeat_ms", "_tell_ms", "heartbeat", "heartbeat_at_ms", "tell", "tell_at_ms")

    def __init__(self, timing: Timing, now_ms: int) -> None:
        self._heartbeat_ms = timing.heartbeat_ms
        self._tell_ms = timing.tell_ms
        self.heartbeat_at_ms = self._next_beat(now_ms)
        self.tell_at_ms: int | None = None
        self.heartbeat = False
        self.tell = False

    @property
    def due_ms(self) -> int:
        """When `tick` next has something to do."""
        return self.heartbeat_at_ms if self.tell_at_ms is None else min(self.heartbeat_at_ms, self.tell_at_ms)

    def tick(self, now_ms: int) -> None:
        """Note what is due; the next `ready` sends it."""
        if self.tell_at_ms is not None and now_ms >= self.tell_at_ms:
            self.tell = True
            self.tell_at_ms = None
        if now_ms >= self.heartbeat_at_ms:
            self.heartbeat = True
            self.heartbeat_at_ms = self._next_beat(now_ms)

    def _next_beat(self, now_ms: int) -> int:
        return now_ms - now_ms % self._heartbeat_ms + self._heartbeat_ms

    def at_once(self, now_ms: int) -> None:
        """A heartbeat is due now, after a time without any."""
        self.heartbeat = True
        self.heartbeat_at_ms = self._next_beat(now_ms)

    def commit_moved(self, now_ms: int, *, at_once: bool = False) -> None:
        """Followers shall hear of it, not later than in a moment; `at_once` where their applying it is waited for."""
        self.tell = self.tell or at_once
        if self.tell_at_ms is None:
            self.tell_at_ms = now_ms + self._tell_ms


class Envelope:
    """What all messages of one round have in common."""

    __slots__ = ("_lease", "_log", "_name", "_rest", "_round", "_since_ms", "_tuples")

    def __init__(self, name: Name, log: Log, *, round_: int, since_ms: int, lease: bool, rest: bool = False) -> None:
        """`rest`: its heartbeats tell the peers to wait for no more."""
        self._name = name
        self._log = log
        self._round = round_
        self._since_ms = since_ms
        self._lease = lease
        self._rest = rest
        self._tuples: dict[int, tuple[Entry, ...]] = {}  # by the index before: peers mostly get the same entries

    def feed(self, peer: Progress, out: Ready) -> bool:
        """Send the peer what it may have now. Whether anything went."""
        log = self._log
        fed = False
        while peer.may_send(log):
            after = peer.next - 1
            term = log.term_at(after)
            if term is None:
                self._fall_behind(peer, out)
                break
            entries = self._tuples.get(after)
            if entries is None:
                entries = self._tuples[after] = log.take(after, limits.APPEND_BYTES_MAX)
            self._post(peer, after, term, entries, out)
            peer.sent(after + len(entries))
            fed = True
        return fed

    def heartbeat(self, peer: Progress, out: Ready) -> None:
        """An append without entries. It names the last entry sent, so that the answer shows whether one was lost."""
        after = peer.next - 1
        term = self._log.term_at(after)
        if term is None:
            after = term = 0  # before every log: accepted by all, and the answer tells how far the peer is
        self._post(peer, after, term, (), out)

    def _fall_behind(self, peer: Progress, out: Ready) -> None:
        """The peer needs what is no longer held: a snapshot, if anybody is there to take it."""
        if peer.recent(self._since_ms):
            peer.phase = Phase.SNAPSHOT
            out.snapshots.append(peer.member)
        else:
            peer.probe_from(peer.next, paused=True)

    def _post(self, peer: Progress, after: int, term: int, entries: tuple[Entry, ...], out: Ready) -> None:
        commit = self._log.committed
        peer.told_commit = commit
        shard, own, own_term = self._name
        echo_ms = peer.stamp_ms if self._lease else -1
        target = peer.member.replica
        message = AppendRequest(
            shard, own, target, own_term, after, term, commit, self._round, echo_ms, entries, self._rest
        )  # positional: twice as fast, and this is made for each peer in each turn
        out.messages.append((peer.member, message))
