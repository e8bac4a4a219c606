"""What the load will be when a replica asked for now is ready: the trend of minutes, and the same hour of yesterday.

Per bucket of time the mean is kept, for two days. The forecast is the larger of

    trend      level + slope · horizon, from a line through the last ten buckets; the slope counts only where it
               explains most of what varies, and adds at most the level itself
    season     yesterday's largest between now and now + horizon, scaled by how today compares with yesterday over the
               last hour (0.5 to 2), once a day has been seen

Two plain rules rather than a fitted model: both can be checked by eye, and either alone is wrong in a known way (a
trend misses the morning rush until it has begun, a season misses what never happened before).
"""

import math

_TREND_BUCKETS = 10
_EXPLAINED = 0.5
_DAY_S = 86_400.0


class Forecast:
    """Bounded: two days of buckets."""

    def __init__(self, bucket_s: float = 60.0) -> None:
        """Raises ValueError for a bucket that isn't above 0 and at most an hour."""
        if not 0.0 < bucket_s <= 3600.0:
            raise ValueError(f"a bucket of {bucket_s} s")
        self._bucket_s = bucket_s
        self._per_day = round(_DAY_S / bucket_s)
        self._means: dict[int, float] = {}
        self._current = -1
        self._sum = 0.0
        self._num = 0

    def observe(self, now: float, amount: float) -> None:
        """The load at a time; times ascend."""
        bucket = int(now // self._bucket_s)
        if bucket != self._current:
            self._sum, self._num = 0.0, 0
            self._current = bucket
            for old in [b for b in self._means if b < bucket - 2 * self._per_day]:
                del self._means[old]
        self._sum += amount
        self._num += 1
        self._means[bucket] = self._sum / self._num

    def ahead(self, horizon_s: float) -> float:
        """The most to be expected from now until `horizon_s` later; 0 before anything was seen."""
        return max(self._trend(horizon_s), self.season(horizon_s))

    def _trend(self, horizon_s: float) -> float:
        points = [(b, self._means[b]) for b in range(self._current - _TREND_BUCKETS, self._current) if b in self._means]
        if len(points) < 3:
            return 0.0
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        sxx = sum((x - mean_x) ** 2 for x, _ in points)
        sxy = sum((x - mean_x) * (y - mean_y) for x, y in points)
        syy = sum((y - mean_y) ** 2 for _, y in points)
        slope = sxy / sxx
        if syy <= 0.0 or slope <= 0.0 or sxy * sxy / (sxx * syy) < _EXPLAINED:
            return max(0.0, mean_y)
        level = mean_y + slope * (self._current - mean_x)
        return level + min(level, slope * horizon_s / self._bucket_s)

    def season(self, horizon_s: float) -> float:
        """Yesterday's part alone: what to expect where the last minutes are known to be over."""
        first = self._current - self._per_day
        last = first + math.ceil(horizon_s / self._bucket_s)
        then = [self._means[b] for b in range(first, last + 1) if b in self._means]
        if not then:
            return 0.0
        num_hour = round(3600.0 / self._bucket_s)
        pairs = [
            (self._means[b], self._means[b - self._per_day])
            for b in range(self._current - num_hour, self._current)
            if b in self._means and b - self._per_day in self._means
        ]
        today, yesterday = sum(a for a, _ in pairs), sum(b for _, b in pairs)
        scale = min(2.0, max(0.5, today / yesterday)) if yesterday > 0.0 else 1.0
        return max(then) * scale
