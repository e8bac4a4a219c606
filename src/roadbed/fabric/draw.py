"""A picture of a network that a person can read, whatever its size.

Up to MAX_EVERY GPUs every card, switch and cable is drawn (`draw_every`). Beyond, boxes stand for a segment's servers,
a segment's ToRs of one plane, a pod's Aggs of one plane, and lines for all cables between two boxes (`draw_groups`);
capacities and oversubscription are written between the tiers.
"""

from roadbed.fabric.base import Bools, Fabric, Floats, LinkKind
from roadbed.fabric.draw_every import draw_every
from roadbed.fabric.draw_groups import draw_groups
from roadbed.fabric.draw_ink import Colouring

MAX_EVERY = 32
MAX_CABLES = 4_000


def svg(fabric: Fabric, *, utilisation: Floats | None = None, failed: Bools | None = None) -> str:
    """The picture. utilisation [L], 0 … 1, and failed [L] colour the links instead of their planes."""
    colouring = Colouring(utilisation, failed)
    num_cables = int((fabric.link_kind >= LinkKind.ACCESS).sum()) // 2
    if fabric.num_gpus <= MAX_EVERY and num_cables <= MAX_CABLES:
        return draw_every(fabric, colouring)
    return draw_groups(fabric, colouring)
