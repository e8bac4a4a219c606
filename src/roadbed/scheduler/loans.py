"""Idle capacity of services, lent and taken back in time.

A service says how many replicas it needs now; its forecast says how many it will need once a return would be done
(`lead_s`: grace, exit and start of a replica). What lies between that and its guarantee is lent: the quota tree keeps
the rest back (`QuotaTree.keep`). When the need ahead rises above what is free, borrowers are stopped before replicas
are asked for, the cheapest first. A borrower is told when it should expect to be asked (`return_by_s`), so that jobs
that end before go first and others save in time.
"""

import math

from roadbed.scheduler.accounts import QuotaTree
from roadbed.scheduler.base import Gang, Shape
from roadbed.scheduler.book import Book
from roadbed.scheduler.events import Demand
from roadbed.scheduler.forecast import Forecast
from roadbed.scheduler.quota import CPU, GPU


class Owner:
    """A service's need: now, and ahead."""

    __slots__ = ("forecast", "num_needed", "shape")

    def __init__(self, shape: Shape, forecast: Forecast) -> None:
        self.shape = shape
        self.forecast = forecast
        self.num_needed = 0

    def ahead(self, now: float, lead_s: float) -> int:
        """Replicas needed at any time until now + lead_s."""
        return max(self.num_needed, math.ceil(self.forecast.peak(now, now + lead_s) - 1e-9))

    @property
    def resource(self) -> str:
        return GPU if self.shape.num_devices else CPU

    @property
    def each_milli(self) -> int:
        return self.shape.total_milli or self.shape.cpu_milli


class Loans:
    """The owners, by quota."""

    def __init__(self, lead_s: float) -> None:
        self.lead_s = lead_s
        self.owners: dict[str, Owner] = {}

    def demand(self, event: Demand, now: float) -> None:
        """A service's need as of now; samples are taken in first, in order of time."""
        owner = self.owners.get(event.owner)
        if owner is None or owner.shape != event.shape:
            owner = self.owners[event.owner] = Owner(event.shape, Forecast())
        for at_s, need in sorted(event.samples):
            owner.forecast.observe(at_s, need)
        owner.forecast.observe(now, event.num_needed)
        owner.num_needed = event.num_needed

    def keep(self, tree: QuotaTree, now: float) -> bool:
        """Tells the tree what each owner does not lend; True if it lends more or less than before."""
        changed = False
        for name, owner in self.owners.items():
            changed |= tree.keep(name, owner.resource, owner.ahead(now, self.lead_s) * owner.each_milli)
        return changed

    def missing(self, name: str, book: Book, now: float) -> Gang | None:
        """The replicas an owner will need and has no place for yet, as a gang; None: no more than it has."""
        owner = self.owners[name]
        shape = owner.shape
        node = book.tree.nodes.get(name)
        if node is None:
            return None
        at = book.tree.names.index(owner.resource)
        wanted = min(owner.ahead(now, self.lead_s) * owner.each_milli, node.min[at]) - node.used[at]
        num = wanted // owner.each_milli if owner.each_milli else 0
        return Gang(shape=shape, num=num) if num > 0 else None

    def return_by_s(self, now: float) -> float:
        """When the first owner is expected to need more than it keeps now; 0 = nobody within a day."""
        times = [
            owner.forecast.returns_at(owner.ahead(now, self.lead_s), now + self.lead_s)
            for owner in self.owners.values()
        ]
        first = min(times, default=math.inf)
        return max(now, first - self.lead_s) if math.isfinite(first) else 0.0
