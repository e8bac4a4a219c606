"""Means over seeds, and differences between policies on the same seeds, with honest intervals.

A seed shifts all policies alike (another order, another set of resampled pods), so differences are taken seed by seed
before they are averaged: the interval of a paired difference is several times narrower than that of two means.
Intervals are Student's, because ten seeds are few.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t for 1..30 degrees of freedom."""


class Estimate(msgspec.Struct, frozen=True):
    """A mean and the half width of its 95 % interval; half is nan with fewer than two values."""

    mean: float
    half: float
    num: int

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if math.isnan(self.half) else f"{self.mean:.2f} ± {self.half:.2f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of independent values. ValueError for none."""
    num = len(values)
    if not num:
        raise ValueError("a mean of no values")
    mean = math.fsum(values) / num
    if num < 2:
        return Estimate(mean, math.nan, num)
    variance = math.fsum((value - mean) ** 2 for value in values) / (num - 1)
    return Estimate(mean, _quantile(num - 1) * math.sqrt(variance / num), num)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """ours − theirs over the seeds both have, seed by seed; None where they share none."""
    seeds = sorted(ours.keys() & theirs.keys())
    return estimate([ours[seed] - theirs[seed] for seed in seeds]) if seeds else None


def paired_ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """theirs ÷ ours seed by seed: how many times less ours is. None where they share no seed with ours above 0."""
    seeds = [seed for seed in sorted(ours.keys() & theirs.keys()) if ours[seed] > 0]
    return estimate([theirs[seed] / ours[seed] for seed in seeds]) if seeds else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` (0..1) of the ascending values do not exceed, linear in between; nan for none."""
    if not ordered:
        return math.nan
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _quantile(degrees: int) -> float:
    return _T95[degrees - 1] if degrees <= len(_T95) else 1.96 + 2.5 / degrees
