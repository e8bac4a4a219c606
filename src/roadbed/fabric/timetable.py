"""When things are due: starts, drains and arrivals of flows, in order of time.

A drain is only a forecast: whenever a flow's rate changes, a new one is written and the old one, told by its version,
is skipped when its time comes. Flows that are due at the same moment share one entry of the queue, so a thousand equal
flows cost one event, not a thousand.
"""

import bisect
import heapq
import itertools
import math

import numpy as np
import numpy.typing as npt

from roadbed.errors import UsageError
from roadbed.fabric.base import Floats, Ints

SAME_S = 1e-12
"""Events closer than a picosecond happen together."""
_LEAST = 1024

Wide = npt.NDArray[np.int64]


class Timetable:
    """Flows by number, in the order of `add`. All arrays are longer than `num`; what lies beyond is spare."""

    def __init__(self) -> None:
        self.num = 0
        self.size = np.zeros(_LEAST)
        """Bytes of one member."""
        self.left = np.zeros(_LEAST)
        self.rate = np.zeros(_LEAST)
        self.latency_s = np.zeros(_LEAST)
        self.delay_s = np.zeros(_LEAST)
        self.start_s = np.zeros(_LEAST)
        self.finish_s = np.zeros(_LEAST)
        self.program = np.zeros(_LEAST, np.int32)
        self.number = np.zeros(_LEAST, np.int64)
        """A flow's number among those of its program."""
        self.session = np.zeros(_LEAST, np.int64)
        """Its session in `Fluid`."""
        self.drained = np.zeros(_LEAST, bool)
        self._since = np.zeros(_LEAST)
        self._version = np.zeros(_LEAST, np.int64)
        self._waits = np.zeros(_LEAST, np.int64)
        """How many flows it still waits for; −1 once it has arrived itself."""
        self._flow_of = np.zeros(_LEAST, np.int64)
        self._batches: dict[int, tuple[list[int], list[int]]] = {}
        """Program → of each batch, its own number of the first flow, and that flow."""
        self._followers: dict[int, list[int]] = {}
        self._starts: list[tuple[float, int, Wide]] = []
        self._drains: list[tuple[float, int, Wide, Wide]] = []
        self._arrivals: list[tuple[float, int, Wide]] = []
        self._order = itertools.count()
        self._program_size: dict[int, int] = {}

    # flows

    def add(
        self, session: int, size: Floats, latency_s: Floats, delay_s: Floats, after: tuple[Ints, Ints], program: int,
        now_s: float,
    ) -> None:  # fmt: skip
        """Flows with sessions from `session` on. UsageError where one waits for itself or a later one."""
        first, num = self.num, len(size)
        own = self._program_size.get(program, 0)
        after_start, waited = after
        limits = np.repeat(np.arange(own, own + num), np.diff(after_start))
        if len(waited) and (waited.min() < 0 or (waited >= limits).any()):
            at = int(np.flatnonzero((waited < 0) | (waited >= limits))[0])
            raise UsageError(f"flow {limits[at]} waits for {waited[at]}, which is not before it", field="after")
        self._reserve(first + num, session + num)
        new = slice(first, first + num)
        self.size[new] = self.left[new] = size
        self.latency_s[new], self.delay_s[new], self.program[new] = latency_s, delay_s, program
        self.number[new] = np.arange(own, own + num)
        self.session[new] = np.arange(session, session + num)
        self._flow_of[session : session + num] = np.arange(first, first + num)
        self.start_s[new] = self.finish_s[new] = math.inf
        bases, flows = self._batches.setdefault(program, ([], []))
        bases.append(own)
        flows.append(first)
        self._program_size[program] = own + num
        self.num += num
        self._wait(first, after_start, waited, program)
        free = first + np.flatnonzero(self._waits[new] == 0)
        self._push_starts(free, now_s + self.delay_s[free])

    def _wait(self, first: int, after_start: Ints, waited: Ints, program: int) -> None:
        """Counts what flows wait for, and whom each releases."""
        bases, flows = self._batches[program]
        owner = first + np.repeat(np.arange(len(after_start) - 1), np.diff(after_start))
        for flow, number in zip(owner.tolist(), waited.tolist(), strict=True):
            batch = bisect.bisect_right(bases, number) - 1
            whom = flows[batch] + number - bases[batch]
            if self._waits[whom] >= 0:
                self._followers.setdefault(whom, []).append(flow)
                self._waits[flow] += 1

    def flow_of(self, sessions: Wide) -> Wide:
        """The flow of each session."""
        found: Wide = self._flow_of[sessions]
        return found

    def undrained(self) -> Wide:
        """All flows that have something left to send, ascending."""
        return np.flatnonzero(~self.drained[: self.num])

    def move(self, flows: Wide, session: int, latency_s: Floats) -> None:
        """These have new sessions, numbered from `session` on."""
        self._reserve(self.num, session + len(flows))
        self.session[flows] = np.arange(session, session + len(flows))
        self._flow_of[session : session + len(flows)] = flows
        self.latency_s[flows] = latency_s

    # time

    def next_s(self) -> float:
        """When something may be due next; inf for never."""
        return min((queue[0][0] for queue in (self._starts, self._drains, self._arrivals) if queue), default=math.inf)

    def set_rates(self, flows: Wide, rate: Floats, now_s: float) -> None:
        """These send at other rates from now on; forecasts their drains."""
        self._progress(flows, now_s)
        self.rate[flows] = rate
        self._version[flows] += 1
        with np.errstate(divide="ignore"):
            due = np.where(rate > 0, now_s + self.left[flows] / rate, math.inf)
        for when, some in _together(due, flows):
            if when < math.inf:
                heapq.heappush(self._drains, (when, next(self._order), some, self._version[some]))

    def _progress(self, flows: Wide, now_s: float) -> None:
        past = now_s - self._since[flows]
        moved = np.zeros(len(flows))
        np.multiply(self.rate[flows], past, out=moved, where=past > 0)
        self.left[flows] = np.maximum(self.left[flows] - moved, 0.0)
        self._since[flows] = now_s

    def drains(self, now_s: float) -> Wide:
        """Flows whose last byte leaves now. Their arrivals are put on the table."""
        parts = [np.zeros(0, np.int64)]
        while self._drains and self._drains[0][0] <= now_s + SAME_S:
            _, _, flows, version = heapq.heappop(self._drains)
            parts.append(flows[(self._version[flows] == version) & ~self.drained[flows]])
        found = np.sort(np.concatenate(parts))
        if len(found):
            self.left[found] = 0.0
            self.rate[found] = 0.0
            self.drained[found] = True
            self.finish_s[found] = now_s + self.latency_s[found]
            for when, some in _together(self.finish_s[found], found):
                heapq.heappush(self._arrivals, (when, next(self._order), some))
        return found

    def arrivals(self, now_s: float) -> Wide:
        """Flows whose last byte arrives now. Puts the starts of who waited for them on the table."""
        parts = [np.zeros(0, np.int64)]
        while self._arrivals and self._arrivals[0][0] <= now_s + SAME_S:
            parts.append(heapq.heappop(self._arrivals)[2])
        found = np.sort(np.concatenate(parts))
        self._waits[found] = -1
        ready = []
        for flow in found.tolist():
            for follower in self._followers.pop(flow, ()):
                self._waits[follower] -= 1
                if self._waits[follower] == 0:
                    ready.append(follower)
        free = np.array(sorted(ready), np.int64)
        self._push_starts(free, now_s + self.delay_s[free])
        return found

    def starts(self, now_s: float) -> Wide:
        """Flows that begin to send now."""
        parts = [np.zeros(0, np.int64)]
        while self._starts and self._starts[0][0] <= now_s + SAME_S:
            parts.append(heapq.heappop(self._starts)[2])
        found = np.sort(np.concatenate(parts))
        self.start_s[found] = now_s
        self._since[found] = now_s
        return found

    def _push_starts(self, flows: Wide, when: Floats) -> None:
        for at, some in _together(when, flows):
            heapq.heappush(self._starts, (at, next(self._order), some))

    def close(self, now_s: float) -> None:
        """Brings what is left of all flows up to the end; arrivals after it did not happen."""
        sending = np.flatnonzero(self.rate[: self.num] > 0)
        self._progress(sending, now_s)
        late = np.flatnonzero(self.finish_s[: self.num] > now_s + SAME_S)
        self.finish_s[late] = math.inf

    def _reserve(self, num: int, sessions: int) -> None:
        for name, wanted in (("_flow_of", sessions), *((name, num) for name in _PER_FLOW)):
            array = getattr(self, name)
            if wanted > len(array):
                longer = np.zeros(max(wanted, 2 * len(array)), array.dtype)
                longer[: len(array)] = array
                setattr(self, name, longer)


_PER_FLOW = (
    "size", "left", "rate", "latency_s", "delay_s", "start_s", "finish_s", "program", "number", "session", "drained",
    "_since", "_version", "_waits",
)  # fmt: skip


def _together(when: Floats, flows: Wide) -> list[tuple[float, Wide]]:
    """Flows by their moment."""
    if len(flows) == 1:
        return [(float(when[0]), flows)]
    times, which = np.unique(when, return_inverse=True)
    if len(times) == 1:
        return [(float(times[0]), flows)]
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(times) + 1))
    return [(float(at), flows[order[bounds[i] : bounds[i + 1]]]) for i, at in enumerate(times.tolist())]
