"""Autoscaling between the spec and the pure autoscaler: what the bounds are, when to decide, and how long to hold.

A scaler looks many times a second, because the first request that waits at zero should not wait for a clock, but it
decides once per interval, on the mean of what it saw: one look would take a lull between two requests for silence.
Pure: time and everything seen are arguments. The trade-off: bounds are fixed while a scaler lives, so a changed spec or
a cold start that has become clearly another one makes a new scaler, which learns the past again from the ledger.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from roadbed.engine.base import Capacity
from roadbed.router.autoscale import create
from roadbed.router.autoscale.base import Bounds, Load
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine, Service, VllmEngine

TARGET_SHARE = 0.75
"""Of the requests an engine runs at once: the rest is room for what comes while the next replica starts."""
VLLM_CONCURRENCY = 256
"""vLLM's default, before a replica has said its own."""
FIRST_COLD_START_S = {"llamacpp": 10.0, "vllm": 180.0, "openai": 1.0}
"""Before any start was measured."""
HOLD_STARTS = 2.0
HOLD_MORE_S = 10.0
SAME_START = 1.3
"""Cold starts within this factor are the same one."""
MINUTE_S = 60.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a service: requests at its replicas (`amount`), and those its gateways hold. `num_finished` only ever
    grows while its replicas stay: it tells of requests that came and went between two looks."""

    at: float
    num_desired: int
    amount: float
    num_waiting: int
    num_finished: int = 0


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What a scaler last said, and on what. Means since the decision before; `num_replicas` is what it wants."""

    at: float
    num_replicas: int
    reason: str
    amount: float
    num_waiting: int
    target: float
    cold_start_s: float
    num_affordable: int

    def sentence(self) -> str:
        """`load: 7.5 in flight and 2 waiting, 3 is right for one`"""
        waiting = f" and {self.num_waiting} waiting" if self.num_waiting else ""
        return f"{self.reason}: {self.amount:.1f} in flight{waiting}, {self.target:g} is right for one"


def target_of(spec: Service, capacity: Capacity | None) -> float:
    """Requests in flight that are right for one replica: as written, else a share of what its engine runs at once."""
    if spec.scaling is not None and spec.scaling.target is not None:
        return spec.scaling.target
    match spec.engine:
        case LlamaCppEngine():
            num = spec.engine.parallel
        case OpenAIEngine():
            num = spec.engine.max_concurrency
        case VllmEngine():
            num = capacity.max_concurrency if capacity is not None else VLLM_CONCURRENCY
    return max(1.0, TARGET_SHARE * num)


def cold_start_of(spec: Service, starts_s: Sequence[float]) -> float:
    """Seconds from a decision to a replica that answers: as written, else the slowest of the starts measured."""
    if spec.scaling is not None and spec.scaling.cold_start is not None:
        return spec.scaling.cold_start
    return max(starts_s, default=FIRST_COLD_START_S[spec.engine.kind])


def hold_s(spec: Service, starts_s: Sequence[float]) -> float:
    """How long a request may wait while there is no replica: never shorter than `routing.max_wait`, and where load may
    take the last replica away, long enough for a cold start that takes twice its time."""
    max_wait_s = spec.routing.max_wait
    if spec.scaling is None or spec.replicas.min > 0:
        return max_wait_s
    return max(max_wait_s, HOLD_STARTS * cold_start_of(spec, starts_s) + HOLD_MORE_S)


def bounds_of(spec: Service, capacity: Capacity | None, starts_s: Sequence[float]) -> Bounds:
    """For a service with scaling. Raises ValueError for one without."""
    scaling = spec.scaling
    if scaling is None:
        raise ValueError(f"service {spec.name} has no scaling")
    return Bounds(
        num_min=spec.replicas.min,
        num_max=spec.replicas.max,
        target=target_of(spec, capacity),
        cold_start_s=cold_start_of(spec, starts_s),
        idle_s=scaling.idle,
        cost_per_hour=scaling.cost_per_hour or 0.0,
        cost_cap_per_hour=scaling.cost_cap or 0.0,
    )


def same_bounds(old: Bounds, new: Bounds) -> bool:
    """Whether a scaler may go on: all equal, but for cold starts that differ as any two starts do."""
    slow, fast = max(old.cold_start_s, new.cold_start_s), min(old.cold_start_s, new.cold_start_s)
    others = msgspec.structs.replace(old, cold_start_s=new.cold_start_s) == new
    return others and (slow == fast or slow <= SAME_START * fast)


def past_loads(busy_s: Mapping[int, float], num_replicas: int, now: float) -> list[Load]:
    """The ledger as loads: request seconds by minute (Unix minutes) become a load per minute, silence included, up to
    the last whole minute. By Little's law the mean number of requests in flight is their seconds over the minute's."""
    if not busy_s:
        return []
    last = int(now // MINUTE_S)
    loads = []
    for minute in range(min(busy_s), last):
        amount = busy_s.get(minute, 0.0) / MINUTE_S
        at = (minute + 1) * MINUTE_S - 1.0
        loads.append(Load(at=at, num_replicas=num_replicas, amount=amount, num_running=math.ceil(amount)))
    return loads


class Scaler:
    """The autoscaler of one service: looks often, decides once per interval."""

    def __init__(self, policy: str, bounds: Bounds, interval_s: float, past: Sequence[Load] = ()) -> None:
        """Raises UsageError for an unknown policy. `past`: loads in ascending order, before the first look."""
        self.policy = policy
        self.bounds = bounds
        self.interval_s = interval_s
        self._autoscaler = create(policy, bounds)
        self._at = -math.inf
        for load in past:
            self._at = load.at
            self._autoscaler.decide(load)
        self._due_at = -math.inf
        self._since: float | None = None
        self._before = Seen(at=0.0, num_desired=0, amount=0.0, num_waiting=0)
        self._area = self._waiting_area = 0.0
        self._peak = 0

    def look(self, seen: Seen) -> Decided | None:
        """None until a decision is due: once per interval, and at once when somebody waits and nobody is there or
        asked for. A clock that is set back stands still."""
        now = max(seen.at, self._at)
        if self._since is None:
            self._since, self._due_at = now, now + self.interval_s
        else:
            passed_s = now - self._at
            self._area += self._before.amount * passed_s
            self._waiting_area += self._before.num_waiting * passed_s
            self._peak = max(self._peak, int(seen.num_finished > self._before.num_finished))
        self._at, self._before = now, seen
        self._peak = max(self._peak, math.ceil(seen.amount))
        if now < self._due_at and not (seen.num_waiting and not seen.num_desired):
            return None
        return self._decide(now, seen)

    def _decide(self, now: float, seen: Seen) -> Decided:
        passed_s = now - (self._since or 0.0)
        amount = self._area / passed_s if passed_s > 0.0 else seen.amount
        num_waiting = round(self._waiting_area / passed_s) if passed_s > 0.0 else seen.num_waiting
        if not seen.num_desired:
            num_waiting = max(num_waiting, seen.num_waiting)
        load = Load(
            at=now, num_replicas=seen.num_desired, amount=amount, num_waiting=num_waiting, num_running=self._peak
        )
        target = self._autoscaler.decide(load)
        self._since, self._due_at = now, now + self.interval_s
        self._area = self._waiting_area = 0.0
        self._peak = math.ceil(seen.amount)
        return Decided(
            at=now,
            num_replicas=target.num_replicas,
            reason=target.reason,
            amount=amount,
            num_waiting=num_waiting,
            target=self.bounds.target,
            cold_start_s=self.bounds.cold_start_s,
            num_affordable=self.bounds.num_affordable,
        )
