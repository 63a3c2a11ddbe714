"""What a leader knows and does beside its log: feed peers, count copies, hold the lease, hand over.

Made when a replica is elected and thrown away with the role, so nothing of it can outlive its term.
"""

from zkv.core.raft.log import Log
from zkv.core.raft.messages import AppendReply, Membership, TimeoutNow
from zkv.core.raft.progress import Phase, Progress
from zkv.core.raft.quorum import majority, reached
from zkv.core.raft.reads import ReadState, ReadTicket, Rounds
from zkv.core.raft.ready import Ready, Timing
from zkv.core.raft.sending import Beat, Envelope, Name
from zkv.core.raft.sleeping import Rest
from zkv.ids import ReplicaId


class Handover:
    """Giving the lead away (rule 10). `ordered`: a TimeoutNow left in this term, so the lease is gone for all of it."""

    __slots__ = ("deadline_ms", "ordered", "sent", "target")

    def __init__(self) -> None:
        self.target: ReplicaId | None = None  # None: nothing is under way
        self.deadline_ms = 0
        self.sent = False  # the present target's first TimeoutNow
        self.ordered = False


class Leadership:
    """One leader in one term.

    `term_start` is the index of its first entry: once that is committed, everything before it is.
    """

    __slots__ = (
        "_alone",
        "_anybody_full",
        "_log",
        "_name",
        "_patient_until_ms",
        "_timing",
        "_votes",
        "_voting",
        "beat",
        "handover",
        "peers",
        "rest",
        "rounds",
        "term_start",
    )

    def __init__(self, name: Name, log: Log, membership: Membership, timing: Timing, now_ms: int) -> None:
        """`log` ends before the term's first entry, which the caller appends next."""
        self._name = name
        self._log = log
        self._timing = timing
        self.term_start = log.last.index + 1
        self.peers: dict[ReplicaId, Progress] = {}
        self.rounds = Rounds()
        self.beat = Beat(timing, now_ms)
        self.rest = Rest(now_ms)
        self.handover = Handover()
        self._patient_until_ms = now_ms
        self._anybody_full = False
        self.use(membership, now_ms)

    def use(self, membership: Membership, now_ms: int) -> list[Progress]:
        """Count by this membership from now on; the peers that are no longer in it."""
        own = self._name.replica
        members = {member.replica: member for member in (*membership.voters, *membership.learners)}
        gone = [peer for replica, peer in self.peers.items() if replica not in members]
        next_index = self._log.last.index + 1
        self.peers = {
            replica: self.peers.get(replica) or Progress(member, next_index=next_index, now_ms=now_ms)
            for replica, member in members.items()
            if replica != own
        }
        voters = [member.replica for member in membership.voters]
        self._votes = own in voters
        self._voting = [self.peers[replica] for replica in voters if replica != own]
        self._alone = voters == [own]
        if self.handover.target is not None and self.handover.target not in voters:
            self.handover.target = None
        self._anybody_full = any(peer.full for peer in self.peers.values())
        self._count_rounds()
        return gone

    # Time

    def tick(self, now_ms: int) -> bool:
        """Note what is due; end a handover that took too long. False: no quorum answers, judged at each heartbeat."""
        if self.rest.asleep:
            return True
        self.beat.tick(now_ms)
        if self.handover.target is not None and now_ms >= self.handover.deadline_ms:
            self.handover.target = None
        if not self.beat.heartbeat:
            return True
        if self._may_rest(now_ms):
            self.rest.begin(self.rounds.current + 1)
        return self._has_quorum(now_ms)

    def stir(self, now_ms: int) -> None:
        """Somebody asks for something: nobody is to fall asleep, and who sleeps is woken."""
        if self.rest.end(now_ms):
            self.beat.at_once(now_ms)
            self.stalled(now_ms + self._timing.election_ms_min)  # nobody was asked to answer

    def _may_rest(self, now_ms: int) -> bool:
        """Whether nothing is going on, and nothing is left to say to anybody."""
        sleep_after_ms, log = self._timing.sleep_after_ms, self._log
        if not sleep_after_ms or now_ms - self.rest.asked_ms < sleep_after_ms:
            return False
        idle = self.handover.target is None and not self.rounds.wanted and log.all_done
        settled = len(self._voting) == len(self.peers)  # nobody learns
        return idle and settled and all(peer.has_all(log) and not peer.full for peer in self._voting)

    def stalled(self, until_ms: int) -> None:
        """This process was stopped: answers may wait in its queue, so the quorum is judged only after `until_ms`."""
        self._patient_until_ms = until_ms

    def _has_quorum(self, now_ms: int) -> bool:
        """Whether a majority of the voters answered within an election timeout (check-quorum, Raft 9.6)."""
        if now_ms < self._patient_until_ms:
            return True
        heard = [peer.heard_ms for peer in self._voting]
        if self._votes:
            heard.append(now_ms)
        return now_ms - reached(heard) < self._timing.election_ms_min

    # Answers

    def on_reply(self, reply: AppendReply, now_ms: int) -> bool:
        """Take an answer of this term. False if it tells nothing that still matters."""
        peer = self.peers.get(reply.sender)
        if peer is None or not 0 <= reply.round <= self.rounds.current or reply.match > self._log.last.index:
            return False
        peer.heard_ms = now_ms
        if reply.full is not peer.full:
            peer.full = reply.full
            self._anybody_full = any(other.full for other in self.peers.values())
        if reply.round > peer.round:
            peer.round = reply.round
            peer.stamp_ms = reply.stamp_ms
            self._count_rounds()
        if reply.asleep and self.rest.offered:
            peer.asleep_round = max(peer.asleep_round, reply.round)
            first = self.rest.first_round
            self.rest.asleep = all(other.asleep_round >= first for other in self.peers.values())
        if not reply.accepted:
            return peer.refused(reply.match, self._next_after(reply))
        peer.accepted(reply.match)
        if peer.phase is Phase.PROBE or (peer.phase is Phase.SNAPSHOT and peer.match >= self._log.start.index):
            peer.flows()
        return True

    def _next_after(self, refusal: AppendReply) -> int:
        """Where to go on after a refusal: behind the last entry at which the two logs may agree.

        Where that is older than what we hold, the result is at or below our start: then only a snapshot helps.
        """
        start = self._log.start
        if refusal.hint_index < start.index:
            return refusal.hint_index + 1
        agreed = self._log.hint(refusal.hint_index, refusal.hint_term)
        return agreed.index + 1 if agreed.term <= refusal.hint_term else start.index

    def majority_holds(self) -> int:
        """The last index that a majority of the voters holds on disk; the leader's own copy counts once it is."""
        held = [peer.match for peer in self._voting]
        if self._votes:
            held.append(self._log.persisted)
        return reached(held)

    # Room (rule 6)

    def short_of_room(self, now_ms: int) -> bool:
        """Whether no majority of the voters answers and has room on its disk, because some have none.

        Then the full ones get what is in the log (their reserve is for that), but no client may add to it.
        """
        if not self._anybody_full:
            return False
        since_ms = self._since(now_ms)
        roomy = sum(peer.recent(since_ms) and not peer.full for peer in self._voting) + self._votes
        return roomy < majority(len(self._voting) + self._votes)

    def full_members(self) -> list[ReplicaId]:
        """Who said that its disk is full."""
        return [replica for replica, peer in self.peers.items() if peer.full]

    def _spared(self, now_ms: int) -> set[Progress]:
        """The peers that get no entries: they are full, and a majority can do without them."""
        if not self._anybody_full or self.short_of_room(now_ms):
            return set()
        return {peer for peer in self.peers.values() if peer.full}

    # Reads

    def holds_lease(self, now_ms: int) -> bool:
        """Whether nobody else can have been elected yet, and all that was committed before is applied (rule 8).

        Nor while a split, or a step of a merge, is in the log and not applied: followers may have applied it, and
        another shard serves those keys.
        """
        if self._log.applied < self.term_start or self.handover.ordered or self._log.splits:
            return False
        return self._alone or now_ms < self.rounds.answered_sent_ms + self._timing.lease_ms

    def ask_read(self) -> ReadTicket:
        """A ticket for the next round. It waits for this term's first entry: only then is all older commit known."""
        self.rounds.wanted = True
        return ReadTicket(self._name.term, self.rounds.current + 1, max(self._log.committed, self.term_start))

    def read_state(self, ticket: ReadTicket) -> ReadState:
        """What became of a ticket of this term."""
        if self.rounds.answered >= ticket.round and self._log.applied >= ticket.index:
            return ReadState.READY
        return ReadState.WAIT

    # Members

    def objection(self, change: str, member: ReplicaId, kept: int, now_ms: int) -> str | None:
        """Why a change of the members may not begin now; None if it may. `kept`: see `quorum_without` (rule 11).

        A split makes a group of its voters, too; who gets no state by it may have to wait for the new group's leader.
        """
        if self._log.changes:
            return "another change of membership is under way"
        if self.handover.target is not None:
            return "the lead is being handed over"
        if self._log.committed < self.term_start:
            return "this leader has not yet committed an entry of its own term"
        if change == "split" and not self._all_level(now_ms):
            return "not all of its replicas answer and have caught up"
        if change == "promote" and not self.caught_up(member, now_ms):
            return f"replica {member} has not caught up"
        if change == "remove" and not self.quorum_without(member, kept, now_ms):
            return f"without replica {member} too few live, caught-up voters would be left"
        return None

    def quorum_without(self, member: ReplicaId, kept: int, now_ms: int) -> bool:
        """Whether, of the voters without `member`, a majority and no fewer than `kept` are heard of and caught up."""
        since_ms = self._since(now_ms)
        rest = [peer for peer in self._voting if peer.member.replica != member]
        fit = sum(peer.recent(since_ms) and peer.level(self._log) for peer in rest)
        stays = self._votes and member != self._name.replica
        count = len(rest) + stays
        return count > 0 and fit + stays >= max(majority(count), kept)

    def _all_level(self, now_ms: int) -> bool:
        since_ms = self._since(now_ms)
        return all(peer.recent(since_ms) and peer.level(self._log) for peer in self._voting)

    def caught_up(self, member: ReplicaId, now_ms: int) -> bool:
        """Whether the member may become a voter: heard of, and at most one append behind."""
        peer = self.peers.get(member)
        return peer is not None and peer.recent(self._since(now_ms)) and peer.level(self._log)

    def hand_over(self, target: ReplicaId, now_ms: int) -> bool:
        """Begin to hand the lead to a voter that answers. False if it cannot be, or another handover is under way."""
        if self.handover.target is not None:
            return self.handover.target == target
        peer = self.peers.get(target)
        if peer is None or peer not in self._voting:
            return False
        if not peer.recent(self._since(now_ms)) and now_ms >= self._patient_until_ms:
            return False
        if peer in self._spared(now_ms):
            return False
        self.handover.target = target
        self.handover.deadline_ms = now_ms + self._timing.election_ms_min
        self.handover.sent = False
        return True

    # Sending

    def may_speak(self) -> bool:
        """Whether `send` may have something to say."""
        beat = self.beat
        if beat.heartbeat or beat.tell or self.rounds.wanted or self.handover.target is not None:
            return True
        log = self._log
        return bool([peer for peer in self.peers.values() if peer.may_send(log)])

    def send(self, out: Ready, now_ms: int) -> None:
        """Add to `out` what each peer must hear: entries, a heartbeat, the commit, a round that a read waits for."""
        beat = self.beat
        heartbeat, tell, asked = beat.heartbeat, beat.tell, self.rounds.wanted
        spared = self._spared(now_ms) if self._anybody_full else ()
        hungry = [peer for peer in self.peers.values() if peer not in spared and peer.may_send(self._log)]
        if heartbeat or tell or asked or hungry:
            beat.heartbeat = beat.tell = False
            envelope = self._envelope(now_ms)
            for peer in self.peers.values():
                fed = peer not in spared and envelope.feed(peer, out)
                untold = tell and peer.told_commit < self._log.committed
                # A heartbeat goes beside an append, because a heartbeat's answer waits for no flush.
                if heartbeat or (not fed and (asked or untold)):
                    envelope.heartbeat(peer, out)
            if self._alone:
                self._count_rounds()
                self.rest.asleep = self.rest.offered
        if self.handover.target is not None and (heartbeat or not self.handover.sent):
            self._order(self.handover.target, out)

    def farewell(self, gone: list[Progress], out: Ready, now_ms: int) -> None:
        """Tell these peers the commit index once more, so that one that was removed may learn it."""
        envelope = self._envelope(now_ms)
        for peer in gone:
            envelope.heartbeat(peer, out)

    def _envelope(self, now_ms: int) -> Envelope:
        lease = self.holds_lease(now_ms)
        round_, since_ms = self.rounds.start(now_ms), self._since(now_ms)
        return Envelope(self._name, self._log, round_=round_, since_ms=since_ms, lease=lease, rest=self.rest.offered)

    def _order(self, target: ReplicaId, out: Ready) -> None:
        """TimeoutNow, if the target's log is level. The lease ends here, before the message leaves."""
        peer = self.peers[target]
        if peer.match != self._log.last.index:
            return
        self.handover.sent = self.handover.ordered = True
        shard, own, term = self._name
        out.messages.append((peer.member, TimeoutNow(shard, own, target, term, self._log.last.index)))

    def _since(self, now_ms: int) -> int:
        """Who answered after this moment is alive."""
        return now_ms - self._timing.election_ms_min

    def _count_rounds(self) -> None:
        answered = [peer.round for peer in self._voting]
        if self._votes:
            answered.append(self.rounds.current)
        self.rounds.answer(reached(answered))
