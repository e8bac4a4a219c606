"""What happens over time: flows start, share links, drain, and are delivered; others wait for them; links break.

A fluid model: between two events every rate is constant, so time jumps from event to event and nothing is sampled. An
event (start, drain, fault, new paths) re-solves only what it touches (`fluid`). A flow occupies its links from start to
drain; its last byte arrives one path latency later, and only then do those who wait for it go on. Packets, retransmits
and the way congestion control gets to its fair share are not modelled; how much of a port's buffer it takes meanwhile
is estimated from the overrun (`peak_queue_bytes`).

Deterministic: no clock, no chance, equal times in a fixed order. Who loops (compute, communicate, compute …) is a
`Program`: it is told what was delivered and answers with more flows.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Floats, Health, Ints, Kind
from roadbed.fabric.faults import Event
from roadbed.fabric.fluid import Fluid
from roadbed.fabric.maxmin import Sessions
from roadbed.fabric.paths import Paths
from roadbed.fabric.timetable import Timetable

MAX_BYTES = 1e18
"""Larger flows are taken for a mistake in units."""

Wide = npt.NDArray[np.int64]


class Flows(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions with something to send. All arrays [F] but `after`, a CSR."""

    sessions: Sessions
    size_bytes: Floats
    """Of one member."""
    latency_s: Floats
    """From the last byte's leaving to its arrival, and to the first's."""
    delay_s: Floats
    """From being handed over, or from the arrival of the last flow it waits for, to the start."""
    after_start: Ints
    """[F + 1]"""
    after: Ints
    """Flows each waits for, counted over all flows handed over by the same program; earlier ones only."""

    @classmethod
    def of(
        cls,
        sessions: Sessions,
        size_bytes: npt.ArrayLike,
        *,
        latency_s: npt.ArrayLike = 0.0,
        delay_s: npt.ArrayLike = 0.0,
        after: Sequence[Sequence[int]] | None = None,
    ) -> "Flows":
        """Scalars hold for all. after[f]: what flow f waits for."""
        num = len(sessions)
        size, latency, delay = (
            np.broadcast_to(np.asarray(value, np.float64), (num,)) for value in (size_bytes, latency_s, delay_s)
        )
        waits = after if after is not None else [()] * num
        return cls(
            sessions=sessions, size_bytes=size, latency_s=latency, delay_s=delay,
            after_start=np.cumsum([0, *map(len, waits)], dtype=np.int32),
            after=np.array([one for some in waits for one in some], np.int32),
        )  # fmt: skip

    @classmethod
    def along(cls, paths: Paths, size_bytes: npt.ArrayLike, *, delay_s: npt.ArrayLike = 0.0) -> "Flows":
        """One flow per connection. UsageError names a connection that has no way: `Paths.lost`."""
        if len(paths.lost):
            raise UsageError(f"connection {paths.lost[0]} has no working way", field="paths")
        sessions = Sessions.of(paths.start, paths.link, paths.share)
        return cls.of(sessions, size_bytes, latency_s=paths.latency_s, delay_s=delay_s)

    def __len__(self) -> int:
        return len(self.sessions)


class Program(Protocol):
    """Makes flows as it goes. Its flows are numbered 0, 1, … in the order it hands them over."""

    def next(self, now_s: float, finished: Wide) -> Flows | None:
        """Called at 0 with nothing, and whenever flows of its own were delivered. More flows, or None."""


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """New links for flows under way."""

    flows: Wide
    """Numbers over all flows of the simulation, ascending."""
    sessions: Sessions
    latency_s: Floats


