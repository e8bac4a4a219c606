"""Rail-only: HPN's other tier-2 wiring. 16 planes, one per rail and port; two tiers hold 122,880 GPUs.

A plane's Aggs see one ToR per segment instead of eight, so eight times the segments fit below the same Aggs. The price:
GPUs of different rails meet only inside a server. Source: HPN 7.0 (SIGCOMM'24), table 4.
"""

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import clos
from roadbed.fabric.topology.sizing import Count, Gbps, Maybe, fit


class RailOnly(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of a rail-only network."""

    gpus: Maybe = 0
    """0 = as many as the counts hold."""
    chip: str = "H800"
    gpus_per_server: Count = 8
    nics_per_server: Count = 8
    active_servers: Count = 128
    """Of a segment."""
    backup_servers: Maybe = 8
    """Of a segment: each ToR keeps a port for them."""
    segments: Maybe = 0
    """0 = as many as are needed, at most what an Agg has ports for (120)."""
    aggs_per_plane: Count = 60
    agg_cables: Count = 1
    agg_down_ports: Count = 120
    nic_port_gbps: Gbps = 200.0
    uplink_gbps: Gbps = 400.0


def build(counts: RailOnly) -> Fabric:
    """The network of these counts: one pod, no Cores. UsageError where they contradict each other."""
    full = max(1, counts.agg_down_ports // counts.agg_cables)
    size = fit(
        gpus=counts.gpus,
        gpus_per_server=counts.gpus_per_server,
        servers_per_segment=counts.active_servers,
        segments=counts.segments,
        pods=1 if counts.segments or not counts.gpus else 0,
        full_segments=full,
        full_pods=1,
    )
    return clos.build(
        clos.Shape(
            name="rail_only",
            parameters=msgspec.to_builtins(counts),
            chip=counts.chip,
            num_servers=size.num_servers,
            gpus_per_server=counts.gpus_per_server,
            nics_per_server=counts.nics_per_server,
            nic_segment=np.repeat(size.server_segment, counts.nics_per_server),
            num_segments=size.num_segments,
            segments_per_pod=size.num_segments,
            rails=counts.nics_per_server,
            tors_per_group=2,
            nic_ports=2,
            port_gbps=counts.nic_port_gbps,
            reach="rail",
            aggs_per_group=counts.aggs_per_plane,
            agg_cables=counts.agg_cables,
            uplink_gbps=counts.uplink_gbps,
            agg_uplinks=0,
            cores_per_group=1,
            rail_optimised=True,
        )
    )
