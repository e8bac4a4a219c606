"""Our rule: enough for the load now, never less than the forecast for when a new replica would be ready.

    now       ceil((amount + waiting · urgency) / target)        urgency = cold start / 30 s, within 1 … 4
    floor     ceil(forecast of the next cold start and a minute / target)
    up        to the larger of both, at once: replicas that are starting count as there; but in one cold start by no
              more than half of what was there before it, or 4
    down      to the larger of both and of what is worth keeping: how loads came back says how long (`keep`)
    zero      where num_min is 0: nothing running or waiting for idle_s, nothing expected by yesterday, and no change
              within three cold starts (60 s, or idle_s if that is shorter, … 900 s); the first that waits wakes one

While replicas start, what waits for them piles up and looks like load: without the limit a long cold start ends with
every replica there may be; with it a crowd that comes at once waits longer. The other trade-off is in what is kept:
giving a replica up wrongly costs a cold start of waiting, giving it up rightly a little later costs only its minutes.
"""

from collections import deque

from roadbed.router.autoscale.base import Bounds, Load, Target, bounded, ceil
from roadbed.router.autoscale.forecast import Forecast
from roadbed.router.autoscale.keep import Keeper

_SHORTEST_WINDOW_S, _LONGEST_WINDOW_S = 60.0, 900.0
_URGENT_S = 30.0
_MOST_URGENT = 4.0
_BEYOND_S = 60.0
_GROWTH, _GROWTH_LEAST = 1.5, 4


class Roadbed:
    """Forecast floor, load loop, learned keeping."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._forecast = Forecast()
        self._keeper = Keeper(bounds.cold_start_s, bounds.idle_s)
        shortest_s = min(_SHORTEST_WINDOW_S, bounds.idle_s)
        self._window_s = min(max(3.0 * bounds.cold_start_s, shortest_s), _LONGEST_WINDOW_S)
        self._urgency = min(max(bounds.cold_start_s / _URGENT_S, 1.0), _MOST_URGENT)
        self._numbers: deque[tuple[float, int]] = deque()
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
        floor = ceil(ahead(bounds.cold_start_s + _BEYOND_S) / bounds.target)
        need = (load.amount + load.num_waiting) / bounds.target
        num_now = ceil((load.amount + load.num_waiting * self._urgency) / bounds.target)
        most = self._most(now, num)
        num_now, floor = min(num_now, most), min(floor, most)
        wish = max(num_now, floor, 1 if is_busy else 0)
        self._keeper.see(now, need, min(ceil(need), most, bounds.num_max), min(num, bounds.num_max))
        if is_idle and num and not wish and now - self._since(now) >= self._window_s:
            target = Target(0, "idle")
        elif wish > num:
            target = self._up(load, wish, floor)
        else:
            target = self._down(load, need, wish)
        if target.num_replicas != num:
            self._changed_at = now
        return target

    def _up(self, load: Load, wish: int, floor: int) -> Target:
        if load.num_replicas == 0 and load.num_waiting:
            return bounded(self._bounds, wish, "wake")
        return bounded(self._bounds, wish, "forecast" if floor == wish else "load")

    def _down(self, load: Load, need: float, wish: int) -> Target:
        bounds, num = self._bounds, load.num_replicas
        if num > bounds.num_affordable:
            return bounded(bounds, num, "cost_cap")
        if wish == num or num <= bounds.num_min:
            return bounded(bounds, num, "steady")
        kept = self._keeper.keep(load.at, need, max(wish, 1), num)
        return bounded(bounds, kept, "window" if kept > max(wish, 1) or kept == num else "load")

    def _most(self, now: float, num: int) -> int:
        """What may be asked for before it is known what the replicas on their way will do."""
        numbers = self._numbers
        numbers.append((now, num))
        while numbers[0][0] < now - self._bounds.cold_start_s:
            numbers.popleft()
        ready = min(number for _, number in numbers)
        return int(max(_GROWTH * ready, ready + _GROWTH_LEAST))

    def _since(self, now: float) -> float:
        """Of the last change, or of the first look."""
        return max(self._changed_at, self._began_at if self._began_at is not None else now)