class Rerouter(Protocol):
    """Finds new ways when the switches have agreed on new routes."""

    def reroute(self, now_s: float, health: Health, flows: Wide) -> Moves | None:
        """flows: all that are not drained. Who is not moved stays where it is, however dead that is."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What happened. Flows [F] in the order handed over, all programs together; those given first, first."""

    start_s: Floats
    """inf where it did not."""
    finish_s: Floats
    """Arrival of its last byte; inf where that did not happen before the end."""
    sent_bytes: Floats
    """Of one member, by the end."""
    program: Ints
    """Who made it: −1 the flows given first, else the number of the program."""
    link_bytes: Floats
    """[L]"""
    link_busy_s: Floats
    """[L] While anyone wanted to send over it."""
    peak_queue_bytes: Floats
    """[L] Estimate: overrun of the port during one reaction time of congestion control."""
    end_s: float
    num_events: int
    """Starts, drains, arrivals, faults and moves of flows."""
    num_solved: int
    """Sessions whose rate was computed, all solutions together."""
    rates: list[tuple[float, Wide, Floats]]
    """With watch=True, every change: (time, flows, their new member rates in bytes/s)."""

    stalls: list[tuple[float, int]]
    """Every change of how many flows want to send and can't at all: (time, how many from then on)."""

    def throughput(self, edges: Floats, weight: Floats | None = None) -> Floats:
        """[len(edges) − 1] Mean bytes/s between times: member rates times weight [F], 1 by default. Needs watch."""
        factor = np.ones(len(self.start_s)) if weight is None else weight
        times, deltas, last = [0.0], [0.0], np.zeros(len(factor))
        for when, flows, rate in self.rates:
            times.append(when)
            deltas.append(float(((rate - last[flows]) * factor[flows]).sum()))
            last[flows] = rate
        at, level = np.array(times), np.cumsum(deltas)
        moved = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(at))])
        nearest = np.searchsorted(at, edges, side="right") - 1
        total = moved[nearest] + level[nearest] * (edges - at[nearest])
        mean: Floats = np.diff(total) / np.diff(edges)
        return mean

    def stalled_s(self) -> tuple[float, float]:
        """(seconds in which anybody was stalled, the longest stretch of them)."""
        stretches, since = [0.0], -1.0
        for when, num in [*self.stalls, (self.end_s, 0)]:
            if num and since < 0:
                since = when
            elif not num and since >= 0:
                stretches.append(when - since)
                since = -1.0
        return sum(stretches), max(stretches)


def simulate(
    fabric: Fabric,
    flows: Flows | None = None,
    *,
    programs: Sequence[Program] = (),
    events: Sequence[Event] = (),
    rerouter: Rerouter | None = None,
    capacity: Floats | None = None,
    health: Health | None = None,
    until_s: float = math.inf,
    watch: bool = False,
    tolerance: float = 1e-9,
) -> Outcome:
    """Runs until everything is delivered, nothing can move any more, or until_s.

    capacity: what links carry for us, bytes/s, nominal by default; health: what is broken at 0; events: what breaks and
    heals later. Programs that never end need until_s. UsageError names a size, delay, count or link out of range.
    """
    if not until_s > 0:
        raise UsageError(f"until_s is {until_s}: nothing can happen before that", field="until_s")
    run = _Run(fabric, capacity if capacity is not None else fabric.capacity, health, rerouter, watch, tolerance)
    if flows is not None:
        run.hand_over(flows, -1, 0.0)
    run.programs = list(programs)
    return run.to_end(sorted(events, key=lambda event: event.at_s), until_s)


