"""What a broken snapshot stream has left at a node: when it is kept, gone on with, deleted."""

import msgspec
import pytest

from tests.core.node import trio as trio_module
from tests.core.node.trio import CLUSTER, SHARD, Machine, Trio
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Dismissed, Peers
from zkv.core.cluster.versions import PROTOCOL_VERSION
from zkv.core.node.node import Turn
from zkv.core.shard.commands import Delete, Put, WriteGroup
from zkv.core.shard.rows import numbered_key, numbered_range
from zkv.core.shard.snapshot_messages import DraftCredit, SnapshotChunk, SnapshotDigest, SnapshotOffer
from zkv.ids import NodeId, ReplicaId
from zkv.wire import codec

ROWS = 400


class Broken(Trio):
    """A trio of which one lags so far behind that it needs a snapshot; some of it has come, and is on its disk."""

    def __init__(self, *, enough: int = ROWS // 2) -> None:
        super().__init__()
        self.said: list[tuple[str, object]] = []  # of snapshots, by the node that says it
        self.watch = self._note
        self.sender = self.leader()
        self.receiver, self.third = self.others(self.sender)
        self._first = 1
        for other in self.others(self.receiver):
            self.cut(self.receiver, other)
        self.write({b"key%05d" % number: b"value" * 5 for number in range(ROWS)})
        self.heal()
        self.run(lambda: self.rows_here() >= enough, step_ms=1)
        self.member.rows.flush()

    @property
    def member(self) -> Machine:
        return self.machines[self.receiver]

    @property
    def replica(self) -> ReplicaId:
        return next(one.replica for one in self.info.membership.voters if one.node == self.receiver)

    def write(self, values: dict[bytes, bytes], *gone: bytes) -> None:
        """Through the node that leads, which keeps none of it in its log."""
        operations = (*(Put(key, value) for key, value in values.items()), *map(Delete, gone))
        name = self.leader()
        self.answer(name, WriteGroup(self._first, SHARD, 1, 5_000, b"c" * 16, self._first, 1, -1, False, operations))
        self._first += len(operations)
        self.pass_ms(100)
        for other in self.others(self.receiver):
            hosted = self.machines[other].node.host.hosted[SHARD]
            hosted.replica.forget(hosted.replica.applied)

    def rows_here(self) -> int:
        """That a snapshot has brought to the member so far."""
        space = self.member.node.host.drafts.space_of(self.replica)
        return 0 if space is None else len(list(self.member.rows.scan(*numbered_range(b"r", space))))

    def record(self) -> bytes | None:
        return self.member.rows.get(numbered_key(b"i", self.replica))

    def install(self) -> None:
        """The stream, or another, comes to its end; the member then has the leader's rows."""
        leading = self.machines[self.leader()].node.host.hosted[SHARD].machine
        assert leading is not None
        self.run(lambda: self._applied() == leading.applied.index)
        assert self.rows_of(self.receiver) == self.rows_of(self.leader())
        assert self.record() is None
        assert self.spaces() == {self._space()}, "nothing is left over"

    def rows_of(self, name: str) -> list[tuple[bytes, bytes]]:
        machine = self.machines[name].node.host.hosted[SHARD].machine
        assert machine is not None
        [(start, end)] = machine.row_ranges()
        return [(key[9:], value) for key, value in self.machines[name].rows.scan(start, end)]

    def spaces(self) -> set[int]:
        """Those that the member has any row of."""
        return {int.from_bytes(key[1:9], "big") for key, _ in self.member.rows.scan(b"r", b"t")}

    def _space(self) -> int:
        machine = self.member.node.host.hosted[SHARD].machine
        assert machine is not None
        return machine.pieces.space

    def _applied(self) -> int:
        machine = self.member.node.host.hosted[SHARD].machine
        return machine.applied.index if machine is not None and not self.member.node.transfers.busy else 0

    def sent(self, kind: type) -> list:
        return [message for _, message in self.said if isinstance(message, kind)]

    def brought(self) -> int:
        """Rows that came in streams that have begun since `said` was cleared."""
        streams = {offer.stream for offer in self.sent(SnapshotOffer)}
        return sum(len(chunk.rows) for chunk in self.sent(SnapshotChunk) if chunk.stream in streams)

    def _note(self, name: str, turn: Turn) -> None:
        for sends in (turn.effects.messages, turn.effects.bulk):
            self.said += [(name, message) for messages in sends.values() for message in messages]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    monkeypatch.setattr(limits, "SNAPSHOT_CHUNK_BYTES", 800)
    return Broken()


def test_a_receiver_that_restarts_gets_only_what_it_has_not(broken: Broken) -> None:
    had = broken.rows_here()
    broken.crash(broken.receiver)
    assert broken.rows_here() == had
    broken.said.clear()
    broken.install()
    assert broken.sent(DraftCredit)
    assert broken.brought() <= ROWS - had + 10


def test_a_new_leader_goes_on_and_what_has_changed_meanwhile_comes_anew(broken: Broken) -> None:
    had = broken.rows_here()
    for other in broken.others(broken.receiver):
        broken.cut(broken.receiver, other)
    broken.write({b"key00003": b"changed", b"key00007 and": b"added"}, b"key00100", b"key00101")
    heir = next(one.replica for one in broken.info.membership.voters if one.node == broken.third)
    broken.machines[broken.sender].node.from_coordinator(m.TransferLeader(SHARD, heir))
    broken.run(lambda: broken.leads(broken.third))
    broken.said.clear()
    broken.heal()
    broken.install()
    assert {name for name, message in broken.said if isinstance(message, SnapshotDigest)} == {broken.third}
    assert broken.brought() <= ROWS - had + 40
    assert b"key00100" not in dict(broken.rows_of(broken.receiver))


def test_a_sender_that_restarts_goes_on(broken: Broken) -> None:
    had = broken.rows_here()
    broken.crash(broken.sender)
    broken.said.clear()
    broken.install()
    assert broken.sent(SnapshotDigest)
    assert broken.brought() <= ROWS - had + 40


def test_an_offer_right_behind_a_chunk_counts_that_chunk_s_rows_as_there(broken: Broken) -> None:
    """The engine shows them only after the turn: passed over, those that were deleted since would stay."""
    member, [*_, last] = broken.member, broken.sent(SnapshotOffer)
    [incoming] = member.node.transfers._incoming.values()
    broken.run(lambda: bool(chunks_in(member)), step_ms=1)
    before = incoming.reached
    offer = msgspec.structs.replace(last, stream=last.stream + 1)
    frame = Peers(CLUSTER, NodeId(broken.sender), member.incarnation, (offer,), protocol=PROTOCOL_VERSION)
    member.inbox.append(codec.encode(frame))
    broken.said.clear()
    broken.turn()
    credit = broken.sent(DraftCredit)[-1]
    assert before is not None
    assert credit.reached > before
    space = member.node.host.drafts.space_of(broken.replica)
    assert space is not None
    rows = list(member.rows.scan(*numbered_range(b"r", space)))
    assert credit.reached == rows[-1][0][9:]


def chunks_in(machine: Machine) -> list[SnapshotChunk]:
    """That wait to be taken."""
    frames = [codec.decode_to_node(body) for body in machine.inbox]
    messages = [one for frame in frames if isinstance(frame, Peers) for one in frame.messages]
    return [one for one in messages if isinstance(one, SnapshotChunk)]


def test_a_sender_that_knows_nothing_of_drafts_is_told_of_none(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    old = broken.rows_here()
    monkeypatch.setattr(trio_module, "PROTOCOL_VERSION", 1)
    broken.crash(broken.receiver)
    broken.said.clear()
    broken.install()
    assert broken.sent(DraftCredit) == broken.sent(SnapshotDigest) == []
    assert broken.brought() >= ROWS > old


def test_a_draft_goes_with_its_replica(broken: Broken) -> None:
    draft = broken.member.node.host.drafts.space_of(broken.replica)
    for other in broken.others(broken.receiver):
        broken.cut(broken.receiver, other)
    broken.member.node.from_coordinator(m.DropShard(1, SHARD, broken.replica))
    broken.pass_ms(200)
    assert broken.record() is None
    assert draft not in broken.spaces()
    assert broken.spaces() == set()


def test_a_draft_whose_replica_was_buried_before_a_restart_is_deleted(broken: Broken) -> None:
    """The crash came between the tombstone and what follows it, as an older version may have left it."""
    broken.member.rows.apply({numbered_key(b"t", SHARD) + broken.replica.to_bytes(8, "big"): b""})
    broken.member.rows.flush()
    broken.crash(broken.receiver)
    broken.turn()
    assert broken.record() is None
    assert broken.member.node.host.drafts.space_of(broken.replica) is None
    assert len(broken.spaces()) <= 1, "the replica's own"


@pytest.mark.parametrize("by", ["its group", "the coordinator"])
def test_a_draft_is_deleted_on_word_that_its_replica_which_is_not_here_is_no_member(broken: Broken, by: str) -> None:
    """A learner without state is not taken up at a restart; its draft is."""
    strange = ReplicaId(99)
    host = broken.member.node.host
    host.drafts.begin(strange, SHARD, host.new_space(), host.now_ms, host.effects.changes)
    if by == "its group":
        word = Dismissed(SHARD, ReplicaId(11), strange, 9)
        frame = Peers(CLUSTER, NodeId(broken.sender), broken.member.incarnation, (word,), protocol=PROTOCOL_VERSION)
        broken.member.node.from_peer(frame)
    else:
        broken.member.node.from_coordinator(m.DropShard(broken.member.incarnation, SHARD, strange))
    assert host.drafts.space_of(strange) is None


def test_a_draft_that_nobody_goes_on_with_is_deleted_after_ten_minutes(broken: Broken) -> None:
    for other in broken.others(broken.receiver):
        broken.cut(broken.receiver, other)
    broken.crash(broken.receiver)
    draft = broken.member.node.host.drafts.space_of(broken.replica)
    broken.pass_ms(limits.DRAFT_KEPT_MS - 2_000, step_ms=500)
    assert draft in broken.spaces()
    broken.pass_ms(4_000, step_ms=500)
    assert broken.record() is None
    assert draft not in broken.spaces()


def test_a_stream_that_falls_silent_leaves_its_draft_to_the_next(broken: Broken) -> None:
    had = broken.rows_here()
    for other in broken.others(broken.receiver):
        broken.cut(broken.receiver, other)
    broken.run(lambda: not broken.member.node.transfers.busy, ms_max=60_000, step_ms=100)
    assert broken.rows_here() >= had
    broken.heal()
    broken.said.clear()
    broken.install()
    assert broken.brought() <= ROWS - had + 10


def test_a_receiver_whose_engine_is_behind_credits_nothing_until_it_is_not(broken: Broken) -> None:
    """So what waits there in memory is what has been credited before, however fast the rows come."""
    transfers = broken.member.node.transfers
    transfers.behind = True
    broken.pass_ms(300)
    had = broken.rows_here()
    broken.pass_ms(300)
    assert broken.rows_here() == had < ROWS
    assert transfers.busy
    transfers.behind = False
    broken.install()


@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_while_either_end_rests_little_comes(broken: Broken, end: str) -> None:
    resting = broken.machines[broken.receiver if end == "receiver" else broken.sender].node
    resting.transfers.pace.resting = True
    broken.pass_ms(300)
    had = broken.rows_here()
    broken.pass_ms(300)
    assert broken.rows_here() == had < ROWS
    assert resting.transfers.busy
    resting.transfers.pace.resting = False
    broken.install()


def test_a_credit_that_waits_for_the_engine_is_told_again_before_the_sender_gives_up(broken: Broken) -> None:
    broken.member.node.transfers.behind = True
    broken.run(lambda: broken.rows_here() == ROWS or not broken.member.node.transfers.busy)
    assert not broken.member.node.transfers.receiving()
    broken.member.node.transfers.behind = False
    broken.install()
