"""What a process is told at its start, and what it cannot be told."""

import dataclasses
from pathlib import Path

import pytest

from zkv.errors import StartError
from zkv.server.settings import CoordinatorSettings, NodeSettings, group_of

NODE = NodeSettings(id="node1", data=Path("/nowhere/node1"), listen="127.0.0.1:7410", join=("127.0.0.1:7400",))
COORDINATOR = CoordinatorSettings("c1", Path("/nowhere/c1"), "127.0.0.1:7400", "127.0.0.1:7401")


def faults(settings: NodeSettings | CoordinatorSettings, **changed: object) -> list[str]:
    with pytest.raises(StartError) as caught:
        dataclasses.replace(settings, **changed).validate()  # type: ignore[arg-type]  # wrong values are the point
    return caught.value.what.split("; ")


def test_settings_that_can_be_are_taken() -> None:
    NODE.validate()
    COORDINATOR.validate()
    dataclasses.replace(NODE, listen="0.0.0.0:7410", advertise="db1.example:7410", zone="rack 1", weight=2.5).validate()
    dataclasses.replace(NODE, listen="[::1]:7410").validate()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"id": ""}, "--id '' is not 1 to 64 letters, digits, `_`, `.` or `-`"),
        ({"id": "a" * 65}, f"--id {'a' * 65!r} is not 1 to 64 letters, digits, `_`, `.` or `-`"),
        ({"id": "a/b"}, "--id 'a/b' is not 1 to 64 letters, digits, `_`, `.` or `-`"),
        ({"data": Path(__file__)}, f"--data {__file__} is not a folder"),
        ({"listen": "localhost"}, "--listen 'localhost' is not HOST:PORT"),
        ({"listen": ":7410"}, "--listen ':7410' is not HOST:PORT"),
        ({"listen": "localhost:0"}, "--listen 'localhost:0' has no port from 1 to 65535"),
        ({"listen": "localhost:65536"}, "--listen 'localhost:65536' has no port from 1 to 65535"),
        ({"listen": "localhost:٣"}, "--listen 'localhost:٣' has no port from 1 to 65535"),
        (
            {"listen": "0.0.0.0:7410"},
            "--listen 0.0.0.0:7410 is every address: --advertise must say by which one others come",
        ),
        ({"advertise": "*:7410"}, "--advertise *:7410 is every address: say the one by which others come"),
        ({"join": ()}, "--join names no coordinator"),
        ({"join": ("a:1", "b")}, "--join 'b' is not HOST:PORT"),
        ({"zone": "z" * 65}, "--zone has 65 characters, and 64 is the most"),
        ({"weight": 0.0}, "--weight 0.0 is not above 0 and at most 1000"),
        ({"weight": float("nan")}, "--weight nan is not above 0 and at most 1000"),
        ({"engine": "lmdb"}, "the engine 'lmdb' is none of rocksdb, sqlite"),
        ({"flush": "never"}, "the flush 'never' is none of thread, inline"),
    ],
)
def test_each_fault_of_a_node_is_a_sentence(changed: dict[str, object], fault: str) -> None:
    assert faults(NODE, **changed) == [fault]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"listen": "0.0.0.0:7400"}, "--listen 0.0.0.0:7400 is every address: say the one by which others come"),
        ({"publish": "7401"}, "--publish '7401' is not HOST:PORT"),
        ({"publish": "127.0.0.1:7400"}, "--listen and --publish are both 127.0.0.1:7400: they need a port each"),
    ],
)
def test_each_fault_of_a_coordinator_is_a_sentence(changed: dict[str, object], fault: str) -> None:
    assert faults(COORDINATOR, **changed) == [fault]


def test_all_faults_are_named_at_once() -> None:
    assert len(faults(NODE, id="", listen="x", join=(), weight=-1.0, engine="none")) == 5


GROUP = "c1=10.0.0.1:7400/7401,c2=10.0.0.2:7400/7401, c3=10.0.0.3:7400/7401"


def test_a_group_is_read_as_it_is_written() -> None:
    members = group_of(GROUP)
    assert [info.name for info in members] == ["c1", "c2", "c3"]
    assert (members[1].address, members[1].publish) == ("10.0.0.2:7400", "10.0.0.2:7401")
    assert group_of("") == ()
    taken = dataclasses.replace(COORDINATOR, group=members)
    taken.validate()
    assert taken.members == members
    assert [info.address for info in COORDINATOR.members] == ["127.0.0.1:7400"], "without a group it is alone"


@pytest.mark.parametrize(
    "text", ["c1", "c1=10.0.0.1:7400", "=10.0.0.1:7400/7401", "c1=10.0.0.1/7401", "c/1=h:1/2", "c1=h:1/0"]
)
def test_a_group_that_cannot_be_read_is_refused_with_the_part_that_is_wrong(text: str) -> None:
    with pytest.raises(StartError, match=r"is not NAME=HOST:PORT/PUBLISHPORT") as caught:
        group_of(f"c9=10.0.0.9:7400/7401,{text}")
    assert repr(text) in caught.value.what


def test_a_group_has_this_coordinator_and_each_once() -> None:
    others = group_of(GROUP)[1:]
    assert faults(COORDINATOR, group=others) == ["--group names c2, c3, and not this coordinator, c1"]
    twice = (*group_of(GROUP), others[0])
    assert faults(COORDINATOR, group=twice) == ["--group names a coordinator twice"]
    many = group_of(",".join(f"c{number}=10.0.0.{number}:7400/7401" for number in range(1, 9)))
    assert faults(COORDINATOR, group=many) == ["--group names 8 coordinators: 7 at most"]
