"""Routing policies by name; one file per family."""

from collections.abc import Callable

from roadbed.errors import UsageError
from roadbed.router.policies.aibrix import AibrixPrefixCache
from roadbed.router.policies.base import Choice, Context, Policy
from roadbed.router.policies.dynamo import Dynamo
from roadbed.router.policies.least_load import LeastLoad
from roadbed.router.policies.llmd import LlmdScorers
from roadbed.router.policies.llumnix import LlumnixCacheAware
from roadbed.router.policies.production_stack import LoadAware, PrefixAware, SessionAffinity
from roadbed.router.policies.roadbed import Roadbed
from roadbed.router.policies.round_robin import RoundRobin
from roadbed.router.policies.smg import PowerOfTwo, SmgCacheAware, SmgLeastLoad
from roadbed.router.policies.three_layer import ThreeLayer

__all__ = ["POLICIES", "Choice", "Context", "Policy", "create"]

POLICIES: dict[str, Callable[[], Policy]] = {
    "roadbed": Roadbed,
    "round_robin": RoundRobin,
    "least_load": LeastLoad,
    "power_of_two": PowerOfTwo,
    "session_affinity": SessionAffinity,
    "three_layer": ThreeLayer,
    "smg_cache_aware": SmgCacheAware,
    "smg_least_load": SmgLeastLoad,
    "vllm_prefixaware": PrefixAware,
    "vllm_loadaware": LoadAware,
    "aibrix_prefix_cache": AibrixPrefixCache,
    "llmd_111": lambda: LlmdScorers("llmd_111", 1.0, 1.0, 1.0),
    "llmd_322": lambda: LlmdScorers("llmd_322", 3.0, 2.0, 2.0),
    "dynamo_linear": lambda: Dynamo("dynamo_linear"),
    "dynamo_tuned": lambda: Dynamo("dynamo_tuned", scale=2.0),
    "dynamo_lmetric": lambda: Dynamo("dynamo_lmetric", product=True),
    "llumnix_cache_aware": LlumnixCacheAware,
    "prefix_affinity": lambda: SmgCacheAware("prefix_affinity"),
}


def create(name: str) -> Policy:
    """A fresh instance. Raises UsageError naming the known policies."""
    if name not in POLICIES:
        known = ", ".join(POLICIES)
        raise UsageError(
            f"routing.policy: {name!r} is not one of {known}", hint="roadbed schema service", field="policy"
        )
    return POLICIES[name]()
