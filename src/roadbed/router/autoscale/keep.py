"""How long a replica that nobody needs now is worth keeping, learned from how loads came back.

Level k is *up* while the load needs k replicas or more. Between, there is a gap: keeping replica k through a gap of x
seconds costs x; giving it up after t and wanting it again costs t and a regret. That is ski rental, per level, with the
gaps there were instead of a worst case:

    hold t*  = argmin over t  Σ gaps x ≤ t: x  +  Σ gaps x > t: (t + regret · depth²)
    regret   = 10 cold starts, at least idle_s, at most 30 min
    depth    = 1 − least load in the gap / k: how much of the fleet would have been missed; shallow gaps are noise

Before anything was learned one made-up gap stands for all: short where the load fell a little (it will come back a
little), long where it fell far (it may rise as far): shortest + (first − shortest) · depth³. Gaps of the levels beside
k count for k, the last 20 of each. The trade-off: what never happened is not known, and a day's rhythm is
learned only by its gaps; the forecast is there for that.
"""

import bisect
import itertools
from collections import deque

_REGRET_STARTS, _LONGEST_S = 10.0, 1800.0
_FIRST_LEAST_S = 300.0
_SHORTEST_STARTS, _SHORTEST_LEAST_S = 0.5, 30.0
_DEPTH_POWER, _FIRST_POWER = 2.0, 3.0
_MOST_GAPS = 20


class _Level:
    """When the load last needed so many, the least of it since (in replicas), and the gaps before: (seconds, depth)."""

    __slots__ = ("gaps", "least", "up_at")

    def __init__(self, now: float) -> None:
        self.up_at = now
        self.least = float("inf")
        self.gaps: deque[tuple[float, float]] = deque(maxlen=_MOST_GAPS)


class Keeper:
    """Levels 1 … num_max, as they are first needed; bounded. Times ascend."""

    def __init__(self, cold_start_s: float, idle_s: float) -> None:
        self.regret_s = min(max(_REGRET_STARTS * cold_start_s, idle_s), _LONGEST_S)
        self.first_s = min(max(_REGRET_STARTS * cold_start_s, _FIRST_LEAST_S), self.regret_s)
        self.shortest_s = min(max(_SHORTEST_STARTS * cold_start_s, _SHORTEST_LEAST_S), self.regret_s)
        self._levels: list[_Level] = []

    def see(self, now: float, need: float, num_needed: int, num_there: int) -> None:
        """need: the load in replicas' worth; num_needed: of them, whole and within bounds; num_there: replicas."""
        levels = self._levels
        if not levels:  # whoever is there at first was wanted by somebody
            levels.extend(_Level(now) for _ in range(num_there))
        for k, level in enumerate(levels[:num_needed], 1):
            if level.least < float("inf"):
                level.gaps.append((now - level.up_at, max(0.0, 1.0 - level.least / k)))
                level.least = float("inf")
            level.up_at = now
        levels.extend(_Level(now) for _ in range(num_needed - len(levels)))
        for level in levels[num_needed:]:
            level.least = min(level.least, need)

    def keep(self, now: float, need: float, num_needed: int, num_there: int) -> int:
        """Replicas of `num_there` that are worth keeping; at least num_needed, where so many are there."""
        for k in range(min(num_there, len(self._levels)), num_needed, -1):
            level = self._levels[k - 1]
            if now - level.up_at <= self.hold_s(k, max(0.0, 1.0 - min(need, level.least) / k)):
                return k
        return min(num_needed, num_there)

    def hold_s(self, k: int, depth: float) -> float:
        """Seconds that replica k is kept after it was last needed; depth: of the gap it is in."""
        first_s: float = self.shortest_s + (self.first_s - self.shortest_s) * depth**_FIRST_POWER
        known = [gap for level in self._levels[max(0, k - 2) : k + 1] for gap in level.gaps]
        if not known:
            return first_s
        gaps = sorted([*known, (first_s, depth)])
        lengths = [length for length, _ in gaps]
        costs = list(itertools.accumulate(lengths, initial=0.0))
        regrets = list(itertools.accumulate((depth**_DEPTH_POWER for _, depth in gaps), initial=0.0))
        best_s, best_cost = 0.0, float("inf")
        for hold_s in [0.0, *(length for length in lengths if length <= self.regret_s)]:
            within = bisect.bisect_right(lengths, hold_s)
            cost = costs[within] + (len(gaps) - within) * hold_s + self.regret_s * (regrets[-1] - regrets[within])
            if cost < best_cost - 1e-9:
                best_s, best_cost = hold_s, cost
        return max(best_s, self.shortest_s)
