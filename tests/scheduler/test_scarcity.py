"""Prices of chips: nobody insists, nobody pays; who is fought for costs more."""

import pytest

from roadbed.scheduler.base import Shape
from roadbed.scheduler.scarcity import chip_prices
from roadbed.scheduler.state import State
from roadbed.scheduler.target import Target, target_of
from tests.scheduler.cluster import nodes

STATE = State([*nodes(4), *nodes(2, chip="T4", first=4), *nodes(1, devices=0, first=6)])
ANY, T4 = Shape(num_devices=1), Shape(num_devices=1, chips=("T4",))


def price(shapes: list[Shape]) -> dict[str, float]:
    return dict(zip(STATE.chips, chip_prices(STATE, target_of(shapes)), strict=True))


def test_without_preferences_nothing_is_scarce() -> None:
    assert set(price([ANY] * 10).values()) == {0.0}
    assert set(price([]).values()) == {0.0}
    assert set(chip_prices(STATE, Target()).tolist()) == {0.0}


def test_the_more_insist_the_dearer_it_is() -> None:
    some = price([ANY] * 8 + [T4] * 2)
    many = price([ANY] * 4 + [T4] * 6)
    assert 0 <= some["T4"] < many["T4"]
    assert many["H100"] == pytest.approx(0.0, abs=1e-9)


def test_a_chip_nobody_has_costs_nothing() -> None:
    assert set(price([Shape(num_devices=1, chips=("V100",))]).values()) == {0.0}


def test_scale_does_not_matter() -> None:
    assert price([ANY] * 4 + [T4] * 6) == pytest.approx(price([ANY] * 400 + [T4] * 600))
