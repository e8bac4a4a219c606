"""A fleet that changes while requests run: the autoscaler that runs live, and what it costs.

Every `interval_s` the very class of `router/autoscale` is asked. Replicas it adds answer after `cold_start_s`; those it
takes away get no new work, finish what they run and go, starting ones first, as nobody waits for them yet. A replica is
paid for from the decision to start it until it is gone.

The load it sees is the mean of requests in flight over the interval, looked at every `look_s`: as the control
plane does. What waits in the gateway is told apart, as of now; who waits at zero is decided about at once.
"""

from collections.abc import Callable

import msgspec

from roadbed.errors import UsageError
from roadbed.router.autoscale import AUTOSCALERS, Bounds, Load, create
from roadbed.twin.kernel import Handle, Kernel

MOST_REPLICAS = 10_000


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """How a fleet may change. num_start: replicas ready at time 0, −1 = num_min, but at least one. target: requests in
    flight per replica. look_s: between looks at the load. first_s: when it decides first, 0 = after one interval.
    UsageError for what can't be."""

    autoscaler: str
    num_min: int = 0
    num_max: int = 16
    target: float = 12.0
    cold_start_s: float = 90.0
    interval_s: float = 10.0
    idle_s: float = 600.0
    num_start: int = -1
    look_s: float = 1.0
    first_s: float = 0.0
    cost_cap_per_hour: float = 0.0

    def __post_init__(self) -> None:
        if self.autoscaler not in AUTOSCALERS:
            raise _wrong("autoscale", f"{self.autoscaler!r} is not one of {', '.join(AUTOSCALERS)}")
        if not 1 <= self.num_max <= MOST_REPLICAS:
            raise _wrong("max", f"{self.num_max} is not within 1..{MOST_REPLICAS:,}")
        if not 0 <= self.num_min <= self.num_max:
            raise _wrong("min", f"{self.num_min} is not within 0..{self.num_max}, the most there may be")
        if self.num_start > self.num_max:
            raise _wrong("start", f"{self.num_start} is above the {self.num_max} there may be")
        if not 0.0 < self.target < 1e9:
            raise _wrong("target", f"{self.target:g} is no load of a replica; it must be above 0")
        if not 0.0 <= self.cold_start_s < 1e7:
            raise _wrong("cold-start", f"{self.cold_start_s:g} s; it must be at least 0")
        if not 0.0 < self.interval_s < 1e7 or not 0.0 < self.look_s <= self.interval_s:
            raise _wrong("scale-interval", f"{self.interval_s:g} s; it must be above 0 and at least {self.look_s:g} s")
        if not 0.0 <= self.first_s < 1e9:
            raise _wrong("start", f"the first decision after {self.first_s:g} s; it must be at least 0")
        if not 0.0 <= self.idle_s < 1e9 or not 0.0 <= self.cost_cap_per_hour < 1e12:
            raise _wrong("idle", f"{self.idle_s:g} s with a cap of {self.cost_cap_per_hour:g}; both must be at least 0")

    @property
    def num_begin(self) -> int:
        """Replicas that are ready at time 0."""
        return self.num_start if self.num_start >= 0 else max(1, self.num_min)

    def bounds(self, cost_per_hour: float) -> Bounds:
        """What the autoscaler is told."""
        return Bounds(
            num_min=self.num_min, num_max=self.num_max, target=self.target, cold_start_s=self.cold_start_s,
            idle_s=self.idle_s, cost_per_hour=cost_per_hour, cost_cap_per_hour=self.cost_cap_per_hour,
        )  # fmt: skip


class Tally(msgspec.Struct, kw_only=True):
    """What a fleet was: replica_s from each decision to start until gone; num_up, num_down: decisions."""

    replica_s: float = 0.0
    num_up: int = 0
    num_down: int = 0
    peak: int = 0


class Scaler:
    """Decides in a world and keeps the bill. The world brings replicas up (`grow`), sends one away (`shrink`), and
    tells when that one has left."""

    def __init__(
        self, scaling: Scaling, kernel: Kernel, *, cost_per_hour: float, grow: Callable[[], None],
        shrink: Callable[[], None], load: Callable[[], tuple[int, int]],
    ) -> None:  # fmt: skip
        """load: (requests in flight, requests waiting in the gateway) of now."""
        self.scaling = scaling
        self.tally = Tally(peak=scaling.num_begin)
        self.num_ready = scaling.num_begin
        self.num_draining = 0
        self._policy = create(scaling.autoscaler, scaling.bounds(cost_per_hour))
        self._kernel = kernel
        self._grow, self._shrink, self._load = grow, shrink, load
        self._starting: list[Handle] = []
        self._next: Handle = []
        self._since_s = 0.0
        self._sum = 0
        self._looks = 0
        self._closed = False

    @property
    def num_starting(self) -> int:
        return len(self._starting)

    def begin(self) -> None:
        """Looks and decides from now on until `close`."""
        self._kernel.after(self.scaling.look_s, self._look, priority=6)
        self._next = self._kernel.after(self.scaling.first_s or self.scaling.interval_s, self._decide, priority=7)

    def left(self) -> None:
        """A draining replica has finished its work and is gone."""
        self._count()
        self.num_draining -= 1

    def close(self) -> None:
        """The last request is over: the bill ends here."""
        self._count()
        self._closed = True

    def _look(self) -> None:
        if self._closed:
            return
        running, waiting = self._load()
        self._sum += running
        self._looks += 1
        if waiting and not self.num_ready and not self._starting:  # nobody waits at zero for a clock
            self._kernel.cancel(self._next)
            self._decide()
        self._kernel.after(self.scaling.look_s, self._look, priority=6)

    def _decide(self) -> None:
        if self._closed:
            return
        now = self._kernel.now
        running, waiting = self._load()
        amount = self._sum / self._looks if self._looks else float(running)
        self._sum = self._looks = 0
        num = self.num_ready + self.num_starting
        seen = Load(at=now, num_replicas=num, amount=amount, num_waiting=waiting, num_running=running)
        wanted = self._policy.decide(seen).num_replicas
        self._count()
        if wanted > num:
            self.tally.num_up += 1
            for _ in range(wanted - num):
                self._starting.append(self._kernel.after(self.scaling.cold_start_s, self._started, priority=2))
        elif wanted < num:
            self.tally.num_down += 1
            for _ in range(num - wanted):
                self._stop_one()
        self.tally.peak = max(self.tally.peak, wanted)
        self._next = self._kernel.after(self.scaling.interval_s, self._decide, priority=7)

    def _started(self) -> None:
        if self._closed:
            return
        self._starting.pop(0)  # cold starts are alike: the first begun is the first done
        self.num_ready += 1
        self._grow()

    def _stop_one(self) -> None:
        if self._starting:
            self._kernel.cancel(self._starting.pop())
            return
        self.num_ready -= 1
        self.num_draining += 1
        self._shrink()

    def _count(self) -> None:
        now = self._kernel.now
        self.tally.replica_s += (now - self._since_s) * (self.num_ready + self.num_starting + self.num_draining)
        self._since_s = now


def _wrong(field: str, what: str) -> UsageError:
    return UsageError(f"--{field}: {what}", hint="roadbed twin serve --help", field=field)
