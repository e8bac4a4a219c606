"""Best fit and dot product, from their formulas."""

from roadbed.scheduler.base import Shape
from roadbed.scheduler.policies.base import Ask
from roadbed.scheduler.policies.bestfit import BestFit, DotProd
from roadbed.scheduler.state import State
from tests.scheduler.policies.score import machine, scores, used

ONE = Shape(num_devices=1, cpu_milli=8000)


def test_least_left_is_best() -> None:
    state = State([machine("a", 8), machine("b", 2, cpu=32_000)])
    a = 100 * (1 - 0.5 * (88_000 / 128_000 + 7000 / 8000))
    b = 100 * (1 - 0.5 * (24_000 / 128_000 + 1000 / 8000))
    assert scores(BestFit(), state, ONE) == [int(a), int(b)]


def test_a_node_larger_than_the_scale_scores_nothing_rather_than_less() -> None:
    state = State([machine("huge", 16, cpu=512_000)])
    assert scores(BestFit(), state, ONE) == [0]
    assert scores(DotProd(), state, Shape(num_devices=8, cpu_milli=128_000)) == [0]


def test_the_larger_the_alignment_the_lower_the_score() -> None:
    state = State([machine("a", 8), machine("b", 2, cpu=32_000)])
    a = 100 * (1 - 0.5 * (96_000 * 8000 / 128_000**2 + 8000 * 1000 / 8000**2))
    assert scores(DotProd(), state, ONE)[0] == int(a)
    assert scores(DotProd(), state, ONE)[1] > int(a)


def test_the_tightest_device() -> None:
    state = State([machine("a", 3)])
    used(state, 0, 300, device=1)
    used(state, 0, 600, device=2)
    assert BestFit().devices(state, Ask(state, Shape(num_devices=1, milli=400)), 0) == (2,)
    assert BestFit().devices(state, Ask(state, Shape(num_devices=1, milli=500)), 0) == (1,)
    assert DotProd().devices(state, Ask(state, Shape(num_devices=1)), 0) == (0,)
