"""DCN+: the network HPN is measured against. Three tiers at 1:1, dual ToR, no rails, no planes.

A segment is 16 servers behind two ToRs; each card has a port on both. A ToR's 64 uplinks are 8 parallel cables to each
of the pod's 8 Aggs, and an Agg's 64 uplinks spread over 128 Cores: three hashes in a row on the way up and again none
on the way down, which is where flows collide. Source: HPN 7.0 (SIGCOMM'24).
"""

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import clos
from roadbed.fabric.topology.sizing import Count, Gbps, Maybe, fit


class DcnPlus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of a DCN+ network."""

    gpus: Maybe = 0
    """0 = as many as the counts hold."""
    chip: str = "H800"
    gpus_per_server: Count = 8
    nics_per_server: Count = 8
    servers_per_segment: Count = 16
    segments: Maybe = 0
    """Of a pod. 0 = as many as are needed, at most 4."""
    pods: Maybe = 0
    """0 = as many as are needed; 32 where gpus is 0 too."""
    aggs: Count = 8
    """Of a pod."""
    agg_cables: Count = 8
    """Cables between a ToR and each Agg of its pod."""
    agg_uplinks: Maybe = 64
    """Cables from an Agg to the Cores; built where there is more than one pod, or with_core."""
    cores: Count = 128
    with_core: bool = False
    """Build Cores even for one pod."""
    nic_port_gbps: Gbps = 200.0
    uplink_gbps: Gbps = 400.0


FULL_SEGMENTS, FULL_PODS = 4, 32


def build(counts: DcnPlus) -> Fabric:
    """The network of these counts. UsageError where they contradict each other."""
    return draw("dcn_plus", counts, num_tors=2, full_segments=FULL_SEGMENTS)


def draw(name: str, counts: DcnPlus, *, num_tors: int, full_segments: int) -> Fabric:
    """The same with so many ToRs a segment, each of which every card has a port on."""
    size = fit(
        gpus=counts.gpus,
        gpus_per_server=counts.gpus_per_server,
        servers_per_segment=counts.servers_per_segment,
        segments=counts.segments,
        pods=counts.pods,
        full_segments=full_segments,
        full_pods=FULL_PODS,
    )
    cored = counts.with_core or size.num_segments > size.segments_per_pod
    return clos.build(
        clos.Shape(
            name=name,
            parameters=msgspec.to_builtins(counts),
            chip=counts.chip,
            num_servers=size.num_servers,
            gpus_per_server=counts.gpus_per_server,
            nics_per_server=counts.nics_per_server,
            nic_segment=np.repeat(size.server_segment, counts.nics_per_server),
            num_segments=size.num_segments,
            segments_per_pod=size.segments_per_pod,
            rails=1,
            tors_per_group=num_tors,
            nic_ports=num_tors,
            port_gbps=counts.nic_port_gbps,
            reach="pod",
            aggs_per_group=counts.aggs,
            agg_cables=counts.agg_cables,
            uplink_gbps=counts.uplink_gbps,
            agg_uplinks=counts.agg_uplinks if cored else 0,
            cores_per_group=counts.cores,
            rail_optimised=False,
        )
    )
