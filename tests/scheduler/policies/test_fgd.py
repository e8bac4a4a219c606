"""FGD as published: the gradient through a logistic, truncated; fractions on the best device."""

import math

import numpy as np

from roadbed.scheduler.base import Shape
from roadbed.scheduler.placement import Placer
from roadbed.scheduler.policies.fgd import Fgd
from roadbed.scheduler.state import State
from roadbed.scheduler.target import Target
from tests.scheduler.policies.score import machine, scores, used

WHOLE = Target((Shape(num_devices=1),), (1.0,))
HALF = Shape(num_devices=1, milli=500)


def test_breaking_a_whole_device_costs_what_is_left_of_it() -> None:
    state = State([machine("a", 2), machine("b", 2)])
    used(state, 1, 500)
    # a: the half that stays is a fragment to whole-device processes, F grows by 500. b: F falls by 500.
    assert scores(Fgd(state, WHOLE), state, HALF) == [int(100 / (1 + math.exp(0.5))), int(100 / (1 + math.exp(-0.5)))]


def test_a_fraction_takes_the_device_that_loses_least() -> None:
    state = State([machine("a", 3)])
    used(state, 0, 500, device=1)
    slot = Placer(state, Fgd(state, WHOLE)).best(HALF)
    assert slot is not None
    assert slot.devices == (1,)


def test_whole_devices_are_the_lowest_free_ones() -> None:
    state = State([machine("a", 4)])
    used(state, 0, 500, device=0)
    slot = Placer(state, Fgd(state, WHOLE)).best(Shape(num_devices=2))
    assert slot is not None
    assert slot.devices == (1, 2)


def test_scores_are_within_their_range() -> None:
    state = State([machine("a", 8), machine("b", 8, cpu=1000)])
    for shape in (HALF, Shape(num_devices=8), Shape(cpu_milli=500)):
        found = scores(Fgd(state, WHOLE), state, shape)
        assert all(0 <= score <= 100 for score in found)
    assert np.isfinite(scores(Fgd(state, Target()), state, HALF)).all()
