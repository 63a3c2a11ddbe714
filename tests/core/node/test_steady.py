"""A clock that turns back: time goes on, and whoever relied on a span of it is told."""

from zkv.core.node.steady import SteadyClock


def test_time_goes_on_from_the_last_reading() -> None:
    clock = SteadyClock()
    assert [clock.read(reading) for reading in (500, 510, 200, 230, 230)] == [
        (500, False),
        (510, False),
        (510, True),
        (540, False),
        (540, False),
    ]
    assert clock.shift_ms == 310


def test_the_next_reading_can_be_foreseen() -> None:
    clock = SteadyClock()
    assert clock.foresee(7) == 7
    clock.read(100)
    clock.read(40)
    assert (clock.foresee(50), clock.foresee(39)) == (110, None)
