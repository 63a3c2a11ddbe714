"""What a node knows of its links: by what its peers give back, and by nothing else."""

from zkv.core.cluster.frames import Peers
from zkv.core.node.links import ECHO_MS, MESSAGES, SILENT_MS, SNAPSHOTS, LinkWatch
from zkv.core.raft.messages import VoteReply
from zkv.ids import NodeId, ReplicaId, ShardId

A, B = NodeId("a"), NodeId("b")
SOMETHING = (VoteReply(ShardId(1), ReplicaId(1), ReplicaId(2), 1, True, False),)


class Pair:
    """Two nodes that look at each other; `cut` holds the (sender, lane) whose frames vanish."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.watches = {A: LinkWatch(), B: LinkWatch()}
        self.cut: set[tuple[NodeId, int]] = set()
        self.empty_frames = 0

    def send(self, sender: NodeId, lane: int = MESSAGES, *, empty: bool = False) -> None:
        receiver = B if sender == A else A
        watch = self.watches[sender]
        frame = Peers(1, sender, 1, () if empty else SOMETHING, lane, self.now_ms, watch.heard_of(receiver))
        watch.sent(receiver, lane, self.now_ms, empty=empty)
        if (sender, lane) not in self.cut:
            self.watches[receiver].heard(frame, self.now_ms)

    def pass_time(self, milliseconds: int) -> dict[NodeId, set[int]]:
        """Signs of life go as they are owed. Returns the lanes that each called silent."""
        silent: dict[NodeId, set[int]] = {A: set(), B: set()}
        for _ in range(milliseconds // 100):
            self.now_ms += 100
            for node, watch in self.watches.items():
                silent[node] |= {lane for _, lane in watch.silent(self.now_ms)}
                for _ in watch.owing(self.now_ms):
                    self.empty_frames += 1
                    self.send(node, empty=True)
        return silent


NOBODY: dict[NodeId, set[int]] = {A: set(), B: set()}


def test_a_link_whose_peer_answers_is_not_silent() -> None:
    pair = Pair()
    for _ in range(100):
        pair.send(A)
        pair.send(B)
        assert pair.pass_time(100) == NOBODY
    assert pair.pass_time(10 * SILENT_MS) == NOBODY


def test_a_peer_with_nothing_to_say_gives_one_sign_and_no_sign_is_given_for_a_sign() -> None:
    pair = Pair()
    pair.send(A)
    assert pair.pass_time(ECHO_MS - 100) == NOBODY
    assert pair.empty_frames == 0
    assert pair.pass_time(10 * SILENT_MS) == NOBODY
    assert pair.empty_frames == 1


def test_a_link_that_delivers_nothing_is_silent_for_its_sender_alone_though_the_peer_goes_on_talking() -> None:
    pair = Pair()
    pair.cut.add((A, MESSAGES))
    silent: dict[NodeId, set[int]] = {A: set(), B: set()}
    for _ in range(2 * SILENT_MS // 100):
        pair.send(A)
        pair.send(B)
        for node, lanes in pair.pass_time(100).items():
            silent[node] |= lanes
    assert silent[A] == {MESSAGES}
    pair.cut.clear()
    pair.send(A)
    pair.send(B)
    assert pair.pass_time(2 * SILENT_MS) == NOBODY, "connected anew, it works for both"


def test_the_link_for_snapshots_is_judged_by_itself() -> None:
    pair = Pair()
    pair.cut.add((A, SNAPSHOTS))
    pair.send(A, SNAPSHOTS)
    silent: dict[NodeId, set[int]] = {A: set(), B: set()}
    for _ in range(2 * SILENT_MS // 100):
        pair.send(A)
        pair.send(B)
        for node, lanes in pair.pass_time(100).items():
            silent[node] |= lanes
    assert silent == {A: {SNAPSHOTS}, B: set()}


def test_a_link_is_called_silent_once_and_then_has_its_time_again() -> None:
    pair = Pair()
    pair.cut.add((A, MESSAGES))
    pair.send(A)
    assert pair.pass_time(SILENT_MS)[A] == {MESSAGES}
    assert pair.pass_time(10 * SILENT_MS) == NOBODY, "nothing was sent since"
    pair.send(A)
    assert pair.pass_time(SILENT_MS - 100) == NOBODY
    assert pair.pass_time(100)[A] == {MESSAGES}


def test_an_echo_of_a_stamp_that_this_process_never_gave_proves_nothing() -> None:
    pair = Pair()
    pair.cut.add((A, MESSAGES))
    pair.send(A)
    pair.watches[A].heard(Peers(1, B, 1, (), MESSAGES, 5, (pair.now_ms + 50_000, 0)), pair.now_ms)
    assert pair.pass_time(SILENT_MS)[A] == {MESSAGES}


def test_a_peer_too_far_ahead_is_not_listened_to_and_one_that_is_one_ahead_is() -> None:
    watch = LinkWatch()
    assert watch.heard(Peers(1, B, 1, SOMETHING, protocol=3), 1_000)
    assert watch.told() == []
    for _ in range(2):
        assert not watch.heard(Peers(1, B, 1, SOMETHING, protocol=4), 2_000)
    assert watch.heard_since(1_500) == [], "nothing that it does is understood"
    assert watch.told() == [
        "refused node b: it speaks protocol 4, this node 2: more than one version apart they do not work together, "
        "so upgrade one version at a time"
    ]
    assert watch.told() == []
    assert watch.heard(Peers(1, B, 1, SOMETHING, protocol=1), 3_000)
    assert watch.told() == ["node b now speaks protocol 1, and is listened to"]
    assert watch.heard_since(1_500) == [B]
