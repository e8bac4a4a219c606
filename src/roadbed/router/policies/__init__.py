"""Routing policies by name; each file holds one."""

from collections.abc import Callable

from roadbed.errors import UsageError
from roadbed.router.policies.base import Choice, Context, Policy
from roadbed.router.policies.least_load import LeastLoad
from roadbed.router.policies.prefix_affinity import PrefixAffinity
from roadbed.router.policies.roadbed import Roadbed
from roadbed.router.policies.round_robin import RoundRobin

__all__ = ["POLICIES", "Choice", "Context", "Policy", "create"]

POLICIES: dict[str, Callable[[], Policy]] = {
    "roadbed": Roadbed,
    "round_robin": RoundRobin,
    "least_load": LeastLoad,
    "prefix_affinity": PrefixAffinity,
}


def create(name: str) -> Policy:
    """A fresh instance. Raises UsageError naming the known policies."""
    if name not in POLICIES:
        known = ", ".join(POLICIES)
        raise UsageError(
            f"routing.policy: {name!r} is not one of {known}", hint="roadbed schema service", field="policy"
        )
    return POLICIES[name]()
