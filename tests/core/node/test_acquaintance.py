"""What one coordinator knows of the others: by which folder each speaks, and who is ignored."""

from msgspec.structs import replace

from zkv import limits
from zkv.core.cluster.group import CoordinatorInfo, Meet
from zkv.core.node.acquaintance import MEET_MS, Acquaintance
from zkv.core.raft.messages import Member, Membership
from zkv.ids import NodeId, ReplicaId

A, B = NodeId("a"), NodeId("b")
INFO = {name: CoordinatorInfo(name, f"{name}:1", f"{name}:2") for name in (A, B)}
GIVEN = tuple(INFO.values())
MEMBERS = Membership(1, (Member(ReplicaId(1), A, 11), Member(ReplicaId(2), B, 22)))
MEET = Meet(B, 22, 1, INFO[B], ReplicaId(2), GIVEN)
NOBODY = Membership(0, ())


def known() -> Acquaintance:
    return Acquaintance(A, 11, GIVEN)


def test_who_speaks_is_known_by_its_folder_for_a_while() -> None:
    mine = known()
    assert mine.addresses({}) == {B: ("b:1", 0)}, "it was given, and its folder is not known yet"
    assert mine.hear(MEET, MEMBERS, 1_000)
    assert mine.addresses({}) == {B: ("b:1", 22)}
    assert mine.folders(1_000 + limits.NODE_DOWN_MS) == {A: 11, B: 22}
    assert mine.folders(1_001 + limits.NODE_DOWN_MS) == {A: 11}


def test_another_folder_under_a_name_counts_once_the_old_one_is_silent() -> None:
    mine = known()
    mine.hear(MEET, MEMBERS, 1_000)
    other = replace(MEET, incarnation=23)
    assert not mine.hear(other, MEMBERS, 2_000)
    assert mine.folders(2_000) == {A: 11, B: 22}
    assert mine.hear(other, MEMBERS, 1_001 + limits.NODE_DOWN_MS)
    assert mine.folders(3_000) == {A: 11, B: 23}
    assert [line for line in mine.told() if "another folder" in line]


def test_the_folder_of_a_member_wins_over_any_other() -> None:
    mine = known()
    mine.hear(replace(MEET, incarnation=23), NOBODY, 1_000)
    assert mine.hear(MEET, MEMBERS, 1_001), "a living member is not given up for a namesake that was heard first"
    assert mine.folders(1_001)[B] == 22


def test_nobody_is_its_own_acquaintance() -> None:
    assert not known().hear(replace(MEET, name=A), MEMBERS, 1_000)


def test_it_introduces_itself_now_and_then_and_at_once_when_there_is_news() -> None:
    mine = known()
    assert [to for to, _ in mine.introductions(1_000, ReplicaId(0), {})] == [B]
    assert mine.introductions(1_001, ReplicaId(0), {}) == []
    mine.hear(MEET, NOBODY, 1_002)
    ((_, word),) = mine.introductions(1_003, ReplicaId(0), {})
    assert isinstance(word, Meet)
    assert word.heard == ((B, 22),)
    assert mine.introductions(1_004, ReplicaId(1), {}), "it has a replica now"
    assert mine.introductions(1_005, ReplicaId(1), {}) == []
    assert mine.introductions(1_005 + MEET_MS, ReplicaId(1), {})
    assert mine.next_ms() <= 1_005 + 2 * MEET_MS


def test_the_group_is_shown_with_what_is_amiss() -> None:
    mine = known()
    mine.hear(replace(MEET, incarnation=23), NOBODY, 1_000)
    wanted = INFO | {NodeId("c"): CoordinatorInfo(NodeId("c"), "c:1", "c:2")}
    progress = {ReplicaId(1): 9, ReplicaId(2): 4}
    rows = mine.rows(MEMBERS, wanted, progress, leading=True, now_ms=1_000)
    assert [(row["name"], row["role"], row["match"], row["state"]) for row in rows] == [
        ("a", "leader", 9, "up"),
        ("b", "voter", 4, "lost"),
        ("c", "awaited", None, "silent"),
    ]
    assert [row["state"] for row in mine.rows(MEMBERS, {A: INFO[A]}, {}, leading=True, now_ms=1_000)] == [
        "up",
        "leaving",
    ]