class _Run:
    """A simulation under way."""

    def __init__(
        self, fabric: Fabric, capacity: Floats, health: Health | None, rerouter: Rerouter | None, watch: bool,
        tolerance: float,
    ) -> None:  # fmt: skip
        self.fabric, self.rerouter, self.watch = fabric, rerouter, watch
        self.nominal = capacity
        self.health = health.copy() if health is not None else Health.of(fabric)
        links = np.arange(fabric.num_links, dtype=np.int32)
        hosts = np.isin(fabric.kind[fabric.src], [Kind.GPU, Kind.NIC])
        self.fluid = Fluid(self._carries(links), hosts, tolerance)
        self.table = Timetable()
        self.programs: list[Program] = []
        self.num_events = 0
        self.rates: list[tuple[float, Wide, Floats]] = []
        self.stalls: list[tuple[float, int]] = []
        self._stalled: set[int] = set()

    def _carries(self, links: Ints) -> Floats:
        fabric, health = self.fabric, self.health
        part = health.capacity[links] / np.maximum(fabric.capacity[links], 1e-300)
        return np.where(health.link_up[links], self.nominal[links] * part, 0.0)

    def hand_over(self, flows: Flows, program: int, now_s: float) -> None:
        """Takes flows in; those that wait for nobody are put on the timetable."""
        check(flows, self.fabric.num_links)
        first = self.fluid.register(flows.sessions)
        self.table.add(
            first, flows.size_bytes, flows.latency_s, flows.delay_s, (flows.after_start, flows.after), program, now_s
        )

    def to_end(self, faults: list[Event], until_s: float) -> Outcome:
        table = self.table
        for number in range(len(self.programs)):
            self._ask(number, 0.0, np.zeros(0, np.int64))
        at = 0
        now = 0.0
        while True:
            then = min(table.next_s(), faults[at].at_s if at < len(faults) else math.inf)
            if then > until_s or then == math.inf:
                break
            now = max(now, then)
            self._advance(now)  # who is done this very moment is not caught by what breaks in it
            while at < len(faults) and faults[at].at_s <= now:
                self._break(faults[at], now)
                at += 1
        end = until_s if math.isfinite(until_s) else now
        self.fluid.account(end)
        table.close(end)
        num = table.num
        return Outcome(
            start_s=table.start_s[:num], finish_s=table.finish_s[:num],
            sent_bytes=table.size[:num] - table.left[:num], program=table.program[:num],
            link_bytes=self.fluid.sent_bytes, link_busy_s=self.fluid.busy_s,
            peak_queue_bytes=self.fluid.peak_queue_bytes, end_s=end, num_events=self.num_events,
            num_solved=self.fluid.num_solved, rates=self.rates, stalls=self.stalls,
        )  # fmt: skip

    def _advance(self, now: float) -> None:
        """Everything that is due: drains, arrivals, what they set off, starts; then rates anew."""
        table, fluid = self.table, self.fluid
        drained = table.drains(now)
        if len(drained):
            fluid.end(table.session[drained], now)
            fluid.store.drop(table.session[drained])
            if self.watch:
                self.rates.append((now, drained, np.zeros(len(drained))))
        arrived = table.arrivals(now)
        for number in np.unique(table.program[arrived]).tolist():
            if number >= 0:
                mine = arrived[table.program[arrived] == number]
                self._ask(number, now, table.number[mine])
        started = table.starts(now)
        if len(started):
            fluid.begin(table.session[started], now)
        self.num_events += len(drained) + len(arrived) + len(started)
        self._settle(now)

    def _settle(self, now: float) -> None:
        sessions, _ = self.fluid.settle(now)
        if len(sessions) == 0:
            return
        flows, rate = self.table.flow_of(sessions), self.fluid.store.rate[sessions]
        self.table.set_rates(flows, rate, now)
        dead = flows[rate == 0].tolist()
        if dead or self._stalled:
            self._stalled.difference_update(flows.tolist())
            self._stalled.update(dead)
            self.stalls.append((now, len(self._stalled)))
        if self.watch:  # who crosses no link is done at once: no rate worth noting
            self.rates.append((now, flows, np.where(np.isfinite(rate), rate, 0.0)))

    def _ask(self, number: int, now: float, finished: Wide) -> None:
        more = self.programs[number].next(now, finished)
        if more is not None and len(more):
            self.hand_over(more, number, now)

    def _break(self, event: Event, now: float) -> None:
        """Links change; where the switches have agreed on new routes by now, flows move."""
        self.num_events += 1
        self.health.link_up[event.links] = event.up
        self.health.capacity[event.links] = self.fabric.capacity[event.links] * event.share
        self.fluid.set_capacity(event.links, self._carries(event.links), now)
        if event.converged and self.rerouter is not None:
            waiting = self.table.undrained()
            moves = self.rerouter.reroute(now, self.health, waiting)
            if moves is not None and len(moves.flows):
                self._move(moves, now)
        self._settle(now)

    def _move(self, moves: Moves, now: float) -> None:
        table, fluid = self.table, self.fluid
        old = table.session[moves.flows]
        sending = fluid.store.active[old]
        table.set_rates(moves.flows[sending], np.zeros(int(sending.sum())), now)
        fluid.end(old[sending], now)
        first = fluid.register(moves.sessions)
        table.move(moves.flows, first, moves.latency_s)
        fluid.store.drop(old)
        fluid.begin(table.session[moves.flows[sending]], now)
        self.num_events += len(moves.flows)


def check(flows: Flows, num_links: int) -> None:
    """UsageError naming the first field that can't be."""
    sessions = flows.sessions
    bounds: tuple[tuple[str, Floats, float, float, bool], ...] = (
        ("size_bytes", flows.size_bytes, 0.0, MAX_BYTES, True),
        ("latency_s", flows.latency_s, 0.0, 1e9, False),
        ("delay_s", flows.delay_s, 0.0, 1e12, False),
        ("count", sessions.count, 0.0, 1e15, True),
        ("cap", sessions.cap, 0.0, math.inf, False),
    )
    for name, values, low, high, above in bounds:
        good = (values > low if above else values >= low) & (values <= high)
        if not good.all():
            at = int(np.flatnonzero(~good)[0])
            raise UsageError(
                f"{name}[{at}] is {values[at]:g}; it must be {'more than' if above else 'at least'} {low:g} and at "
                f"most {high:g}",
                field=name,
            )
    if len(sessions.link) and not 0 <= int(sessions.link.min()) <= int(sessions.link.max()) < num_links:
        raise UsageError(f"link names one that is not among the fabric's {num_links:,}", field="link")
