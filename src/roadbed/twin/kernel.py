"""Events in time: a heap whose order is total, so that a simulation is a function of its inputs and its seed.

Events are ordered by (time, priority, number of scheduling), which no two share: ties never depend on memory addresses
or hashing, and what was scheduled first among equals happens first. An entry is a plain list on the heap, and it is the
caller's handle: cancelling empties it in place and the loop skips it, which is cheaper than searching the heap. The
trade-off is that a cancelled event keeps its place in memory until its time comes.
"""

import heapq
import math
from collections.abc import Callable
from typing import Any

Action = Callable[[], None]
Handle = list[Any]
"""[time, priority, number, action or None]: opaque, good for `Kernel.cancel` alone."""


class Kernel:
    """now: the time of the event being handled, in seconds. Not thread safe: one loop, one owner."""

    __slots__ = ("_heap", "_number", "_stopped", "now", "num_handled")

    def __init__(self, start_s: float = 0.0) -> None:
        self.now = start_s
        self.num_handled = 0
        self._heap: list[Handle] = []
        self._number = 0
        self._stopped = False

    def at(self, time_s: float, action: Action, priority: int = 0) -> Handle:
        """Calls `action` at a time; a smaller priority goes first among equal times. ValueError for the past or nan."""
        if not time_s >= self.now:
            raise ValueError(f"an event at {time_s} s, and it is {self.now} s already")
        self._number += 1
        entry: Handle = [time_s, priority, self._number, action]
        heapq.heappush(self._heap, entry)
        return entry

    def after(self, delay_s: float, action: Action, priority: int = 0) -> Handle:
        """Calls `action` in so many seconds. ValueError for a delay below 0."""
        return self.at(self.now + delay_s, action, priority)

    def cancel(self, handle: Handle) -> bool:
        """The event will not happen. False if it has happened or was cancelled already. O(1)."""
        if handle[3] is None:
            return False
        handle[3] = None
        return True

    def stop(self) -> None:
        """`run` returns after the event being handled; what is left stays."""
        self._stopped = True

    def next_s(self) -> float:
        """Time of the next event, inf when there is none."""
        heap = self._heap
        while heap and heap[0][3] is None:
            heapq.heappop(heap)
        return float(heap[0][0]) if heap else math.inf

    def run(self, until_s: float = math.inf) -> int:
        """Handles events up to and including until_s; returns how many. `now` is then until_s, where it is finite.

        What an action raises passes through: the event counts as handled and the kernel can go on.
        """
        heap, pop = self._heap, heapq.heappop
        before = self.num_handled
        self._stopped = False
        while heap and not self._stopped:
            entry = heap[0]
            if entry[0] > until_s:
                break
            pop(heap)
            action = entry[3]
            if action is None:
                continue
            entry[3] = None
            self.now = entry[0]
            self.num_handled += 1
            action()
        if math.isfinite(until_s) and until_s > self.now and not self._stopped:
            self.now = until_s
        return self.num_handled - before
