"""Against scipy, and that pairing is what narrows an interval."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from roadbed.twin.stats import estimate, paired, paired_ratio, percentile

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


@given(VALUES)
def test_intervals_are_students(values: list[float]) -> None:
    found = estimate(values)
    half = scipy_stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert found.half == pytest.approx(half, rel=1e-3, abs=1e-6)
    assert found.num == len(values)


def test_many_values_approach_the_normal_quantile() -> None:
    for num in (31, 60, 200):
        values = [float(at % 7) for at in range(num + 1)]
        half = scipy_stats.t.ppf(0.975, num) * scipy_stats.tstd(values) / math.sqrt(num + 1)
        assert estimate(values).half == pytest.approx(half, rel=5e-3)


def test_one_value_has_no_interval_and_none_is_an_error() -> None:
    assert math.isnan(estimate([3.0]).half)
    assert str(estimate([3.0])) == "3.00"
    assert str(estimate([3.0, 3.0])) == "3.00 ± 0.00"
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_differences_are_taken_seed_by_seed() -> None:
    theirs = {seed: 50.0 + 10 * (seed % 3) for seed in range(10)}
    ours = {seed: value + 1 + 0.01 * (seed % 2) for seed, value in theirs.items()}
    difference = paired(ours, theirs)
    assert difference is not None
    assert difference.mean == pytest.approx(1.005)
    assert difference.half < 0.01 < estimate(list(ours.values())).half
    partly = paired(ours, {0: 0.0, 99: 1.0})
    assert partly is not None
    assert partly.num == 1
    assert paired(ours, {99: 1.0}) is None


def test_ratios_say_how_many_times_less() -> None:
    ratio = paired_ratio({1: 2.0, 2: 4.0, 3: 0.0}, {1: 4.0, 2: 4.0, 3: 9.0})
    assert ratio is not None
    assert (ratio.mean, ratio.num) == (1.5, 2)
    assert paired_ratio({1: 0.0}, {1: 1.0}) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    import numpy as np

    ordered = sorted(values)
    assert percentile(ordered, share) == pytest.approx(float(np.quantile(ordered, share)), rel=1e-9, abs=1e-6)


def test_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.5))
