"""An inference service in the twin: a demand curve, an autoscaler, replicas that are jobs like any other.

The curve is a day of measured request rates, stretched to 24 hours, scaled to a peak in replicas and repeated with a
little noise of its own each day, so that a forecast is tested and not a table. The autoscaler asks for the load of now
plus `headroom`, every `step_s`; replicas take `ready_s` to be of use, are never preempted, and leave when they are not
needed. A request that arrives while the load is above what ready replicas carry violates its SLO: the violating share
is the area of load above them, over the area of the load.
"""

import math
import random
from pathlib import Path

import msgspec

from roadbed.scheduler.base import Gang, Job, Shape
from roadbed.scheduler.events import Demand
from roadbed.twin.serve_shape import read_parts
from roadbed.twin.world import Record, World

DAY_S = 86_400.0
_BINS = 144
_SMOOTH = 3  # bins to either side


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """peak: replicas the highest load needs; devices: of one replica. noise: standard deviation of the factor by which
    a day's load, and another by which each step's, differs from the curve."""

    name: str = "inference"
    peak: int
    devices: int = 1
    step_s: float = 120.0
    ready_s: float = 60.0
    headroom: float = 0.1
    noise: float = 0.03
    history_days: int = 2


def read_curve(path: Path) -> list[float]:
    """A day's shape from rows of (timestamp_anon, value): mean rate of each of 144 parts, smoothed, highest 1.0.

    Times are stretched so that the record covers one day. SpecError with the line for what makes no sense."""
    sums = read_parts(path, _BINS)
    around = range(-_SMOOTH, _SMOOTH + 1)
    smooth = [math.fsum(sums[(at + by) % _BINS] for by in around) for at in range(_BINS)]
    top = max(smooth)
    return [value / top for value in smooth]


class Load:
    """Replicas' worth of requests at any time: the curve, linear between its points, with seeded noise."""

    def __init__(self, curve: list[float], spec: ServiceSpec, seed: int) -> None:
        self.curve = curve
        self.spec = spec
        self.seed = seed

    def at(self, time_s: float) -> float:
        """0..peak. A function of time and seed alone, before time 0 too."""
        spec, curve = self.spec, self.curve
        at = (time_s % DAY_S) / DAY_S * len(curve)
        low = int(at) % len(curve)
        value = curve[low] + (curve[(low + 1) % len(curve)] - curve[low]) * (at - int(at))
        day = self._factor("day", math.floor(time_s / DAY_S))
        step = self._factor("step", math.floor(time_s / spec.step_s))
        return min(float(spec.peak), max(0.0, value * day * step * spec.peak))

    def _factor(self, what: str, number: int) -> float:
        return 1 + self.spec.noise * random.Random(f"{self.seed}/{what}/{number}").gauss(0, 1)


class Service:
    """Runs in a world from its start on. load_s, unmet_s: replica-seconds of requests, and of those beyond capacity."""

    def __init__(self, world: World, load: Load) -> None:
        self.world = world
        self.load = load
        self.spec = load.spec
        self.shape = Shape(num_devices=self.spec.devices)
        self.wanted: list[str] = []
        self.num_ready = 0
        self.load_s = self.unmet_s = 0.0
        self.curve: list[tuple[float, float, int]] = []  # (second, load, ready)
        self._number = 0
        self._counts_from_s = world.kernel.now + load.spec.ready_s + load.spec.step_s  # not of the cold start

    def start(self) -> None:
        """Tells the history, asks for the first replicas and comes back every step."""
        spec, now = self.spec, self.world.kernel.now
        steps = range(int(spec.history_days * DAY_S / spec.step_s), 0, -1)
        past = tuple((now - step * spec.step_s, float(self._need(now - step * spec.step_s))) for step in steps)
        self._step(past)

    def _need(self, time_s: float) -> int:
        spec = self.spec
        return min(spec.peak, max(1, math.ceil(self.load.at(time_s) * (1 + spec.headroom) - 1e-9)))

    def _step(self, past: tuple[tuple[float, float], ...] = ()) -> None:
        world, now = self.world, self.world.kernel.now
        need = self._need(now)
        world.tell(Demand(self.spec.name, need, self.shape, past))
        while len(self.wanted) < need:
            self._add()
        while len(self.wanted) > need:
            world.withdraw(self.wanted.pop())
        load = self.load.at(now)
        if now >= self._counts_from_s:
            self.load_s += load * self.spec.step_s
            self.unmet_s += max(0.0, load - self.num_ready) * self.spec.step_s
        self.curve.append((now, load, self.num_ready))
        world.kernel.after(self.spec.step_s, self._step, priority=-1)

    def _add(self) -> None:
        self._number += 1
        spec = self.spec
        job = Job(
            id=f"{spec.name}-{self._number:06d}", gang=Gang(shape=self.shape), quota=spec.name, priority=9,
            submit_s=self.world.kernel.now, preemptible=False,
        )  # fmt: skip
        if self.world.submit(Record(job, math.inf, spec.ready_s, self._changed)):
            self.wanted.append(job.id)

    def _changed(self, ready: bool) -> None:
        self.num_ready += 1 if ready else -1

    @property
    def violations(self) -> float:
        """Share of requests that found no ready replica with room for them."""
        return self.unmet_s / self.load_s if self.load_s else 0.0
