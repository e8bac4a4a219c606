"""How fast places come free while requests wait, and when those that were turned away may come back.

What is measured is the pool as it is, whatever limits it (prompts, KV cache, slots): requests sent per second of time
in which somebody waited, as decayed sums. Whoever is turned away is told a time at which the queue ahead should be
served, after those that were told so before: coming back all at once they would be turned away again.
"""

import heapq
import math

_REMEMBERS_S = 20.0
"""Of time in which somebody waited."""
_FEWEST, _SHORTEST_S = 4.0, 0.5
"""Requests and seconds before a rate is believed."""
_MOST_PROMISED = 100_000
LONGEST_RETRY_S = 600.0
SHORTEST_RETRY_S = 0.05


class Pace:
    """One per router. Times ascend."""

    __slots__ = ("_at", "_num", "_promised", "_waited_s")

    def __init__(self) -> None:
        self._num = self._waited_s = self._at = 0.0
        self._promised: list[float] = []

    def observe(self, now: float, num_waiting: int, num_sent: int) -> None:
        """Since the last call `num_sent` requests were sent while `num_waiting` (0 = none, or only those that are held
        for one replica) waited for any place."""
        passed_s, self._at = now - self._at, now
        if num_waiting <= 0 or passed_s < 0.0:
            return
        keep = math.exp(-passed_s / _REMEMBERS_S)
        self._num = self._num * keep + num_sent
        self._waited_s = self._waited_s * keep + passed_s

    @property
    def per_second(self) -> float:
        """Requests sent per second of waiting; 0 = not known."""
        if self._num < _FEWEST or self._waited_s < _SHORTEST_S:
            return 0.0
        return self._num / self._waited_s

    def wait_s(self, num_before: int) -> float:
        """Seconds until those before have been sent; 0 where the rate is not known."""
        rate = self.per_second
        return num_before / rate if rate else 0.0

    def promise(self, now: float, wait_s: float, patience_s: float, guess: float) -> float:
        """After how many seconds somebody who would wait `wait_s` and has `patience_s` should come back; counted, so
        that the next is told a later time. guess: a rate to go by while none is known, above 0."""
        promised = self._promised
        while promised and promised[0] <= now:
            heapq.heappop(promised)
        turn_s = (len(promised) + 1) / (self.per_second or guess)
        retry_s = min(LONGEST_RETRY_S, max(SHORTEST_RETRY_S, wait_s - patience_s, 0.0) + turn_s)
        if len(promised) < _MOST_PROMISED:
            heapq.heappush(promised, now + retry_s)
        return retry_s
