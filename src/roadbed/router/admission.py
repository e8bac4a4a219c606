"""Requests waiting for a replica: bounded, ordered by priority, size and deadline, and no one starves.

Time is cut into steps of AGEING_S. A request's level is its arrival step, put off by its size, plus its priority, and
lower levels go first: so priority 1 overtakes priority 9 only when it arrived less than eight steps later. A deadline
of its own limits how far its size puts it off. Levels never change while waiting, which is what lets a plain heap keep
the order.
"""

import heapq
from collections.abc import Iterator

from roadbed.router.base import Features

AGEING_S = 2.0
"""Waiting this long is worth one priority."""

SIZE_WEIGHT = 20.0
"""A second of prefill waits like so many seconds of having come later: short prompts pass long ones, for a while."""


_NONE: frozenset[int] = frozenset()


class Waiting:
    """A request in the queue.

    tried: slots that failed it already. num_passed: how often someone behind it was taken first. sequence: order of
    first arrival in the queue, kept when the queue puts it back; 0 = it never was in the queue. held_for: the slot it
    waits for in particular, −1 = any; held_tokens: what it will have to compute there. cost_s: seconds of prefill it
    is expected to take; set before it is queued, never changed in there. last_call: its deadline, where `deadline` is
    only when it stops waiting for a gap.
    """

    __slots__ = (
        "arrived_at",
        "cost_s",
        "deadline",
        "features",
        "held_for",
        "held_tokens",
        "last_call",
        "num_passed",
        "sequence",
        "tried",
    )

    def __init__(self, features: Features, arrived_at: float, deadline: float) -> None:
        self.features = features
        self.arrived_at = arrived_at
        self.deadline = self.last_call = deadline
        self.cost_s = 0.0
        self.tried: frozenset[int] = _NONE
        self.num_passed = 0
        self.sequence = 0
        self.held_for = -1
        self.held_tokens = 0

    def level(self) -> int:
        turn_at = self.arrived_at + SIZE_WEIGHT * self.cost_s
        if self.features.deadline is not None:
            turn_at = max(self.arrived_at, min(turn_at, self.features.deadline - self.cost_s - AGEING_S))
        return int(turn_at // AGEING_S) + self.features.priority


class WaitQueue:
    """At most `max_queue` requests; removal is lazy, so heaps hold up to twice the live ones."""

    def __init__(self, max_queue: int) -> None:
        self.max_queue = max_queue
        self._live: dict[str, tuple[Waiting, int]] = {}
        self._levels: dict[int, int] = {}
        self._order: list[tuple[int, float, int, str]] = []
        self._deadlines: list[tuple[float, int, str]] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._live

    @property
    def full(self) -> bool:
        return len(self._live) >= self.max_queue

    def push(self, waiting: Waiting) -> None:
        """Raises ValueError when full or the id waits already: the caller decides whom to shed."""
        request_id = waiting.features.request_id
        if self.full or request_id in self._live:
            raise ValueError(f"cannot queue {request_id}: the queue is full or has it")
        if not waiting.sequence:
            self._sequence += 1
            waiting.sequence = self._sequence
        sequence = waiting.sequence
        self._live[request_id] = (waiting, sequence)
        level = waiting.level()
        self._levels[level] = self._levels.get(level, 0) + 1
        heapq.heappush(self._order, (level, waiting.deadline, sequence, request_id))
        heapq.heappush(self._deadlines, (waiting.deadline, sequence, request_id))
        if len(self._order) > 2 * len(self._live) + 64:
            self._compact()

    def pop(self) -> Waiting | None:
        """Takes out the first."""
        while self._order:
            _, _, sequence, request_id = heapq.heappop(self._order)
            if self._is_live(request_id, sequence):
                return self._taken(request_id)
        return None

    def pop_level(self, num: int) -> list[Waiting]:
        """Takes out the first, and up to `num` − 1 more of its level, in order."""
        first = self.pop()
        if first is None:
            return []
        taken = [first]
        level = first.level()
        while len(taken) < num and self._order:
            if self._order[0][0] != level:
                break
            _, _, sequence, request_id = heapq.heappop(self._order)
            if self._is_live(request_id, sequence):
                taken.append(self._taken(request_id))
        return taken

    def remove(self, request_id: str) -> Waiting | None:
        """Takes out one by id; None when it does not wait."""
        return self._taken(request_id) if request_id in self._live else None

    def expire(self, now: float) -> Iterator[Waiting]:
        """Takes out everyone whose deadline has come."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, sequence, request_id = heapq.heappop(self._deadlines)
            if self._is_live(request_id, sequence):
                yield self._taken(request_id)

    def num_before(self, level: int) -> int:
        """How many go before a newcomer of this level. O(distinct levels): some tens, a few hundred at worst."""
        return sum([num for other, num in self._levels.items() if other <= level])

    def last(self) -> Waiting | None:
        """Who would go last; O(n), asked only when the queue is full."""
        if not self._live:
            return None
        return max(self._live.values(), key=lambda entry: (entry[0].level(), entry[0].deadline, entry[1]))[0]

    def _taken(self, request_id: str) -> Waiting:
        waiting, _ = self._live.pop(request_id)
        level = waiting.level()
        left = self._levels[level] - 1
        if left:
            self._levels[level] = left
        else:
            del self._levels[level]
        return waiting

    def _is_live(self, request_id: str, sequence: int) -> bool:
        found = self._live.get(request_id)
        return found is not None and found[1] == sequence

    def _compact(self) -> None:
        self._order = [entry for entry in self._order if self._is_live(entry[3], entry[2])]
        self._deadlines = [entry for entry in self._deadlines if self._is_live(entry[2], entry[1])]
        heapq.heapify(self._order)
        heapq.heapify(self._deadlines)
