"""Numbers: consecutive, windowed, and `lowest` never above one that is awaited."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from zkv import limits
from zkv.core.routing.session import Run, Session, Sessions, born_after, client_id
from zkv.ids import ClientId


@given(st.lists(st.tuples(st.integers(1, 1_000), st.integers(0, 2**16)), max_size=60))
def test_lowest_is_the_smallest_number_awaited_whatever_ends_first(steps: list[tuple[int, int]]) -> None:
    session, awaited = Session(ClientId(b"c" * 16)), {}
    for count, choice in steps:
        if count <= session.room():
            run = session.allot(count)
            awaited[run.first] = (run, count)
        if awaited and choice % 2:
            first = sorted(awaited)[choice % len(awaited)]
            ended: tuple[Run, int] = awaited.pop(first)
            ended[0].left -= ended[1]
        if awaited:
            assert session.lowest == min(awaited)
            highest = max(first + number for first, (_, number) in awaited.items()) - 1
            assert highest < session.lowest + limits.WINDOW_SEQUENCES
    for run, count in awaited.values():
        run.left -= count
    assert session.room() == limits.WINDOW_SEQUENCES


def test_a_client_id_is_its_birth_and_chance() -> None:
    one, other = client_id(1_700_000_000_000, Random(1)), client_id(1_700_000_000_000, Random(2))
    assert len(one) == 16
    assert int.from_bytes(one[:6], "big") == 1_700_000_000_000
    assert one != other


def test_a_new_session_is_born_after_the_floor_even_if_our_clock_is_behind() -> None:
    floor = (5_000).to_bytes(6, "big")
    assert born_after(floor, 4_000) == 5_001
    assert born_after(floor, 6_000) == 6_000


def test_a_floor_that_nothing_is_above_is_no_crash() -> None:
    assert client_id(born_after(b"\xff" * 6, 4_000), Random(1))[:6] == b"\xff" * 6


def test_a_session_that_expired_earlier_does_not_end_the_one_that_followed_it() -> None:
    sessions = Sessions(Random(1), 1_000, 0)
    first = sessions.current
    sessions.renew(first, (2_000).to_bytes(6, "big"), 10)
    second = sessions.current
    sessions.renew(first, (3_000).to_bytes(6, "big"), 20)
    assert second is sessions.current
    assert second is not first
