"""How a group of coordinators changes: one step at a time, and never through fewer voters than it had."""

from zkv.core.cluster import messages as m
from zkv.core.cluster.commands import CoordinatorState
from zkv.core.cluster.draft import Draft
from zkv.core.cluster.group import ChangeCoordinators, CoordinatorInfo
from zkv.core.cluster.regroup import CoordinatorRequests, Step, is_whole, next_step
from zkv.core.raft.membership import changed
from zkv.core.raft.messages import Member, Membership
from zkv.ids import NodeId, ReplicaId


def info(name: str) -> CoordinatorInfo:
    return CoordinatorInfo(NodeId(name), f"{name}:1", f"{name}:2")


def wanted(*names: str) -> dict[NodeId, CoordinatorInfo]:
    return {NodeId(name): info(name) for name in names}


def member(replica: int, name: str, folder: int) -> Member:
    return Member(ReplicaId(replica), NodeId(name), folder)


def folders(**folders: int) -> dict[NodeId, int]:
    return {NodeId(name): folder for name, folder in folders.items()}


THREE = Membership(1, (member(1, "a", 11), member(2, "b", 22), member(3, "c", 33)))


def steps(membership: Membership, names: str, there: dict[NodeId, int]) -> list[str]:
    """All steps, each done at once."""
    done = []
    while (step := next_step(membership, wanted(*names), there)) is not None:
        after = changed(membership, step.action, step.member)
        assert isinstance(after, Membership)
        membership = after
        done.append(f"{step.action} {step.member.node} {step.member.replica}")
        assert len(done) < 10
    assert is_whole(membership, wanted(*names))
    return done


def test_members_as_they_should_be_call_for_nothing() -> None:
    assert next_step(THREE, wanted("a", "b", "c"), folders(a=11, b=22, c=33)) is None
    assert next_step(THREE, wanted("a", "b", "c"), folders(a=11)) is None, "who is silent keeps its place"


def test_a_lost_folder_is_replaced_before_it_goes() -> None:
    assert steps(THREE, "abc", folders(a=11, b=22, c=34)) == ["learn c 101", "promote c 101", "remove c 3"]


def test_one_more_and_one_less() -> None:
    assert steps(THREE, "abcd", folders(a=11, b=22, c=33, d=44)) == ["learn d 101", "promote d 101"]
    assert steps(THREE, "ab", folders(a=11, b=22, c=33)) == ["remove c 3"]


def test_who_is_not_there_yet_is_waited_for() -> None:
    assert next_step(THREE, wanted("a", "b", "c", "d"), folders(a=11, b=22, c=33)) is None


def test_a_learner_whose_folder_is_lost_goes_and_comes_anew() -> None:
    learning = Membership(2, THREE.voters, (member(101, "d", 44),))
    step = next_step(learning, wanted("a", "b", "c", "d"), folders(a=11, b=22, c=33, d=45))
    assert step == Step("remove", member(101, "d", 44))
    after = Membership(3, THREE.voters)
    step = next_step(after, wanted("a", "b", "c", "d"), folders(a=11, b=22, c=33, d=45))
    assert step == Step("learn", member(103, "d", 45)), "under an id that was never used"


def test_a_learner_that_is_wanted_no_more_goes() -> None:
    learning = Membership(2, THREE.voters, (member(101, "d", 44),))
    assert next_step(learning, wanted("a", "b", "c"), folders(d=44)) == Step("remove", member(101, "d", 44))


def asked(state: CoordinatorState, action: str, name: str, members: Membership = THREE) -> object:
    """What one request comes to, its command applied."""
    requests = CoordinatorRequests(state)
    requests.members = members
    assert requests.take(b"x", ChangeCoordinators(7, action, info(name)), 0) is None
    draft = Draft(state)
    requests.draft(draft)
    command = draft.command()
    if command is not None:
        assert state.apply(command)
    ((_, answer),) = requests.answers(0)
    return answer


def state_of(*names: str) -> CoordinatorState:
    state = CoordinatorState()
    state.map.incarnation, state.map.version = 5, 1
    state.coordinators = wanted(*names)
    return state


def test_requests_are_done_once_the_state_says_so() -> None:
    state = state_of("a", "b", "c")
    assert asked(state, "add", "d") == m.AdminDone(7, 2)
    assert list(state.coordinators) == ["a", "b", "c", "d"]
    assert state.map.coordinators == ("a:1", "b:1", "c:1", "d:1")
    assert asked(state, "add", "d") == m.AdminDone(7, 2), "a repeated one changes nothing"
    four = Membership(3, (*THREE.voters, member(101, "d", 44)))
    assert asked(state, "remove", "a", four) == m.AdminDone(7, 3)
    assert asked(state, "remove", "a", four) == m.AdminDone(7, 3)


def test_what_cannot_be_is_refused_with_the_reason() -> None:
    def refusal(state: CoordinatorState, action: str, name: str, members: Membership = THREE) -> str:
        answer = asked(state, action, name, members)
        assert isinstance(answer, m.AdminRefused)
        assert answer.error == "NotPossible"
        return answer.what

    three = state_of("a", "b", "c")
    assert "one at a time" in refusal(state_of("a", "b", "c", "d"), "add", "e")
    assert "only coordinator" in refusal(state_of("a"), "remove", "a", Membership(1, THREE.voters[:1]))
    three.coordinators[NodeId("a")] = CoordinatorInfo(NodeId("a"), "elsewhere:1", "elsewhere:2")
    assert "already" in refusal(three, "add", "a")
