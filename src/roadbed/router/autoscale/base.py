"""Nouns of autoscaling: what was seen of a service, what it may grow to, and how many replicas it should have.

Load is counted in requests (running and waiting) and, where known, in busy replicas: the sum over replicas of the share
of time an engine computes. Both are what all workers saw together; the twin fills them from its models.
"""

import math
from typing import Protocol

import msgspec


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """num_min, num_max: replicas. target: load of one replica that is just right, in the unit of Load.amount.
    cold_start_s: from the decision to a replica that answers. idle_s: without any request before the last one goes.
    cost_per_hour: of one replica; cost_cap_per_hour: of all, 0 = none. Raises ValueError for what can't be."""

    num_min: int = 1
    num_max: int = 1
    target: float = 1.0
    cold_start_s: float = 60.0
    idle_s: float = 600.0
    cost_per_hour: float = 0.0
    cost_cap_per_hour: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.num_min <= self.num_max or self.num_max < 1:
            raise ValueError(f"replicas {self.num_min}..{self.num_max} can't be")
        if not self.target > 0.0 or self.cold_start_s < 0.0 or self.idle_s < 0.0:
            raise ValueError("target must be above 0, cold_start_s and idle_s at least 0")

    @property
    def num_affordable(self) -> int:
        """Most replicas within the cap; never below num_min, which the user asked for by name."""
        if self.cost_cap_per_hour <= 0.0 or self.cost_per_hour <= 0.0:
            return self.num_max
        return max(self.num_min, min(self.num_max, int(self.cost_cap_per_hour / self.cost_per_hour + 1e-9)))


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the service, every 5 to 10 s. num_replicas: ready and starting. amount: what one replica's `target`
    is compared with, summed over all; num_waiting: requests held in the gateway, not part of amount."""

    at: float
    num_replicas: int
    amount: float
    num_waiting: int = 0
    num_running: int = 0


class Target(msgspec.Struct, frozen=True):
    """How many replicas there should be, and why: load, forecast, steady, window, idle, wake, bounds, cost_cap."""

    num_replicas: int
    reason: str


class Autoscaler(Protocol):
    """Keeps what it has seen; one per service. Same loads, same targets."""

    def decide(self, load: Load) -> Target:
        """Called with ascending times. Always within the bounds."""
        ...


def bounded(bounds: Bounds, wanted: int, reason: str) -> Target:
    """`wanted` within bounds and cap; the reason names what cut it."""
    if wanted > bounds.num_affordable:
        return Target(bounds.num_affordable, "cost_cap" if bounds.num_affordable < bounds.num_max else "bounds")
    if wanted < bounds.num_min:
        return Target(bounds.num_min, "bounds")
    return Target(wanted, reason)


def ceil(ratio: float) -> int:
    """Up to the next whole number, but not for what arithmetic added."""
    return math.ceil(ratio - 1e-9)
