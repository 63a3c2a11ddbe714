"""How a leader feeds one peer: probing, the window, and answers that come late."""

from zkv import limits
from zkv.core.raft.log import Log
from zkv.core.raft.messages import Entry, EntryKind, Member
from zkv.core.raft.progress import Phase, Progress
from zkv.core.raft.ready import EntryId
from zkv.ids import NodeId, ReplicaId

PEER = Member(ReplicaId(2), NodeId("node2"), 2)


def log_of(count: int, size: int = 0) -> Log:
    entries = [Entry(1, index, EntryKind.BATCH, b"x" * size) for index in range(1, count + 1)]
    return Log(EntryId(0, 0), entries, committed=0, applied=0)


def peer(next_index: int, *, flows: bool = False) -> Progress:
    progress = Progress(PEER, next_index=next_index, now_ms=0)
    if flows:
        progress.flows()
    return progress


def test_a_new_peer_is_probed_with_one_append_at_a_time() -> None:
    log, progress = log_of(5), peer(4)
    assert progress.may_send(log)
    progress.sent(5)
    assert progress.next == 4
    assert not progress.may_send(log)
    assert progress.refused(3, 2)
    assert (progress.next, progress.may_send(log)) == (2, True)


def test_a_peer_that_flows_is_sent_each_entry_once() -> None:
    log, progress = log_of(5), peer(1, flows=True)
    progress.sent(5)
    assert progress.next == 6
    assert not progress.may_send(log)


def test_nothing_more_is_sent_while_the_window_is_full() -> None:
    log, progress = log_of(9, limits.APPEND_BYTES_MAX), peer(1, flows=True)
    progress.sent(3)
    assert progress.may_send(log)
    progress.sent(5)
    assert not progress.may_send(log)
    progress.accepted(2)
    assert progress.may_send(log)


def test_late_and_repeated_answers_take_nothing_back() -> None:
    progress = peer(1, flows=True)
    progress.sent(8)
    progress.accepted(6)
    progress.accepted(3)
    assert (progress.match, progress.next) == (6, 9)
    assert not progress.refused(6, 2), "what it once held, it still holds"
    assert (progress.match, progress.next, progress.phase) == (6, 9, Phase.REPLICATE)


def test_a_refusal_while_flowing_goes_back_to_probing_but_not_behind_what_it_holds() -> None:
    progress = peer(1, flows=True)
    progress.sent(8)
    progress.accepted(4)
    assert progress.refused(7, 3)
    assert (progress.next, progress.phase) == (5, Phase.PROBE)


def test_only_the_first_of_many_refusals_moves_the_probe() -> None:
    progress = peer(1, flows=True)
    progress.sent(8)
    assert progress.refused(5, 3)
    progress.sent(8)
    assert not progress.refused(6, 4)
    assert (progress.next, progress.paused) == (3, True)


def test_a_peer_that_gets_a_snapshot_is_sent_no_entries() -> None:
    log, progress = log_of(5), peer(2)
    progress.phase = Phase.SNAPSHOT
    assert not progress.may_send(log)
    assert not progress.refused(1, 1)
    progress.probe_from(1, paused=True)
    assert not progress.may_send(log)
    progress.probe_from(4, paused=False)
    assert progress.may_send(log)


def test_level_means_at_most_one_append_behind() -> None:
    log, progress = log_of(4, limits.APPEND_BYTES_MAX // 2), peer(1, flows=True)
    assert not progress.level(log)
    progress.accepted(3)
    assert progress.level(log)
    progress.phase = Phase.PROBE
    assert not progress.level(log)
