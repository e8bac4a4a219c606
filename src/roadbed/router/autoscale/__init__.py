"""How many replicas: ours and the published rules, as pure functions of what was seen."""

from collections.abc import Callable

from roadbed.errors import UsageError
from roadbed.router.autoscale.base import Autoscaler, Bounds, Load, Target
from roadbed.router.autoscale.published import Apa, Hpa, Kpa
from roadbed.router.autoscale.roadbed import Roadbed

__all__ = ["AUTOSCALERS", "Autoscaler", "Bounds", "Load", "Target", "create"]

AUTOSCALERS: dict[str, Callable[[Bounds], Autoscaler]] = {"roadbed": Roadbed, "hpa": Hpa, "kpa": Kpa, "apa": Apa}


def create(name: str, bounds: Bounds) -> Autoscaler:
    """A fresh one. UsageError naming the known."""
    if name not in AUTOSCALERS:
        raise UsageError(
            f"autoscaler {name!r} is not one of {', '.join(AUTOSCALERS)}", hint="roadbed schema service", field="scaler"
        )
    return AUTOSCALERS[name](bounds)
