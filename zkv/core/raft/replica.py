"""One replica of one group: decides, never does (Raft: Ongaro and Ousterhout 2014, and Ongaro's thesis).

It is fed by `tick`, `step`, `persisted` and `applied_to`, and asked by `ready` for what to write, send and apply. It
knows no socket, clock, file or chance but what is handed in, and nothing of what the entries mean, memberships apart.
Terms and roles change here and nowhere else; what follows from them is in `leading` (peers, lease, handover),
`elections`, `log`, `membership` and `reads`.
"""

from zkv.core.raft.elections import FOREVER_MS, NOBODY, Role, Tally, ahead
from zkv.core.raft.leading import Leadership
from zkv.core.raft.log import well_formed
from zkv.core.raft.membership import changed, decode_membership, encode_membership, find
from zkv.core.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryKind,
    Member,
    Membership,
    RaftMessage,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from zkv.core.raft.progress import Phase
from zkv.core.raft.reads import ReadState, ReadTicket
from zkv.core.raft.ready import BEGINNING, EntryId, Ready
from zkv.core.raft.sending import Name
from zkv.core.raft.state import ReplicaState, voter_ids
from zkv.ids import NodeId, ReplicaId

__all__ = ["ReadState", "ReadTicket", "Replica", "Role"]


class Replica(ReplicaState):
    """One voter or learner of one Raft group, owned by one loop.

    The owner's turn: `tick` with a clock read after the last message was received, `step` each message, then `ready`.
    It puts hard_state and entries on disk in one flush, sends `messages` at once, and `promises` when everything
    handed out so far is on disk (at once, if it is already); it applies `committed` and says so by `applied_to`.

    An assertion that fails is our own fault; messages, however late or wrong, are dropped and counted in `dropped`.
    """

    # Being fed

    def tick(self, now_ms: int) -> None:
        """It is `now_ms`: the one door of time. Called before the messages of a turn are stepped."""
        stopped = self._patience.advance(now_ms)
        if self._leading is not None:
            self._tick_leading(self._leading, stopped=stopped)
        elif self._patience.ended and not self._asleep:
            self._follow(self.term)
            self._patience.restart()
            if self._electable():
                self._ask_around()

    def distrust_clock(self) -> None:
        """The clock has turned back: what rests on how much time has passed so far is void (rules 8, 19)."""
        self._freshness.distrust(self._patience.now_ms)
        if self._leading:
            self._leading.rounds.distrust()

    def step(self, message: RaftMessage) -> None:
        """Take one message. What no longer fits is dropped and counted."""
        if message.shard != self.shard or message.target != self.id or message.sender == self.id:
            self.dropped += 1
            return
        if not isinstance(message, AppendReply) and not (isinstance(message, AppendRequest) and message.rest):
            self.stir()
        match message:
            case AppendReply():
                taken = self._on_append_reply(message)
            case AppendRequest():
                taken = self._on_append_request(message)
            case VoteRequest():
                taken = self._on_vote_request(message)
            case VoteReply():
                taken = self._on_vote_reply(message)
            case TimeoutNow():
                taken = self._on_timeout_now(message)
        if not taken:
            self.dropped += 1

    def persisted(self, term: int, last: EntryId) -> None:
        """The flush of all that was handed out while `term` and `last` were current is done.

        Only now are those entries this replica's copy. Dropped if a term or a truncation overtook the flush: the
        index may name another entry by now. What overtook it was handed out later, and its flush covers the rest.
        """
        if not self._standing.flushed(term):
            return
        self._log.flushed(last)
        if self.role is Role.CANDIDATE:
            self._tally.count(self.id, granted=True)
            self._settle_votes()
        elif self._leading is not None:
            self._advance_commit(self._leading)

    def applied_to(self, index: int) -> None:
        """The state machine holds everything up to `index`, handed out before: memberships take effect (rule 11)."""
        for entry in self._log.applied_to(index):
            self._use(decode_membership(entry.payload))

    def ready(self) -> Ready:
        """What is to be done now, each thing once; its fields say in which order."""
        out, self._out = self._out, Ready()
        if self._leading is not None:
            self._leading.send(out, self._patience.now_ms)
        out.hard_state = self._standing.to_write()
        out.entries = self._log.to_write()
        out.committed = self._log.to_apply()
        return out

    def next_deadline_ms(self) -> int:
        """When `tick` next has something to do, if no message comes first."""
        leading = self._leading
        if leading is not None:
            return FOREVER_MS if leading.rest.asleep else leading.beat.due_ms
        return self._patience.due_asleep_ms if self._asleep else self._patience.due_ms

    def stir(self) -> None:
        """Something is going on: a leader keeps its group awake, or wakes it. A follower waits for its leader again,
        not for long where nobody has been heard for as long as it slept."""
        if self._leading is not None:
            self._leading.stir(self._patience.now_ms)
        elif self._asleep:
            self._asleep = False
            self._patience.retry_soon()

    # Asking it to lead

    def propose(self, kind: EntryKind, payload: bytes) -> Entry | None:
        """Append an entry. None: it does not lead, or is handing the lead over."""
        if self._leading is None or self._leading.handover.target is not None:
            return None
        return self._append(kind, payload)

    def propose_membership(self, change: str, member: Member, expected: int, kept: int = 0) -> str | None:
        """Propose "learn", "promote", "remove" or "renew" if the membership's version is `expected`.

        None: it is proposed, or is so already. Else a sentence that says why not. `kept`: see `quorum_without`.
        """
        leading = self._leading
        if leading is None:
            return "this replica does not lead"
        wanted = changed(self.membership, change, member)
        if isinstance(wanted, str):
            return wanted
        if wanted is self.membership:
            return None
        if self.membership.version != expected:
            return f"the membership is at version {self.membership.version}, not {expected}"
        self.stir()
        objection = leading.objection(change, member.replica, kept, self._patience.now_ms)
        if objection is None:
            self._append(EntryKind.MEMBERSHIP, encode_membership(wanted))
        return objection

    def transfer(self, target: ReplicaId) -> bool:
        """Hand the lead to a voter as soon as its log is level; given up after an election timeout (rule 10).

        False: it does not lead, another handover is under way, or the target is no voter that answers."""
        self.stir()
        return self._leading is not None and self._leading.hand_over(target, self._patience.now_ms)

    # Reads

    def ask_read(self) -> ReadTicket | None:
        """Begin a read-index: the next `ready` sends a round. None: it does not lead."""
        self.stir()
        return None if self._leading is None else self._leading.ask_read()

    # The tail of the log, and snapshots

    def forget(self, index: int) -> None:
        """Drop entries up to `index` from memory, applied ones only. Peers that need them will get a snapshot."""
        self._log.forget(index)

    def restore(self, snapshot: EntryId, membership: Membership) -> None:
        """The state machine holds everything up to `snapshot`, durably, and the disk's log begins after it."""
        assert self._leading is None, "a leader has all that is committed and needs no snapshot"
        if self.role is not Role.FOLLOWER:
            self._follow(self.term)
        self._log.restart(snapshot)
        self.membership = membership
        self._voters = voter_ids(membership)

    def snapshot_sent(self, peer: ReplicaId, index: int) -> None:
        """The peer has installed a snapshot up to `index`: go on from there."""
        self._after_snapshot(peer, index + 1, paused=False)

    def snapshot_failed(self, peer: ReplicaId) -> None:
        """The peer has no snapshot: the next heartbeat asks whether it holds the entry where our log begins, else it
        is named again. (Asked from before that, it would tell only of what it knows to be committed.)"""
        self._after_snapshot(peer, self.first_index, paused=True)

    # Messages

    def _on_append_request(self, request: AppendRequest) -> bool:
        if request.term < self.term:
            # An old leader learns that it is one. Round and match 0: this answers nothing that a leader counts.
            self._answer(request, accepted=False, match=0, hint=BEGINNING, round_=0)
            return False
        if not well_formed(request) or (request.term == self.term and self._leading is not None):
            return False
        if request.term > self.term or self.role is not Role.FOLLOWER:
            self._follow(request.term)
        self.leader = request.sender
        self._patience.hear()
        log = self._log
        match = log.accept(EntryId(request.previous_index, request.previous_term), request.entries)
        if match is None:
            hint = log.hint(request.previous_index, request.previous_term)
            self._answer(request, accepted=False, match=request.previous_index, hint=hint, round_=request.round)
            return True
        log.commit_to(min(request.commit, match))
        self._freshness.echoed(request.commit, request.echo_ms, log.applied)
        if not request.entries:
            match = min(match, log.persisted)  # a heartbeat is answered at once, for what is on disk by now
        match = max(match, min(log.committed, log.persisted))  # what is committed equals every later leader's log
        self._asleep = request.rest and request.previous_index == log.last.index and log.all_done
        self._answer(request, accepted=True, match=match, hint=BEGINNING, round_=request.round)
        return True

    def _answer(self, request: AppendRequest, *, accepted: bool, match: int, hint: EntryId, round_: int) -> None:
        """Reply to a leader: at once, or, where the answer rests on what is not on disk, after the flush (rule 7)."""
        stamp_ms = self._freshness.stamp(self._patience.now_ms)
        shard, own, to, term = self.shard, self.id, request.sender, self.term
        full, asleep = self.full, accepted and self._asleep
        round_ = round_ if self.membership.version else 0  # without state its word counts for nothing, leases least
        reply = AppendReply(
            shard, own, to, term, accepted, match, hint.index, hint.term, round_, stamp_ms, full, asleep
        )
        durable = self._standing.durable and (not accepted or match <= self._log.persisted)
        self._send(reply, to=self._out.messages if durable else self._out.promises)

    def _on_append_reply(self, reply: AppendReply) -> bool:
        if reply.term > self.term and self._knows(reply.sender):
            self._follow(reply.term)
            return True
        leading = self._leading
        if leading is None or reply.term != self.term or not leading.on_reply(reply, self._patience.now_ms):
            return False
        if reply.match > self._log.committed:
            self._advance_commit(leading)
        return True

    def _on_vote_request(self, request: VoteRequest) -> bool:
        last = EntryId(request.last_index, request.last_term)
        if not self._knows(request.sender) and not ahead(last, self._log.last):
            return False  # whoever is ahead may have joined by an entry that is not here yet
        if request.term < self.term:
            self._reply_vote(request, granted=False)
            return True
        if not request.ordered and (self._leading is not None or self._patience.hears_leader):
            return False  # rule 9: a leader may hold a lease on this replica's word, or leads well
        if not request.pre and request.term > self.term:
            self._follow(request.term)
        granted = self._would_vote(request)
        if granted and not request.pre:
            self._standing.give(request.sender)
            self._patience.restart()
        self._reply_vote(request, granted=granted)
        return True

    def _reply_vote(self, request: VoteRequest, *, granted: bool) -> None:
        """A vote leaves after its flush; a refusal, or a pre-vote, promises nothing."""
        term = request.term if granted else self.term
        reply = VoteReply(self.shard, self.id, request.sender, term, granted, request.pre)
        self._send(reply, to=self._out.promises if granted and not request.pre else self._out.messages)

    def _on_vote_reply(self, reply: VoteReply) -> bool:
        if reply.term > self.term and not reply.granted and self._knows(reply.sender):
            self._follow(reply.term)
            return True
        asked = Role.PRE_CANDIDATE if reply.pre else Role.CANDIDATE
        current = reply.term == self.term + reply.pre or (reply.pre and not reply.granted)
        if self.role is not asked or not current:
            return False
        self._tally.count(reply.sender, granted=reply.granted)
        self._settle_votes()
        return True

    def _on_timeout_now(self, order: TimeoutNow) -> bool:
        fits = order.term == self.term and order.sender == self.leader and order.last_index == self._log.last.index
        if not fits or self.role is not Role.FOLLOWER or not self._electable():
            return False
        self._campaign(ordered=True)
        return True

    # Roles

    def _ask_around(self) -> None:
        """Pre-vote: would a majority vote for it in the next term (Raft 9.6)? Changes nothing that others see."""
        self.role = Role.PRE_CANDIDATE
        self._patience.ask_again()
        self._tally = Tally()
        self._tally.count(self.id, granted=True)
        self._request_votes(self.term + 1, pre=True, ordered=False)
        self._settle_votes()

    def _campaign(self, *, ordered: bool) -> None:
        """Stand for election. Its own vote counts, and its requests leave, once its term and log are on disk.

        Requests before the flush would be unsafe: after a crash it may ask again in the same term with a shorter
        log, and a late vote for the first campaign would count in the second.
        """
        self._standing.enter(self.term + 1)
        self._standing.give(self.id)
        self.role = Role.CANDIDATE
        self.leader = NOBODY
        self._tally = Tally()
        self._patience.retry_soon()
        self._request_votes(self.term, pre=False, ordered=ordered)

    def _request_votes(self, term: int, *, pre: bool, ordered: bool) -> None:
        index, last_term = self._log.last
        for voter in self.membership.voters:
            if voter.replica != self.id:
                request = VoteRequest(self.shard, self.id, voter.replica, term, index, last_term, pre, ordered)
                self._send(request, to=self._out.messages if pre else self._out.promises)

    def _settle_votes(self) -> None:
        if self._tally.lost(self._voters):
            self.role = Role.FOLLOWER
        elif self._tally.won(self._voters):
            if self.role is Role.PRE_CANDIDATE:
                self._campaign(ordered=False)
            elif self._standing.durable:
                self._lead()

    def _lead(self) -> None:
        name = Name(self.shard, self.id, self.term)
        self.role = Role.LEADER
        self.leader = self.id
        self._leading = Leadership(name, self._log, self.membership, self._timing, self._patience.now_ms)
        self._append(EntryKind.NOOP, b"")

    def _follow(self, term: int) -> None:
        """Become a follower in `term`, whose leader is not known yet."""
        if term > self.term:
            self._standing.enter(term)
        self._asleep = False
        if self._leading is not None:
            self._leading = None
            self._patience.restart()
        self.role = Role.FOLLOWER
        self.leader = NOBODY

    # Leading

    def _tick_leading(self, leading: Leadership, *, stopped: bool) -> None:
        now_ms = self._patience.now_ms
        if stopped:
            leading.stalled(now_ms + 2 * self._timing.heartbeat_ms)
        if not leading.tick(now_ms):
            self._follow(self.term)

    def _append(self, kind: EntryKind, payload: bytes) -> Entry:
        self.stir()
        entry = Entry(self.term, self._log.last.index + 1, int(kind), payload)
        self._log.append((entry,))
        return entry

    def _advance_commit(self, leading: Leadership) -> None:
        """Commit what a majority holds, if the last of it is of this term.

        An older entry on a majority can still be overwritten by another leader (Raft 5.4.2, figure 8).
        """
        index = leading.majority_holds()
        if index > self._log.committed and self._log.term_at(index) == self.term:
            self._log.commit_to(index)
            leading.beat.commit_moved(self._patience.now_ms, at_once=bool(self._log.splits))

    def _use(self, membership: Membership) -> None:
        """A membership takes effect. Who is removed answers on: who has not applied that may need its word."""
        assert membership.version > self.membership.version, f"{membership} follows {self.membership}"
        self.membership = membership
        self._voters = voter_ids(membership)
        self.removed = find(membership, self.id) is None
        leading = self._leading
        if leading is not None and self.id in self._voters:
            gone = leading.use(membership, self._patience.now_ms)
            leading.farewell(gone, self._out, self._patience.now_ms)
            self._advance_commit(leading)
        elif leading is not None:
            leading.farewell(list(leading.peers.values()), self._out, self._patience.now_ms)
            self._follow(self.term)

    def _after_snapshot(self, peer: ReplicaId, next_index: int, *, paused: bool) -> None:
        progress = self._leading.peers.get(peer) if self._leading is not None else None
        if progress is not None and progress.phase is Phase.SNAPSHOT:
            progress.probe_from(next_index, paused=paused)

    def _send(self, message: RaftMessage, *, to: list[tuple[Member, RaftMessage]]) -> None:
        """Address a message. Of a leader that is not known here as a member only the id is known: node ""."""
        target = message.target
        member = find(self.membership, target) or self._in_changes(target)
        to.append((member or Member(replica=target, node=NodeId(""), incarnation=0), message))
