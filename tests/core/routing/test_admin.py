"""Tables, status and the map: done once, answered when this client's own map shows it."""

import pytest

from tests.core.routing.fake_cluster import FakeCluster
from tests.core.routing.fake_shards import COORDINATOR
from zkv import errors
from zkv.core.cluster import messages as m
from zkv.core.cluster.shardmap import MapSnapshot
from zkv.core.message import Message
from zkv.core.routing import admin
from zkv.core.routing import operations as ops


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def lose_answers(cluster: FakeCluster, kind: type[Message], *, times: int) -> None:
    """The coordinator does the first `times` orders of this kind, and their answers are lost."""
    usual, left = cluster.answer_to, [times]

    def lossy(address: str, frame: Message) -> Message | None:
        answer = usual(address, frame)
        if isinstance(frame, kind) and left[0]:
            left[0] -= 1
            return None
        return answer

    cluster.answer_to = lossy  # type: ignore[method-assign]


def test_a_table_is_usable_by_who_made_it_as_soon_as_the_call_returns(cluster: FakeCluster) -> None:
    assert cluster.result(admin.create_table("new", 5, partitioner="range", splits=("m",))) is None
    held = cluster.router.atlas.map
    assert held is not None
    assert len(held.shards_of(held.named["new"].table)) == 2
    assert cluster.result(ops.put("k", "v", table="new")) == 1


def test_the_call_returns_although_the_broadcast_is_cut(cluster: FakeCluster) -> None:
    cluster.broadcasting = False
    assert cluster.result(admin.create_table("new", 5)) is None
    assert cluster.result(ops.put("k", "v", table="new")) == 1


def test_a_creation_whose_answer_is_lost_is_repeated_and_recognised(cluster: FakeCluster) -> None:
    lose_answers(cluster, m.CreateTable, times=2)
    assert cluster.result(admin.create_table("new", 5)) is None
    assert cluster.count(m.CreateTable) == 3
    assert list(cluster.tables) == ["default", "new"]


def test_who_knows_only_a_coordinator_that_does_not_lead_is_sent_on_to_the_one_that_does() -> None:
    cluster = FakeCluster(given=("f:1",))
    cluster.followers["f:1"] = COORDINATOR
    assert cluster.result(admin.create_table("new", 5)) is None
    assert [address for address, frame in cluster.sent if isinstance(frame, m.CreateTable)][-1] == COORDINATOR
    assert cluster.now_ms < 1_000_500, "nobody waits for a word that was refused at once"


def test_what_a_coordinator_had_begun_when_it_was_deposed_is_asked_of_the_next(cluster: FakeCluster) -> None:
    usual, left = cluster.answer_to, [1]

    def deposed(address: str, frame: Message) -> Message | None:
        answer = usual(address, frame)
        if isinstance(frame, m.CreateTable) and left[0]:
            left[0] -= 1
            return m.AdminRefused(frame.id, "Unavailable", "coordinator c no longer leads", 2)
        return answer

    cluster.answer_to = deposed  # type: ignore[method-assign]
    assert cluster.result(admin.create_table("new", 5)) is None
    assert cluster.count(m.CreateTable) == 2


def test_while_nobody_leads_the_coordinators_are_asked_in_turn_and_not_in_a_hurry() -> None:
    cluster = FakeCluster(given=("f:1", "g:1", "n1:1"))
    cluster.kill(COORDINATOR)
    cluster.followers.update({"f:1": "", "g:1": ""})
    ended = cluster.result(admin.create_table("new", 5), timeout_ms=3_000)
    assert isinstance(ended, errors.Unavailable)
    assert ended.effect == "none"
    asked = [address for address, frame in cluster.sent if isinstance(frame, m.CreateTable)]
    assert set(asked) == {"f:1", "g:1"}
    assert len(asked) < 40


def test_a_drop_whose_answer_is_lost_is_done_although_the_table_is_gone(cluster: FakeCluster) -> None:
    cluster.result(admin.create_table("new", 5))
    lose_answers(cluster, m.DropTable, times=1)
    assert cluster.result(admin.drop_table("new")) is None
    assert list(cluster.tables) == ["default"]


def test_a_refusal_arrives_as_its_own_error(cluster: FakeCluster) -> None:
    cluster.result(admin.create_table("new", 5))
    twice = cluster.result(admin.create_table("new", 6))
    absent = cluster.result(admin.drop_table("absent"))
    assert isinstance(twice, errors.TableExists)
    assert isinstance(absent, errors.NoSuchTable)
    assert twice.effect == absent.effect == "none"


def test_what_the_coordinator_cannot_do_yet_is_tried_until_the_deadline_and_told_in_its_words(
    cluster: FakeCluster,
) -> None:
    usual = cluster.answer_to

    def unable(address: str, frame: Message) -> Message | None:
        if isinstance(frame, m.CreateTable):
            return m.AdminRefused(frame.id, "Unavailable", "5 replicas need as many nodes, and 3 are up", 0)
        return usual(address, frame)

    cluster.answer_to = unable  # type: ignore[method-assign]
    error = cluster.result(admin.create_table("new", 5))
    assert isinstance(error, errors.Unavailable)
    assert "5 replicas need as many nodes, and 3 are up" in error.what
    assert error.effect == "none"
    assert cluster.count(m.CreateTable) > 3


def test_without_a_coordinator_nothing_is_done_and_with_a_silent_one_nobody_knows(cluster: FakeCluster) -> None:
    cluster.result(ops.get("warm"))
    cluster.run(for_ms=10)
    cluster.deaf.add("c:1")
    silent = cluster.result(admin.create_table("new", 5), timeout_ms=2_500)
    cluster.kill("c:1")
    dead = cluster.result(admin.create_table("newer", 6), timeout_ms=500)
    assert isinstance(silent, errors.Timeout)
    assert isinstance(dead, errors.Unavailable)
    assert (silent.effect, dead.effect) == ("unknown", "none")


def test_a_change_that_the_map_never_shows_is_done_all_the_same(cluster: FakeCluster) -> None:
    cluster.result(ops.get("warm"))
    cluster.run(for_ms=10)
    cluster.broadcasting = False
    usual = cluster.answer_to
    cluster.answer_to = lambda to, frame: None if isinstance(frame, m.MapRequest) else usual(to, frame)  # type: ignore[method-assign]
    late = cluster.result(admin.create_table("new", 5), timeout_ms=1_000)
    assert isinstance(late, errors.Timeout)
    assert late.effect == "done"


def test_status_has_everybodys_figures_and_none_for_the_silent(cluster: FakeCluster) -> None:
    assert cluster.result(admin.status()) == {name: {"name": name} for name in ("n1", "n2", "n3", "coordinator")}
    cluster.kill("n2:1")
    cluster.deaf.add("n3:1")
    assert cluster.result(admin.status()) == {
        "n1": {"name": "n1"},
        "n2": None,
        "n3": None,
        "coordinator": {"name": "coordinator"},
    }


def test_the_map_is_the_map(cluster: FakeCluster) -> None:
    held = cluster.result(admin.shard_map())
    assert isinstance(held, MapSnapshot)
    assert held == cluster.snapshot()


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "x" * 65},
        {"name": "t", "partitioner": "list"},
        {"name": "t", "replicas": 0},
        {"name": "t", "replicas": 8},
        {"name": "t", "shards": 0},
        {"name": "t", "splits": ("",)},
    ],
    ids=str,
)
def test_a_table_that_cannot_be_is_refused_before_it_is_sent(options: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidRequest):
        admin.create_table(nonce=1, **options)  # type: ignore[arg-type]
