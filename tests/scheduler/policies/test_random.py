"""Uniform, reproducible, and only where it fits."""

from collections import Counter

import numpy as np

from roadbed.scheduler.base import Shape
from roadbed.scheduler.placement import Placer
from roadbed.scheduler.policies.random import Random
from roadbed.scheduler.state import State
from tests.scheduler.policies.score import machine, used

HALF = Shape(num_devices=1, milli=600)


def drawn(seed: int, num: int) -> list[tuple[int, tuple[int, ...]]]:
    state = State([machine(str(at), 2) for at in range(4)])
    used(state, 3, 500, device=0)
    used(state, 3, 500, device=1)
    placer = Placer(state, Random(np.random.default_rng(seed)))
    found = [placer.best(HALF) for _ in range(num)]
    return [(slot.node, slot.devices) for slot in found if slot is not None]


def test_every_fitting_place_comes_up_about_equally_often() -> None:
    counts = Counter(drawn(1, 1200))
    assert set(counts) == {(node, (device,)) for node in range(3) for device in range(2)}
    assert min(counts.values()) > 140  # of 200 expected; 5 standard deviations


def test_the_same_seed_draws_the_same() -> None:
    assert drawn(7, 50) == drawn(7, 50)
    assert drawn(7, 50) != drawn(8, 50)
