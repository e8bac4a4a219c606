"""How much a service will need soon: the time of day, shifted to today's level, with a margin learned from its errors.

A day is cut into bins; each keeps an average over days that forgets. The forecast at t is that of its bin, scaled by
how today compares with the profile so far (recent level), plus the `quantile` of the errors this rule made before. With
less than a day of history it is the recent level alone. Cheap enough to ask at every pass, and simple enough to see why
it said so. It knows no weekdays: a Saturday after a Friday is over-forecast, which lends too little for some hours and
returns nothing late.
"""

import bisect
import math
from collections import deque

_ERRORS = 64
_LEVEL_FORGETS = 0.7  # weight of the past in the recent level, per bin


class Forecast:
    """observe() what was needed, ask need() for what will be. period_s: one season. bins: of one period.

    quantile: of the errors that the margin covers, 0.5..1. day_forgets: weight of earlier days in a bin's average.
    """

    def __init__(
        self, period_s: float = 86_400.0, bins: int = 96, quantile: float = 0.95, day_forgets: float = 0.5
    ) -> None:
        if period_s <= 0 or bins < 1 or not 0.5 <= quantile <= 1 or not 0 <= day_forgets < 1:
            raise ValueError("period_s > 0, bins ≥ 1, 0.5 ≤ quantile ≤ 1 and 0 ≤ day_forgets < 1 are required")
        self.period_s = period_s
        self.width_s = period_s / bins
        self.quantile = quantile
        self.day_forgets = day_forgets
        self._mean: list[float | None] = [None] * bins
        self._errors: deque[float] = deque(maxlen=_ERRORS)
        self._bin = -1  # number of the open bin since time 0
        self._peak = 0.0  # of the open bin
        self._level = 1.0  # today against the profile
        self.latest = 0.0

    def observe(self, at_s: float, need: float) -> None:
        """What was needed at a time, non-decreasing; earlier ones are ignored. A bin counts with its peak."""
        if not (math.isfinite(at_s) and math.isfinite(need)) or need < 0:
            raise ValueError(f"a need of {need} at {at_s} is no observation")
        at = int(at_s // self.width_s)
        if at < self._bin:
            return
        if at > self._bin:
            if self._bin >= 0:
                self._close(at)
            self._bin, self._peak = at, 0.0
        self._peak = max(self._peak, need)
        self.latest = need

    def need(self, at_s: float) -> float:
        """What is expected to be needed at a time to come, margin included; never below 0."""
        return max(0.0, self._expected(int(at_s // self.width_s)) + self.margin())

    def peak(self, from_s: float, until_s: float) -> float:
        """The largest need expected in [from_s, until_s]; O(bins), a period at most is looked at."""
        first = int(from_s // self.width_s)
        last = min(int(until_s // self.width_s), first + len(self._mean))
        return max(0.0, max(self._expected(at) for at in range(first, last + 1)) + self.margin())

    def returns_at(self, level: float, from_s: float) -> float:
        """When the need is first expected to exceed `level`, within one period; inf if it is not. Start of a bin."""
        first = int(from_s // self.width_s)
        margin = self.margin()
        for at in range(first, first + len(self._mean) + 1):
            if self._expected(at) + margin > level:
                return max(from_s, at * self.width_s)
        return math.inf

    def margin(self) -> float:
        """The quantile of past errors (needed − expected), never negative."""
        if not self._errors:
            return 0.0
        ordered = sorted(self._errors)
        return max(0.0, ordered[min(len(ordered) - 1, math.ceil(self.quantile * len(ordered)) - 1)])

    def _expected(self, at: int) -> float:
        mean = self._mean[at % len(self._mean)]
        if mean is None:
            return max(self.latest, self._peak)
        return mean * self._level

    def _close(self, following: int) -> None:
        """The open bin is over, and perhaps some that nobody observed; those went on as the last one."""
        for at in range(self._bin, min(following, self._bin + len(self._mean))):
            need = self._peak if at == self._bin else self.latest
            index = at % len(self._mean)
            mean = self._mean[index]
            if mean is None:
                self._mean[index] = need
                continue
            self._errors.append(need - mean * self._level)
            if mean > 0:
                ratio = min(4.0, max(0.25, need / mean))
                self._level = _LEVEL_FORGETS * self._level + (1 - _LEVEL_FORGETS) * ratio
            self._mean[index] = self.day_forgets * mean + (1 - self.day_forgets) * need


class Durations:
    """How long jobs of a kind run: the latest of each (quota, size class), asked by quantile.

    Long ago is forgotten, so a team that changes its habits is believed within a few dozen jobs.
    """

    def __init__(self, keep: int = 64, min_samples: int = 5, unknown_s: float = 86_400.0) -> None:
        self.keep = keep
        self.min_samples = min_samples
        self.unknown_s = unknown_s
        self._latest: dict[tuple[str, int], deque[float]] = {}
        self._sorted: dict[tuple[str, int], list[float]] = {}

    def learn(self, quota: str, milli: int, ran_s: float) -> None:
        """A job of that size ran so long and finished."""
        key = (quota, size_class(milli))
        latest = self._latest.setdefault(key, deque())
        ordered = self._sorted.setdefault(key, [])
        latest.append(ran_s)
        bisect.insort(ordered, ran_s)
        if len(latest) > self.keep:
            del ordered[bisect.bisect_left(ordered, latest.popleft())]

    def quantile(self, quota: str, milli: int, share: float, ran_s: float = 0.0) -> float:
        """The duration that `share` of those jobs which ran at least ran_s stayed below; unknown_s where few did."""
        ordered = self._sorted.get((quota, size_class(milli)), [])
        longer = ordered[bisect.bisect_right(ordered, ran_s) :]
        if len(ordered) < self.min_samples:
            return max(self.unknown_s, 2 * ran_s)
        if not longer:
            return 2 * ran_s
        return longer[min(len(longer) - 1, int(share * len(longer)))]


def size_class(milli: int) -> int:
    """Power of two of the devices, 0 for none or a fraction."""
    return max(0, milli // 1000).bit_length()
