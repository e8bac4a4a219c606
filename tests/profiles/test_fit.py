import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.profiles.fit import from_kernels, from_sweeps, thinned, weighted
from roadbed.profiles.model import StepTimer


@given(st.floats(0, 5), st.floats(0.01, 5), st.integers(0, 99))
def test_weighted_finds_what_made_the_numbers(a: float, b: float, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(1, 1000, 30)
    found = weighted([np.ones_like(x), x], a + b * x)
    assert found == pytest.approx([a, b], abs=1e-6, rel=1e-6)


def test_weighted_never_goes_below_zero() -> None:
    x = np.arange(1.0, 20.0)
    found = weighted([np.ones_like(x), x], 2 * x - 1)
    assert found.min() >= 0
    assert found[1] == pytest.approx(1.85, abs=0.15)


def test_weighted_minds_relative_errors() -> None:
    x = np.array([1.0, 10.0, 1000.0])
    found = weighted([x], np.array([1.0, 10.0, 2000.0]))
    assert found[0] < 1.5  # plain squares would say 2.0


def test_weighted_of_nothing() -> None:
    with pytest.raises(ValueError, match="no measurements"):
        weighted([np.array([])], np.array([]))


def test_sweeps_give_back_the_lines_they_came_from() -> None:
    capacity = 100_000
    context = np.repeat([500.0, 2000.0, 8000.0], 5)
    kv = np.tile(np.linspace(0.1, 0.9, 5), 3)
    seqs = kv * capacity / context
    itl = 0.004 + 1e-5 * seqs + 3e-8 * kv * capacity
    isl = np.array([100.0, 1000, 5000, 16000])
    timer = StepTimer(from_sweeps(isl, 0.002 + 2e-5 * isl, kv, context, itl, capacity))
    fixed, per_kv = timer.decode(40)
    assert fixed == pytest.approx(0.004 + 4e-4, rel=1e-6)
    assert per_kv == pytest.approx(3e-8, rel=1e-6)
    assert timer.mixed([(8000, 0)], 0, 0, 0) == pytest.approx(0.162, rel=1e-6)


def kernel_rows() -> list[tuple[int, int, int, int, float]]:
    """Attention by a known law, in microseconds: chunks, decodes, and both with dearer decodes."""
    rows = []
    for kv in (64, 256, 1024, 4096):
        rows += [(0, 0, n, kv, 5 + 0.5 * n + 0.002 * n * kv) for n in (1, 8, 64)]
        for chunk in (64, 512, 2048):
            for cached in (0, 512, 4096):
                own = chunk * 0.05 + 1e-5 * chunk * cached
                rows.append((chunk, cached, 0, 0, 2 + own))
                rows += [(chunk, cached, n, kv, 2 + own + n + 0.004 * n * kv) for n in (1, 8, 64)]
    return rows


def test_kernels_give_back_an_iteration() -> None:
    dense = {t: 10 + 0.1 * t for t in (1, 2, 4, 64, 512, 2048, 4096)}
    once = dict.fromkeys(dense, 1.0)
    head = {n: 100.0 + n for n in (1, 2, 64, 256)}
    step = from_kernels(
        num_layers=4, per_layer=[(dense, 1), (dense, 2)], once=[once], head=[head], attention=kernel_rows()
    )
    timer = StepTimer(step)
    fixed, per_kv = timer.decode(8)
    assert fixed + per_kv * 8 * 1024 == pytest.approx(
        (4 * 3 * 10.8 + 1 + 108 + 4 * (9 + 0.002 * 8192)) * 1e-6, rel=0.01
    )
    seconds = timer.mixed([(512, 512)], 1, 8, 8 * 1024)
    attention = 2 + 25.6 + 1e-5 * 512 * 512 + 8 + 0.004 * 8192
    assert seconds == pytest.approx((4 * 3 * 62 + 1 + 109 + 4 * attention) * 1e-6, rel=0.01)


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=60))
def test_thinning_keeps_ends_and_stays_close(values: list[float]) -> None:
    xs = list(range(len(values)))
    made = thinned(xs, values, most=len(values))
    assert made.x[0] == 0
    assert made.x[-1] == len(values) - 1
    for x, y in zip(xs, values, strict=True):
        assert made.at(x) == pytest.approx(y, rel=0.006)


def test_thinning_drops_points_of_a_line() -> None:
    assert len(thinned(range(100), [1 + 2 * x for x in range(100)]).x) == 2
