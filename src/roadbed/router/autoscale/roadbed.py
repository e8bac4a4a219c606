"""Our rule: enough for the load now, never less than the forecast for when a new replica would be ready.

    now       ceil((amount + waiting · urgency) / target)        urgency = cold start / 30 s, within 1 … 4
    floor     ceil(forecast of the next cold start and a minute / target)
    up        to the larger of both, at once: replicas that are starting count as there
    down      one step per window, to the largest wish of that window, and only where the rest would then be below 85 %
              of the target; the window is three cold starts, within 60 s (idle_s, if that is shorter) … 900 s
    zero      where num_min is 0: nothing running or waiting for idle_s, nothing expected by yesterday, and no change
              within a window; the first that waits wakes one

The trade-off is in the windows: what is slow to start is kept longer, because giving it up wrongly costs a cold start
of waiting, and giving it up rightly a little later costs only its minutes.
"""

from collections import deque

from roadbed.router.autoscale.base import Bounds, Load, Target, bounded, ceil
from roadbed.router.autoscale.forecast import Forecast

_SHORTEST_WINDOW_S, _LONGEST_WINDOW_S = 60.0, 900.0
_ROOM = 0.85
_URGENT_S = 30.0
_MOST_URGENT = 4.0
_BEYOND_S = 60.0


class Roadbed:
    """Forecast floor, load loop, hysteresis."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._forecast = Forecast()
        shortest_s = min(_SHORTEST_WINDOW_S, bounds.idle_s)
        self._window_s = min(max(3.0 * bounds.cold_start_s, shortest_s), _LONGEST_WINDOW_S)
        self._urgency = min(max(bounds.cold_start_s / _URGENT_S, 1.0), _MOST_URGENT)
        self._wishes: deque[tuple[float, int]] = deque()
        self._changed_at = float("-inf")
        self._busy_at = float("-inf")
        self._began_at: float | None = None

    def decide(self, load: Load) -> Target:
        bounds, now, num = self._bounds, load.at, load.num_replicas
        if self._began_at is None:
            self._began_at = now
            self._busy_at = now
        self._forecast.observe(now, load.amount + load.num_waiting)
        is_busy = load.num_running > 0 or load.num_waiting > 0 or load.amount > 0.0
        if is_busy:
            self._busy_at = now
        # The mean of the last minutes would keep one for as long as it remembers any request.
        is_idle = bounds.num_min == 0 and now - self._busy_at >= bounds.idle_s
        ahead = self._forecast.season if is_idle else self._forecast.ahead
        expected = ahead(bounds.cold_start_s + _BEYOND_S)
        need = ceil((load.amount + load.num_waiting * self._urgency) / bounds.target)
        floor = ceil(expected / bounds.target)
        wish = max(need, floor, 1 if is_busy else 0)
        self._wishes.append((now, wish))
        while self._wishes[0][0] < now - self._window_s:
            self._wishes.popleft()
        if is_idle and num and not wish and now - self._since(now) >= self._window_s:
            target = Target(0, "idle")
        else:
            target = self._up(load, wish, floor) if wish > num else self._down(load, wish)
        if target.num_replicas != num:
            self._changed_at = now
        return target

    def _up(self, load: Load, wish: int, floor: int) -> Target:
        if load.num_replicas == 0 and load.num_waiting:
            return bounded(self._bounds, wish, "wake")
        return bounded(self._bounds, wish, "forecast" if floor == wish else "load")

    def _down(self, load: Load, wish: int) -> Target:
        bounds, now, num = self._bounds, load.at, load.num_replicas
        if num > bounds.num_affordable:
            return bounded(bounds, num, "cost_cap")
        if wish == num or num <= bounds.num_min:
            return bounded(bounds, num, "steady")
        if now - self._since(now) < self._window_s:
            return bounded(bounds, num, "window")
        largest = max(number for _, number in self._wishes)
        if largest >= num:
            return bounded(bounds, num, "window")
        lower = max(largest, 1)
        if load.amount + load.num_waiting > _ROOM * bounds.target * lower:
            lower += 1
        return bounded(bounds, min(num, lower), "load" if lower < num else "steady")

    def _since(self, now: float) -> float:
        """Of the last change, or of the first look."""
        return max(self._changed_at, self._began_at if self._began_at is not None else now)
