"""The published rules, as baselines.

    hpa   ceil(n · value / target) where |value / target − 1| > 0.1; up at most to max(2 n, n + 4) per 15 s; down to the
          largest wish of the last 300 s. Source: Kubernetes, horizontal pod autoscaling.
    kpa   ceil(mean of 180 s / target); panic while ceil(mean of 60 s / target) ≥ 2 n: then never down. To zero after a
          stable window without load. Source: Knative KPA, with AIBrix's windows.
    apa   r = value per replica / target; up if r > 1.1: min(ceil(n r), ceil(2 n)); down if r < 0.9:
          max(ceil(n r), floor(n / 2)). Source: AIBrix, ApaScaler with its default tolerances.

Value per replica counts waiting requests, too: none of them looks at a gateway queue of its own.
"""

import math
from collections import deque

from roadbed.router.autoscale.base import Bounds, Load, Target, bounded, ceil

HPA_TOLERANCE = 0.1
HPA_DOWN_WINDOW_S = 300.0
HPA_UP_PERIOD_S = 15.0
KPA_STABLE_S, KPA_PANIC_S, KPA_PANIC_AT = 180.0, 60.0, 2.0
APA_TOLERANCE = 0.1
APA_MAX_RATE = 2.0


class Hpa:
    """Proportional, with a tolerance, a limit upwards and a window downwards."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._wishes: deque[tuple[float, int]] = deque()
        self._base: deque[tuple[float, int]] = deque()

    def decide(self, load: Load) -> Target:
        now, num = load.at, max(1, load.num_replicas)
        if not self._wishes:
            self._wishes.append((now, num))  # as Kubernetes does: what is there at first was once recommended
        ratio = (load.amount + load.num_waiting) / (num * self._bounds.target)
        wish = num if abs(ratio - 1.0) <= HPA_TOLERANCE + 1e-9 else ceil(num * ratio)
        self._base.append((now, num))
        while self._base[0][0] < now - HPA_UP_PERIOD_S:
            self._base.popleft()
        before = min(number for _, number in self._base)
        wish = min(wish, max(2 * before, before + 4))
        self._wishes.append((now, wish))
        while self._wishes[0][0] < now - HPA_DOWN_WINDOW_S:
            self._wishes.popleft()
        if wish < num:
            wish = min(num, max(number for _, number in self._wishes))
        return bounded(self._bounds, max(1, wish), "load" if wish != num else "steady")


class Kpa:
    """A long mean, and a short one for bursts."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._seen: deque[tuple[float, float]] = deque()
        self._panic_until = -math.inf
        self._panic_num = 0

    def decide(self, load: Load) -> Target:
        now, num = load.at, load.num_replicas
        self._seen.append((now, load.amount + load.num_waiting))
        while self._seen[0][0] <= now - KPA_STABLE_S:
            self._seen.popleft()
        stable = sum(value for _, value in self._seen) / len(self._seen)
        recent = [value for at, value in self._seen if at > now - KPA_PANIC_S]
        wish = ceil(stable / self._bounds.target)
        panic = ceil(sum(recent) / len(recent) / self._bounds.target)
        if panic >= KPA_PANIC_AT * max(1, num):
            self._panic_until = now + KPA_STABLE_S
        if now < self._panic_until:
            self._panic_num = max(self._panic_num, panic, num)
            return bounded(self._bounds, self._panic_num, "load")
        self._panic_num = 0
        return bounded(self._bounds, wish, "load" if wish != num else "steady")


class Apa:
    """Proportional with tolerances and rates both ways; no windows."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    def decide(self, load: Load) -> Target:
        num = max(1, load.num_replicas)
        ratio = (load.amount + load.num_waiting) / (num * self._bounds.target)
        if ratio > 1.0 + APA_TOLERANCE:
            wish = min(ceil(num * ratio), ceil(num * APA_MAX_RATE))
        elif ratio < 1.0 - APA_TOLERANCE:
            wish = max(ceil(num * ratio), math.floor(num / APA_MAX_RATE))
        else:
            wish = num
        return bounded(self._bounds, max(1, wish), "load" if wish != num else "steady")
