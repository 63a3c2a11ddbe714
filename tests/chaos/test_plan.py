"""Which faults a run draws."""

from itertools import islice
from random import Random

import pytest

from zkv.chaos.faults import FAULTS, Needs
from zkv.chaos.plan import chosen, endless
from zkv.errors import InvalidRequest


def test_every_kind_comes_before_any_comes_again_and_the_seed_decides_the_order() -> None:
    kinds = list(FAULTS)
    drawn = list(islice(endless(kinds, Random(1)), 2 * len(kinds)))
    assert sorted(drawn[: len(kinds)]) == sorted(drawn[len(kinds) :]) == sorted(kinds)
    assert drawn == list(islice(endless(kinds, Random(1)), 2 * len(kinds)))
    assert drawn != list(islice(endless(kinds, Random(2)), 2 * len(kinds)))


def test_what_is_not_possible_is_left_out_with_the_reason() -> None:
    assert chosen((), set(Needs), {}) == (list(FAULTS), {})
    absent = {Needs.NETWORK: "no network", Needs.DISK: "no disk", Needs.PROCESSES: "not ours"}
    kinds, skipped = chosen((), {Needs.ADDRESS}, absent)
    assert kinds == ["split-and-merge", "garbage"]
    assert skipped["full-disk"] == "no disk"
    assert skipped["kill-all"] == "not ours"
    assert len(skipped) == len(FAULTS) - len(kinds)


def test_a_kind_that_does_not_exist_is_named_together_with_those_that_do() -> None:
    with pytest.raises(InvalidRequest, match=r"kill-nobody.*kill-node"):
        chosen(("kill-nobody", "kill-node"), set(Needs), {})
