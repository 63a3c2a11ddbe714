"""Majority arithmetic against counting."""

from hypothesis import given
from hypothesis import strategies as st

from zkv.core.raft.quorum import majority, reached


def counted(values: list[int]) -> int:
    """The greatest of the values that more than half of them have reached, found by trying each."""
    return max(value for value in values if 2 * sum(other >= value for other in values) > len(values))


@given(st.lists(st.integers(min_value=0, max_value=20), min_size=1, max_size=9))
def test_what_a_majority_reached_equals_what_counting_finds(values: list[int]) -> None:
    assert reached(values) == counted(values)


def test_two_majorities_always_share_a_voter_and_one_fewer_would_not_do() -> None:
    for count in range(1, 10):
        assert 2 * majority(count) > count
        assert 2 * (majority(count) - 1) <= count
