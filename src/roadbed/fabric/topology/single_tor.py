"""DCN+ with one ToR a segment: a card's 400G go to one switch, and a dead ToR takes its servers with it.

Three tiers at 1:1 of 25.6T switches: 64 cards and 64 uplinks on a ToR, 8 parallel cables to each of the pod's 8 Aggs.
It is DCN+ in every other respect, so what the second ToR brings can be read off the difference. Source of the counts:
SimAI's DCN+ single-ToR template.
"""

from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import dcn_plus
from roadbed.fabric.topology.sizing import Count, Gbps

FULL_SEGMENTS = 8


class SingleTor(dcn_plus.DcnPlus, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of a single-ToR network: DCN+'s, with other defaults. At most 8 segments of a pod are built unasked."""

    servers_per_segment: Count = 8
    nic_port_gbps: Gbps = 400.0


def build(counts: SingleTor) -> Fabric:
    """The network of these counts. UsageError where they contradict each other."""
    return dcn_plus.draw("single_tor", counts, num_tors=1, full_segments=FULL_SEGMENTS)
