"""What an answer means for the parts that asked: results to the ledger, refusals to the move that RULES names."""

from zkv.core.cluster.frames import Answers
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.raft.ready import Rng
from zkv.core.routing.atlas import Atlas
from zkv.core.routing.flights import Flights, Pauses
from zkv.core.routing.ledger import Ledger
from zkv.core.routing.operations import READ, SCAN, WRITE, Proof
from zkv.core.routing.parts import Attempt, Part
from zkv.core.routing.peers import FOREIGN, Peers
from zkv.core.routing.places import Places
from zkv.core.routing.retry import HOPS_MAX, LAST_MS, RULES, Move, Rule, note_refusal, pause_ms, refusal
from zkv.core.routing.scan import Window, page_of
from zkv.core.routing.session import Sessions
from zkv.core.shard.commands import (
    EFFECT_DONE,
    EFFECT_NONE,
    EFFECT_UNKNOWN,
    Answer,
    Page,
    Reason,
    Refused,
    Values,
    Written,
)


class Answering:
    """Reads answers for one router; `strays` counts those that nobody waits for, or that do not fit."""

    def __init__(
        self,
        atlas: Atlas,
        peers: Peers,
        places: Places,
        flights: Flights,
        pauses: Pauses,
        ledger: Ledger,
        sessions: Sessions,
        rng: Rng,
    ) -> None:
        self._atlas, self._peers, self._places, self._flights = atlas, peers, places, flights
        self._pauses, self._ledger, self._sessions, self._rng = pauses, ledger, sessions, rng
        self.strays = 0

    def take(self, address: str, message: Answers, now_ms: int) -> None:
        """All answers of one node in one turn."""
        self._atlas.version_seen(message.map_version, address, now_ms)
        attempts = self._flights.attempts
        sent_ms = now_ms
        for answer in message.answers:
            attempt = attempts.get(answer.id)
            if (
                attempt is None
                or attempt.address != address
                or not self._take_one(attempt, answer, message.node, now_ms)
            ):
                self.strays += 1
                continue
            del attempts[answer.id]
            sent_ms = min(sent_ms, attempt.sent_ms)
        peer = self._peers.known.get(address)
        if peer is not None:
            peer.took(now_ms - sent_ms)

    def pause(self, part: Part, now_ms: int, *, hint_ms: int = 0, wakeable: bool = True) -> None:
        """Let the part wait before its next attempt."""
        part.hops = 0
        until_ms = now_ms + pause_ms(part.tries, hint_ms, self._rng)
        if until_ms + LAST_MS > part.request.deadline_ms and not part.may_have_happened:
            until_ms = part.request.deadline_ms
        self._pauses.add(part, until_ms, wakeable=wakeable)

    def _take_one(self, attempt: Attempt, answer: Answer, node: str, now_ms: int) -> bool:
        """False: the answer does not fit what was asked."""
        if type(answer) is Refused:
            self._refused(attempt, answer, now_ms)
            return True
        shard = attempt.info.shard
        if type(answer) is Written and attempt.kind == WRITE:
            results: tuple[object, ...] = answer.results
            proof = Proof(shard, node, answer.holders, answer.committed, -1)
        elif type(answer) is Values and attempt.kind == READ:
            results = answer.rows
            proof = Proof(shard, node, stale_ms=answer.stale_ms)
        elif type(answer) is Page and attempt.kind == SCAN:
            results = (self._page(attempt, answer),)
            proof = Proof(shard, node, stale_ms=answer.stale_ms)
        else:
            return False
        if attempt.count != len(results):
            return False
        self._ledger.answered(attempt, results, proof)
        return True

    def _page(self, attempt: Attempt, page: Page) -> object:
        info, shard_map = attempt.info, self._atlas.map
        table = shard_map.tables.get(info.table) if shard_map is not None else None
        partitioner = table.partitioner if table is not None else Partitioner(info.partitioner)
        window = attempt.spans[0][0].request.items[0]
        assert isinstance(window, Window)
        return page_of(window, page, info, partitioner)

    def _refused(self, attempt: Attempt, refused: Refused, now_ms: int) -> None:
        rule = RULES[refused.reason]
        if refused.reason is Reason.WRONG_CLUSTER:
            rule = self._foreign(attempt.address, rule)
        learnt = refused.news is not None and self._atlas.learn(refused.news)
        if rule.heal:
            self._atlas.need(now_ms, attempt.address)
        live = attempt.live_parts()
        shared = len(live) > 1
        for part in live:
            if attempt.superseded and refused.effect != EFFECT_DONE:  # sent again since: only what this attempt did
                part.open -= 1
                part.doubt = part.doubt or refused.effect == EFFECT_UNKNOWN
                continue
            note_refusal(part, refused.effect, rule, refused.detail)
            move = rule.move
            if move is Move.REROUTE and not (learnt or rule.heal or self._leads_elsewhere(attempt)):
                move = Move.PAUSE
            self._follow(part, move, rule, refused, now_ms, shared=shared)

    def _foreign(self, address: str, rule: Rule) -> Rule:
        """Another cluster's node has taken the address: ask there no more, and nobody where no address is of ours."""
        peer = self._peers.known.get(address)
        if peer is not None:
            peer.fault = FOREIGN
        return rule._replace(move=Move.FAIL) if self._peers.all_faulty else rule

    def _follow(self, part: Part, move: Move, rule: Rule, refused: Refused, now_ms: int, *, shared: bool) -> None:
        match move:
            case Move.REROUTE:
                part.hops += 1
                if part.hops > HOPS_MAX:
                    self.pause(part, now_ms)
                else:
                    self._places.place(part, now_ms)
            case Move.PAUSE:
                wakeable = refused.reason is not Reason.OVERLOADED
                self.pause(part, now_ms, hint_ms=refused.retry_ms, wakeable=wakeable)
            case Move.RENUMBER:
                self._renumber(part, rule, refused, now_ms)
            case Move.HALVE:
                self._halve(part, rule, refused, now_ms, shared=shared)
            case Move.FAIL:
                self._ledger.ended(part, refusal(part, refused.effect, rule))

    def _renumber(self, part: Part, rule: Rule, refused: Refused, now_ms: int) -> None:
        """Its numbers are not remembered: only a write that cannot have happened may get others (rule 13)."""
        if part.run is None or part.may_have_happened or refused.effect != EFFECT_NONE:
            self._ledger.ended(part, refusal(part, refused.effect, rule))
            return
        self._sessions.renew(part.run.session, refused.floor, now_ms)
        part.run.left -= len(part.items)
        part.run = None
        part.first = 0
        part.hops += 1
        if part.hops > HOPS_MAX:
            self.pause(part, now_ms)
        else:
            self._places.place(part, now_ms)

    def _halve(self, part: Part, rule: Rule, refused: Refused, now_ms: int, *, shared: bool) -> None:
        """The group was too large: its parts go alone, and one that was alone goes in two."""
        if not shared and len(part.items) == 1:
            self._ledger.ended(part, refusal(part, refused.effect, rule))
            return
        part.alone = True
        if not shared:
            rest = part.cut(len(part.items) // 2)
            rest.alone = True
            self._places.place(rest, now_ms)
        self._places.place(part, now_ms)

    def _leads_elsewhere(self, attempt: Attempt) -> bool:
        """Whether the map names a leader that is within reach and was not the one that was asked."""
        shard_map = self._atlas.map
        info = shard_map.shards.get(attempt.info.shard) if shard_map is not None else None
        leader = info.leading() if info is not None else None
        node = shard_map.nodes.get(leader.node) if shard_map is not None and leader is not None else None
        peer = self._peers.known.get(node.address) if node is not None else None
        return peer is not None and peer.usable and peer.address != attempt.address
