"""The order of events is total and the same every time; simpy agrees on a whole random process."""

import math
import random
import time
from collections.abc import Generator

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from roadbed.twin.kernel import Handle, Kernel

TIMES = st.floats(0, 1e6, allow_nan=False)


@given(st.lists(st.tuples(TIMES, st.integers(-2, 2))))
def test_order_is_time_then_priority_then_scheduling(events: list[tuple[float, int]]) -> None:
    kernel, seen = Kernel(), []
    for at, (time_s, priority) in enumerate(events):
        kernel.at(time_s, lambda at=at: seen.append((kernel.now, at)), priority)  # type: ignore[misc]
    assert kernel.run() == len(events)
    wanted = sorted(range(len(events)), key=lambda at: (events[at][0], events[at][1], at))
    assert seen == [(events[at][0], at) for at in wanted]


@given(st.lists(TIMES, max_size=30), st.sets(st.integers(0, 29)), TIMES)
def test_cancelled_events_never_happen_and_until_is_inclusive(times: list[float], gone: set[int], until: float) -> None:
    kernel, seen = Kernel(), []
    handles = [kernel.at(t, lambda at=at: seen.append(at)) for at, t in enumerate(times)]  # type: ignore[misc]
    for at in gone & set(range(len(times))):
        assert kernel.cancel(handles[at])
        assert not kernel.cancel(handles[at])
    left = [at for at in range(len(times)) if at not in gone]
    assert kernel.next_s() == min((times[at] for at in left), default=math.inf)
    kernel.run(until)
    assert sorted(seen) == [at for at in left if times[at] <= until]
    assert kernel.now == until
    kernel.run()
    assert sorted(seen) == left
    assert not any(kernel.cancel(handle) for handle in handles)


def test_events_may_schedule_at_their_own_time() -> None:
    kernel, seen = Kernel(5.0), []

    def again() -> None:
        seen.append(kernel.now)
        if len(seen) < 3:
            kernel.after(0.0, again)

    kernel.at(7.0, again)
    kernel.at(7.0, lambda: seen.append(-1.0))
    kernel.run()
    assert seen == [7.0, -1.0, 7.0]


@pytest.mark.parametrize("wrong", [4.999, -math.inf, math.nan])
def test_the_past_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="already"):
        Kernel(5.0).at(wrong, lambda: None)


def test_stop_leaves_the_rest_and_errors_pass_through() -> None:
    kernel, seen = Kernel(), []

    def fail() -> None:
        raise RuntimeError("of the action")

    kernel.at(1, kernel.stop)
    kernel.at(2, fail)
    kernel.at(3, lambda: seen.append(kernel.now))
    assert kernel.run(10) == 1
    assert kernel.now == 1
    with pytest.raises(RuntimeError, match="of the action"):
        kernel.run()
    assert kernel.run() == 1
    assert (seen, kernel.num_handled) == ([3], 3)


class Station:
    """The same M/G/2 queue with customers that give up, on our kernel."""

    def __init__(self, seed: int, num: int) -> None:
        self.kernel, self.rng, self.log = Kernel(), random.Random(seed), list[tuple[float, str, int]]()
        self.free, self.line = 2, list[tuple[int, float, Handle]]()
        self.num = num
        self.kernel.at(0.0, lambda: self.arrive(0))

    def arrive(self, who: int) -> None:
        patience, service = self.rng.expovariate(0.3), self.rng.uniform(0.5, 3.0)
        gap = self.rng.expovariate(1.0)
        self.log.append((self.kernel.now, "arrive", who))
        if self.free:
            self.free -= 1
            self.kernel.after(service, lambda: self.leave(who))
        else:
            self.line.append((who, service, self.kernel.after(patience, lambda: self.give_up(who))))
        if who + 1 < self.num:
            self.kernel.after(gap, lambda: self.arrive(who + 1))

    def leave(self, who: int) -> None:
        self.log.append((self.kernel.now, "leave", who))
        if self.line:
            following, service, timer = self.line.pop(0)
            self.kernel.cancel(timer)
            self.kernel.after(service, lambda: self.leave(following))
        else:
            self.free += 1

    def give_up(self, who: int) -> None:
        self.log.append((self.kernel.now, "give up", who))
        self.line = [each for each in self.line if each[0] != who]


def station_in_simpy(seed: int, num: int) -> list[tuple[float, str, int]]:
    env, rng, log = simpy.Environment(), random.Random(seed), list[tuple[float, str, int]]()
    servers = simpy.Resource(env, 2)

    def customer(who: int, patience: float, service: float) -> Generator[simpy.Event, object, None]:
        log.append((env.now, "arrive", who))
        with servers.request() as turn:
            yield turn | env.timeout(patience)
            if not turn.triggered:
                log.append((env.now, "give up", who))
                return
            yield env.timeout(service)
            log.append((env.now, "leave", who))

    def source() -> Generator[simpy.Event, object, None]:
        for who in range(num):
            patience, service, gap = rng.expovariate(0.3), rng.uniform(0.5, 3.0), rng.expovariate(1.0)
            env.process(customer(who, patience, service))
            yield env.timeout(gap)

    env.process(source())
    env.run()
    return log


@pytest.mark.parametrize("seed", range(5))
def test_simpy_tells_the_same_story(seed: int) -> None:
    station = Station(seed, 300)
    station.kernel.run()
    theirs = station_in_simpy(seed, 300)
    assert len(station.log) == len(theirs) == 600
    for ours, other in zip(station.log, theirs, strict=True):
        assert ours[1:] == other[1:]
        assert ours[0] == pytest.approx(other[0], abs=1e-9)


def test_it_is_cheap() -> None:
    """Half a million events a second on a quiet machine; a tenth of that, in CPU time, is what no noise explains."""
    kernel, left = Kernel(), [100_000]

    def again() -> None:
        left[0] -= 1
        if left[0] > 0:
            kernel.after(1.0, again)

    for _ in range(10):
        kernel.at(0.0, again)
    began = time.process_time()
    num = kernel.run()
    assert num / (time.process_time() - began) > 50_000
